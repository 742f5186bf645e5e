//! Users and their logins: who gets in, for how long, and who doesn't.

use std::time::Duration;

use calltracker::db::sql;
use calltracker::http::ui::setup;
use calltracker::kernel::id::CompanyId;
use calltracker::users::{self, AddError, Email, NewPassword};

use crate::support::TestApp;
use crate::support::browser::{Browser, PASSWORD, add_user};

const ANA: &str = "ana@agency.example";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A server with one user of the whole account.
async fn scene() -> (TestApp, Browser) {
    let app = TestApp::start().await;
    add_user(&app.ctx, ANA, None).await;
    let browser = Browser::new(&app.api.base);
    (app, browser)
}

#[tokio::test]
async fn who_logs_in_sees_pages_until_they_log_out() {
    let (_app, mut browser) = scene().await;
    assert_eq!(browser.get("/").await.location(), "/login");
    browser.get("/login").await.expect(200).assert_has("<h1>Log in</h1>");
    assert_eq!(browser.log_in(" Ana@Agency.Example ", PASSWORD).await.location(), "/");
    browser.get("/").await.expect(200).assert_has(ANA);
    assert_eq!(browser.get("/login").await.location(), "/");
    let stolen = browser.clone();
    assert_eq!(browser.post("/logout").await.location(), "/login");
    assert_eq!(browser.cookie, None);
    assert_eq!(browser.get("/").await.location(), "/login");
    assert_eq!(stolen.clone().get("/").await.location(), "/login", "the token itself has ended");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_told_the_same() {
    let (_app, mut browser) = scene().await;
    let mut texts = Vec::new();
    for (email, password) in [(ANA, "wrong horse battery"), ("bob@agency.example", PASSWORD), (ANA, "")] {
        let shown = browser.log_in(email, password).await.expect(401);
        shown.assert_has("The e-mail address or the password is wrong.");
        assert_eq!(browser.cookie, None);
        texts.push(shown.text.replace(email, "EMAIL"));
    }
    assert!(texts.iter().all(|text| *text == texts[0]));
}

#[tokio::test]
async fn what_was_typed_is_shown_again_but_never_the_password() {
    let (_app, mut browser) = scene().await;
    let shown = browser.log_in("\"><script>alert(1)</script>", "a secret that is wrong").await.expect(401);
    shown.assert_lacks("<script>alert");
    shown.assert_lacks("a secret");
    shown.assert_has("&#60;script&#62;");
}

#[tokio::test]
async fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
    let (_app, mut browser) = scene().await;
    let shown = browser.log_in(ANA, PASSWORD).await;
    let (pair, flags) = shown.header("set-cookie").split_once("; ").unwrap();
    assert!(pair.starts_with("calltracker_login=ctl_"));
    assert_eq!(flags, "Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax");
}

#[tokio::test]
async fn behind_https_the_cookie_is_bound_to_it_and_to_the_host() {
    let secure = |config: &mut calltracker::config::Config| {
        config.public_url = Some("https://track.example.com/".parse().unwrap());
    };
    let app = TestApp::with(secure).await;
    let mut browser = Browser::of_user(&app.api.base, &app.ctx, ANA, None).await;
    let name = browser.cookie.clone().unwrap();
    assert!(name.starts_with("__Host-calltracker_login=ctl_"));
    browser.get("/").await.expect(200);
    let shown = browser.post("/logout").await;
    assert!(shown.header("set-cookie").ends_with("; HttpOnly; SameSite=Lax; Secure"));
}

#[tokio::test]
async fn the_login_leads_back_to_where_it_was_asked_for() {
    let (app, mut browser) = scene().await;
    let company = app.company("Acme").await;
    let path = company.path("/calls?after=MTo5");
    let login = browser.get(&path).await.location().to_owned();
    assert_eq!(login, format!("/login?next=%2Fcompanies%2F{}%2Fcalls%3Fafter%3DMTo5", company.id));
    browser.get(&login).await.expect(200).assert_has(&format!("name=\"next\" value=\"{path}\""));
    let fields = [("email", ANA), ("password", PASSWORD), ("next", path.as_str())];
    assert_eq!(browser.post_form("/login", &fields).await.location(), path);
    let fields = [("email", ANA), ("password", PASSWORD), ("next", "//evil.example/")];
    assert_eq!(browser.post_form("/login", &fields).await.location(), "/");
}

#[tokio::test]
async fn guessing_is_refused_after_a_while_whatever_is_guessed() {
    let (app, mut browser) = scene().await;
    for _ in 0..10 {
        browser.log_in(ANA, "wrong horse battery").await.expect(401);
    }
    let shown = browser.log_in(ANA, PASSWORD).await.expect(429);
    assert_eq!(shown.header("retry-after"), "60");
    shown.assert_has("Too many logins failed.");
    app.advance(Duration::from_secs(60));
    browser.log_in(ANA, PASSWORD).await.location();
}

#[tokio::test]
async fn whoever_fails_on_purpose_keeps_nobody_out_of_their_own_browser() {
    let (app, mut own) = scene().await;
    own.log_in(ANA, PASSWORD).await.location();
    own.post("/logout").await.location();
    let mut stranger = Browser::new(&app.api.base);
    for _ in 0..10 {
        stranger.log_in(ANA, "wrong horse battery").await.expect(401);
    }
    stranger.log_in(ANA, PASSWORD).await.expect(429);
    own.log_in(ANA, PASSWORD).await.location();
    // The browser is known for its user alone, and can't guess for ever either.
    add_user(&app.ctx, "bob@agency.example", None).await;
    for email in ["bob@agency.example", ANA] {
        for _ in 0..10 {
            own.log_in(email, "wrong horse battery").await.expect(401);
        }
        own.log_in(email, PASSWORD).await.expect(429);
    }
    let mut forged = Browser::new(&app.api.base);
    forged.device = own.device.map(|cookie| cookie + "x");
    forged.log_in(ANA, PASSWORD).await.expect(429);
}

#[tokio::test]
async fn one_client_can_not_try_many_users() {
    let (_app, mut browser) = scene().await;
    // What can't be an address counts for the client only.
    for n in 0..60 {
        browser.log_in(&format!("{n}"), "x").await.expect(401);
    }
    browser.log_in(ANA, PASSWORD).await.expect(429);
}

#[tokio::test]
async fn forms_of_other_sites_are_refused() {
    let (app, mut browser) = scene().await;
    browser.log_in(ANA, PASSWORD).await.location();
    let company = app.company("Acme").await;
    let verify = company.path("/webhooks/1/verify");
    for path in ["/login", "/logout", verify.as_str()] {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("x-nothing", "at all"),
        ] {
            let form = browser.form(path, &[("email", ANA), ("password", PASSWORD)]).header(name, value);
            let shown = browser.send(form).await.expect(403);
            shown.assert_has("That came from another site");
        }
    }
    browser.get("/companies/1").await.location();
    let ours = browser.form("/logout", &[]).header("origin", app.api.base.as_str());
    assert_eq!(browser.send(ours).await.location(), "/login");
}

#[tokio::test]
async fn a_login_lasts_as_long_as_it_is_used() {
    let (app, mut browser) = scene().await;
    browser.log_in(ANA, PASSWORD).await.location();
    let mut abandoned = browser.clone();
    for _ in 0..20 {
        app.advance(DAY);
        let shown = browser.get("/").await.expect(200);
        assert!(shown.header("set-cookie").contains("Max-Age=1209600"), "the cookie goes along");
        let shown = browser.get("/").await.expect(200);
        assert_eq!(shown.header("set-cookie"), "", "once a day is enough");
    }
    app.advance(14 * DAY);
    assert_eq!(browser.get("/").await.location(), "/login");
    assert_eq!(abandoned.get("/").await.location(), "/login");
}

#[tokio::test]
async fn a_stolen_database_opens_nothing() {
    let (app, mut browser) = scene().await;
    browser.log_in(ANA, PASSWORD).await.location();
    let token = browser.cookie.clone().unwrap().split_once('=').unwrap().1.to_owned();
    let (hash, password): (Vec<u8>, String) = app
        .write(|tx| tx.one(sql("select hash, password_hash from logins l join users u on u.id = l.user_id")))
        .await;
    assert_eq!(hash, ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
    assert!(password.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
}

#[tokio::test]
async fn a_user_has_twenty_logins_at_most() {
    let (app, mut first) = scene().await;
    first.log_in(ANA, PASSWORD).await.location();
    let mut last = first.clone();
    for _ in 0..20 {
        last.log_in(ANA, PASSWORD).await.location();
    }
    assert_eq!(first.get("/").await.location(), "/login");
    last.get("/").await.expect(200);
    let (count,): (i64,) = app.write(|tx| tx.one(sql("select count(*) from logins"))).await;
    assert_eq!(count, 20);
}

#[tokio::test]
async fn a_form_without_end_is_refused() {
    let (_app, mut browser) = scene().await;
    let endless = "x".repeat(9 * 1024);
    browser.log_in(ANA, &endless).await.expect(400);
    browser.log_in(ANA, &endless[..4000]).await.expect(401);
}

#[tokio::test]
async fn an_address_belongs_to_one_user_and_a_company_must_exist() {
    let (app, _) = scene().await;
    let add = async |email: &str, company: Option<CompanyId>| {
        let (email, password) = (Email::parse(email).unwrap(), NewPassword::parse(PASSWORD).unwrap());
        users::add(&app.ctx.db, &app.ctx.seed, email, password, company).await
    };
    assert!(matches!(add("ANA@agency.example", None).await, Err(AddError::Taken)));
    let nowhere = add("bob@agency.example", Some(CompanyId(999))).await;
    assert!(matches!(nowhere, Err(AddError::NoSuchCompany)));
    let company = app.company("Acme").await;
    let bob = add("bob@agency.example", Some(company.id)).await.unwrap();
    assert_eq!(bob.scope(company.id), Some(company.scope));
    assert_eq!(bob.scope(CompanyId(company.id.0 + 1)), None);
}

#[tokio::test]
async fn the_first_user_is_made_in_the_browser_by_whoever_has_the_link() {
    let app = TestApp::start().await;
    let mut browser = Browser::new(&app.api.base);
    let url = setup::url(&app.ctx);
    let path = &url[url.find("/setup").unwrap()..];
    let code = path.split_once('=').unwrap().1;
    browser.get("/setup").await.expect(404);
    browser.get("/setup?code=AAAA").await.expect(404);
    browser.get(path).await.expect(200).assert_has("<h1>Welcome</h1>");
    let form = |email, password| [("code", code.to_owned()), ("email", email), ("password", password)];
    let typed = |email: &str, password: &str| form(email.to_owned(), password.to_owned());
    for (email, password, why) in [
        ("ana", PASSWORD, "That isn’t an e-mail address."),
        (ANA, "short", "A password has 12 to 256 characters."),
    ] {
        let fields = typed(email, password);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let refused = browser.post_form("/setup", &fields).await.expect(400);
        refused.assert_has(why);
        refused.assert_lacks(password);
    }
    browser.post_form("/setup", &[("email", ANA), ("password", PASSWORD)]).await.expect(404);
    let fields = typed(ANA, PASSWORD);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let strange = browser.form("/setup", &fields);
    assert_eq!(browser.send(strange).await.status, 403, "a form of another site");
    assert_eq!(browser.post_form("/setup", &fields).await.location(), "/");
    browser.get("/").await.expect(200).assert_has("No companies yet");
    // Once is enough, for whoever has the link.
    browser.get(path).await.expect(404);
    browser.post_form("/setup", &fields).await.expect(404);
}

#[tokio::test]
async fn one_of_many_who_want_to_be_first_is() {
    let app = TestApp::start().await;
    let adding = (0..5).map(|n| {
        let (db, seed) = (app.ctx.db.clone(), app.ctx.seed.clone());
        async move {
            let email = Email::parse(&format!("{n}@agency.example")).unwrap();
            users::add_first(&db, &seed, email, NewPassword::parse(PASSWORD).unwrap()).await
        }
    });
    let added = futures_util::future::join_all(adding).await;
    assert_eq!(added.iter().filter(|one| one.is_ok()).count(), 1);
    assert!(added.iter().all(|one| matches!(one, Ok(_) | Err(AddError::Taken))));
}
