//! Users of a company: invited by a link, given roles, removed; and one's own password.

use std::time::Duration;

use calltracker::users::invitations;

use crate::support::browser::{Browser, PASSWORD, Shown};
use crate::support::{TestApp, TestCompany};

const ANA: &str = "ana@agency.example";
const BOB: &str = "bob@acme.example";
const NEW: &str = "another battery staple";

async fn scene() -> (TestApp, TestCompany, Browser) {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let browser = Browser::of_user(&app.api.base, &app.ctx, ANA, None).await;
    (app, company, browser)
}

/// The path of the link on the page after an invitation.
fn link(shown: &Shown) -> String {
    let link = shown.text.split("<code class=\"secret\">").nth(1).unwrap().split('<').next().unwrap();
    link[link.find("/invitation/").unwrap()..].to_owned()
}

async fn invite(browser: &mut Browser, company: &TestCompany, email: &str, role: &str) -> String {
    let list = company.path("/settings/users");
    let to = browser.post_form(&list, &[("email", email), ("role", role)]).await;
    assert_eq!(to.location(), list);
    let shown = browser.get(&list).await.expect(200);
    browser.get(&list).await.expect(200).assert_lacks("/invitation/cti_");
    link(&shown)
}

#[tokio::test]
async fn who_is_invited_chooses_a_password_and_sees_the_company() {
    let (app, company, mut ana) = scene().await;
    let list = company.path("/settings/users");
    let refused = ana.post_form(&list, &[("email", "bob"), ("role", "king")]).await.expect(400);
    refused.assert_has("id=\"f-email-error\">is not an e-mail address");
    refused.assert_has("id=\"f-role-error\"");
    let link = invite(&mut ana, &company, " Bob@Acme.example", "reporting").await;
    ana.get(&list).await.expect(200).assert_has("<span class=\"clip\">bob@acme.example</span>");
    let mut bob = Browser::new(&app.api.base);
    bob.get(&link).await.expect(200).assert_has(BOB);
    let short = bob.post_form(&link, &[("password", "short")]).await.expect(400);
    short.assert_has("A password has 12 to 256 characters.");
    let elsewhere = bob.form(&link, &[("password", NEW)]).header("sec-fetch-site", "cross-site");
    bob.send(elsewhere).await.expect(403);
    assert_eq!(bob.post_form(&link, &[("password", NEW)]).await.location(), "/");
    assert_eq!(bob.get("/").await.location(), company.path("/overview"));
    // It works once.
    let mut late = Browser::new(&app.api.base);
    late.get(&link).await.expect(404);
    late.post_form(&link, &[("password", NEW)]).await.expect(404);
    // They may look, and neither change anything nor see whoever sees all companies.
    let shown = bob.get(&list).await.expect(200);
    shown.assert_lacks(ANA);
    shown.assert_lacks("<h2>Invite");
    bob.post_form(&list, &[("email", "x@acme.example"), ("role", "admin")]).await.expect(403);
    let other = app.company("Other").await;
    bob.get(&other.path("/settings/users")).await.expect(404);
    assert_eq!(late.log_in(BOB, NEW).await.location(), "/");
    let taken = ana.post_form(&list, &[("email", BOB), ("role", "admin")]).await.expect(400);
    taken.assert_has("there is a user with this e-mail address already");
}

#[tokio::test]
async fn an_invitation_ends_after_a_week_when_it_is_taken_back_and_with_a_newer_one() {
    let (app, company, mut ana) = scene().await;
    let mut bob = Browser::new(&app.api.base);
    let first = invite(&mut ana, &company, BOB, "admin").await;
    let second = invite(&mut ana, &company, BOB, "admin").await;
    bob.get(&first).await.expect(404);
    bob.get(&second).await.expect(200);
    let other = app.company("Other").await;
    let withdraw = |company: &TestCompany| company.path("/settings/users/invitations/2/withdraw");
    ana.post(&withdraw(&other)).await.expect(404);
    ana.post(&withdraw(&company)).await.location();
    bob.get(&second).await.expect(404).assert_has("isn’t good any more");
    let third = invite(&mut ana, &company, BOB, "admin").await;
    app.advance(invitations::LIFETIME - Duration::from_secs(1));
    bob.get(&third).await.expect(200);
    app.advance(Duration::from_secs(1));
    bob.post_form(&third, &[("password", NEW)]).await.expect(404);
}

#[tokio::test]
async fn roles_change_at_once_and_who_is_removed_is_logged_out() {
    let (app, company, mut ana) = scene().await;
    let (base, ctx) = (&app.api.base, &app.ctx);
    let mut bob = Browser::of_user(base, ctx, BOB, Some(company.id)).await;
    let mut eve = Browser::of_user(base, ctx, "eve@acme.example", Some(company.id)).await;
    let list = company.path("/settings/users");
    let of = |id: i64, what: &str| format!("{list}/{id}/{what}");
    // Ana, Bob and Eve are 1, 2 and 3.
    bob.get(&list).await.expect(200).assert_has("eve@acme.example");
    bob.post_form(&of(1, "role"), &[("role", "reporting")]).await.expect(404);
    bob.post(&of(1, "remove")).await.expect(404);
    bob.post(&of(2, "remove")).await.expect(400);
    assert_eq!(bob.post_form(&of(3, "role"), &[("role", "reporting")]).await.location(), list);
    eve.post_form(&company.path("/settings"), &[("name", "x")]).await.expect(403);
    let other = app.company("Other").await;
    let elsewhere = |id: i64| other.path(&format!("/settings/users/{id}/remove"));
    ana.post(&elsewhere(3)).await.expect(404);
    assert_eq!(bob.post(&of(3, "remove")).await.location(), list);
    assert!(eve.get(&list).await.location().starts_with("/login"));
    eve.log_in("eve@acme.example", PASSWORD).await.expect(401);
    assert_eq!(ana.post(&of(2, "remove")).await.location(), list);
    let log = ana.get(&company.path("/settings/audit")).await.expect(200);
    log.assert_has("<strong>remove user</strong>");
    log.assert_has("by bob@acme.example");
}

#[tokio::test]
async fn everybody_changes_their_own_password_with_the_present_one() {
    let (app, company, _) = scene().await;
    let mut eve = Browser::of_user(&app.api.base, &app.ctx, "eve@acme.example", Some(company.id)).await;
    eve.lose_the_right_to_write(&app, "eve@acme.example").await;
    let mut stolen = Browser::new(&app.api.base);
    stolen.log_in("eve@acme.example", PASSWORD).await.location();
    let page = company.path("/settings/password");
    let wrong = eve.post_form(&page, &[("present", "wrong horse battery"), ("password", NEW)]).await;
    wrong.expect(400).assert_has("id=\"f-present-error\">is wrong");
    let short = eve.post_form(&page, &[("present", PASSWORD), ("password", "short")]).await.expect(400);
    short.assert_has("id=\"f-password-error\">must have 12 characters at least");
    short.assert_lacks(PASSWORD);
    assert_eq!(eve.post_form(&page, &[("present", PASSWORD), ("password", NEW)]).await.location(), page);
    eve.get(&page).await.expect(200).assert_has("The password is changed.");
    assert!(stolen.get(&page).await.location().starts_with("/login"), "other browsers are logged out");
    stolen.log_in("eve@acme.example", PASSWORD).await.expect(401);
    stolen.log_in("eve@acme.example", NEW).await.location();
    for _ in 0..10 {
        eve.post_form(&page, &[("present", "wrong horse battery"), ("password", NEW)]).await.expect(400);
    }
    let often = eve.post_form(&page, &[("present", NEW), ("password", PASSWORD)]).await.expect(400);
    often.assert_has("was wrong too often");
}
