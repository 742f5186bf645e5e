//! Mail about alerts, against a mail server on loopback: what is in it, who gets it, and what happens when the
//! server doesn't take it. The job is run by hand, and the clock turned.

use std::sync::Arc;
use std::time::Duration;

use calltracker::alerts::{self, Kind, NewAlert};
use calltracker::companies;
use calltracker::config::Mail;
use calltracker::kernel::id::{AlertId, UserId, WebhookId};
use calltracker::webhooks::{self, Settings};
use serde_json::{Value as Json, json};

use crate::support::browser::add_user;
use crate::support::smtp::{Deed, Letter, MailServer, Secrecy, Stage};
use crate::support::{TestApp, TestCompany};

const ANA: &str = "ana@acme.example";
const BEN: &str = "ben@acme.example";
/// Of the whole account.
const EVE: &str = "eve@agency.example";

/// A company with a webhook, on a server that mails.
struct Scene {
    app: Arc<TestApp>,
    company: TestCompany,
    webhook: WebhookId,
}

impl Scene {
    /// Without background work.
    async fn new(mail: Option<Mail>) -> Scene {
        Scene::of(Arc::new(TestApp::quiet(|config| config.mail = mail).await), "Acme").await
    }

    async fn of(app: Arc<TestApp>, name: &str) -> Scene {
        let company = app.company(name).await;
        let settings = Settings::all_to("https://crm.example/secret-path");
        let (scope, key) = (company.scope, app.ctx.key.clone());
        let webhook = app.write(move |tx| webhooks::create(tx, scope, &key, &settings)).await.0.id;
        Scene { app, company, webhook }
    }

    /// Another company on the same server.
    async fn beside(&self, name: &str) -> Scene {
        Scene::of(self.app.clone(), name).await
    }

    async fn user(&self, email: &str) -> UserId {
        add_user(&self.app.ctx, email, Some(self.company.id)).await.id
    }

    async fn raise(&self, kind: Kind, reason: &str) -> AlertId {
        let (scope, target) = (self.company.scope, "https://crm.example/secret-path".to_owned());
        let alert = NewAlert { kind, webhook: self.webhook, target, reason: reason.to_owned() };
        self.app.write(move |tx| alerts::raise(tx, scope, &alert)).await
    }

    /// Runs the job; gives the number of tries that it made.
    async fn mail(&self) -> usize {
        alerts::mail_due(&self.app.ctx).await.unwrap()
    }

    /// The alert as the API shows it.
    async fn shown(&self, id: AlertId) -> Json {
        self.company.reader.get(&self.company.path(&format!("/alerts/{id}"))).await.expect(200).json
    }

    /// Waits until the alert's mail stands so.
    async fn until(&self, id: AlertId, status: &str) -> Json {
        loop {
            let shown = self.shown(id).await;
            if shown["mail_status"] == status {
                return shown;
            }
        }
    }
}

#[tokio::test]
async fn an_alert_is_mailed_at_once_to_the_companys_users() {
    let server = MailServer::start().await;
    let mail = server.settings("smtp", "acme:p%40ss@", "?tls=none");
    let scene = Scene::of(Arc::new(TestApp::with(|config| config.mail = mail).await), "Acme").await;
    for user in [ANA, BEN] {
        scene.user(user).await;
    }
    add_user(&scene.app.ctx, EVE, None).await;
    scene.beside("Other").await.user("bob@other.example").await;
    let id = scene.raise(Kind::Deactivated, "A delivery failed 6 times.").await;
    let shown = scene.until(id, "sent").await;
    assert_eq!((&shown["mail_attempts"], &shown["mail_failure"]), (&json!(1), &json!("")));
    assert_eq!(server.receivers(), [ANA, BEN]);
    let letters = server.letters();
    let (letter, base) = (&letters[0], scene.app.api.base.trim_end_matches("/api/v1").to_owned());
    assert_eq!(letter.header("From"), "\"Call Tracker\" <alerts@calls.example>");
    assert_eq!(letter.header("To"), ANA);
    assert_eq!(letter.header("Subject"), "Acme: a webhook was deactivated");
    assert_eq!(letter.header("Date"), "Mon, 09 Mar 2026 09:00:00 +0000");
    assert_eq!(letter.header("Auto-Submitted"), "auto-generated");
    assert_eq!(letter.header("Content-Type"), "text/plain; charset=utf-8");
    let (webhook, company) = (scene.webhook, scene.company.id);
    let expected = format!(
        "Webhook {webhook} (crm.example) was deactivated. A delivery failed 6 times. Events are held until it is \
         verified again.\n2026-03-09 05:00:00 EDT\n{base}/companies/{company}/webhooks/{webhook}\n\n-- \n\
         You get this as a user of Call Tracker who may see Acme.\n{base}/\n"
    );
    assert_eq!(letter.body(), expected);
    assert!(!letter.raw.contains(BEN) && !letter.raw.contains("secret-path"), "{}", letter.raw);
    let ids: Vec<_> = letters.iter().map(|letter| letter.header("Message-ID")).collect();
    assert!(ids[0].starts_with('<') && ids[0].ends_with("@calls.example>") && ids[0] != ids[1], "{ids:?}");
    assert!(server.said().contains(&"AUTH PLAIN AGFjbWUAcEBzcw==".to_owned()), "{:?}", server.said());
}

#[tokio::test]
async fn the_accounts_users_are_written_to_where_a_company_has_none() {
    let server = MailServer::start().await;
    let scene = Scene::new(server.plain()).await;
    scene.beside("Other").await.user("bob@other.example").await;
    let nobody = scene.raise(Kind::Failing, "").await;
    assert_eq!(scene.mail().await, 0);
    assert_eq!(scene.shown(nobody).await["mail_status"], "none");
    add_user(&scene.app.ctx, EVE, None).await;
    assert_eq!(scene.mail().await, 0, "what nobody was there for isn't mailed later");
    let told = scene.raise(Kind::Recovered, "").await;
    assert_eq!(scene.mail().await, 1);
    assert_eq!(server.receivers(), [EVE]);
    assert_eq!(scene.shown(told).await["mail_status"], "sent");
}

#[tokio::test]
async fn without_a_mail_server_nothing_waits_to_be_mailed() {
    let scene = Scene::new(None).await;
    scene.user(ANA).await;
    let id = scene.raise(Kind::Failing, "").await;
    assert_eq!(scene.shown(id).await["mail_status"], "pending");
    assert_eq!(scene.mail().await, 0);
    assert_eq!(scene.shown(id).await["mail_status"], "none");
}

#[tokio::test]
async fn what_is_put_off_is_tried_six_times_in_growing_gaps_and_then_given_up() {
    let server = MailServer::start().await;
    let scene = Scene::new(server.plain()).await;
    scene.user(ANA).await;
    server.at(Stage::Letter, "", Deed::Answer("451 4.3.0 ana@acme.example later"));
    let id = scene.raise(Kind::Failing, "").await;
    assert_eq!(scene.mail().await, 1);
    for (tries, gap_s) in (1..).zip([60, 300, 1_800, 7_200, 21_600]) {
        let shown = scene.shown(id).await;
        assert_eq!((&shown["mail_status"], &shown["mail_attempts"]), (&json!("pending"), &json!(tries)));
        assert_eq!(shown["mail_failure"], "The mail server put it off with 451.");
        let due = scene.app.ctx.clock.now().after(Duration::from_secs(gap_s)).rfc3339();
        assert_eq!(shown["mail_due_at"], json!(due));
        scene.app.advance(Duration::from_secs(gap_s - 1));
        assert_eq!(scene.mail().await, 0, "{gap_s}");
        scene.app.advance(Duration::from_secs(1));
        assert_eq!(scene.mail().await, 1, "{gap_s}");
    }
    let shown = scene.shown(id).await;
    assert_eq!((&shown["mail_status"], &shown["mail_due_at"]), (&json!("failed"), &json!(null)));
    assert_eq!(shown["mail_failure"], "The mail server put it off with 451.");
    server.recover();
    scene.app.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(scene.mail().await, 0);
    assert_eq!(server.connections(), 6);
}

#[tokio::test]
async fn who_was_reached_or_refused_for_good_is_not_written_to_again() {
    let server = MailServer::start().await;
    let scene = Scene::new(server.plain()).await;
    let (gone, away) = (scene.user("gone@acme.example").await, scene.user(BEN).await);
    scene.user(ANA).await;
    server.at(Stage::Recipient, "gone@", Deed::Answer("550 5.1.1 <gone@acme.example> unknown"));
    server.at(Stage::Recipient, "ben@", Deed::Answer("450 4.2.0 try later"));
    let id = scene.raise(Kind::Failing, "").await;
    assert_eq!(scene.mail().await, 1);
    assert_eq!(server.receivers(), [ANA]);
    let refused = format!("User {gone}: The mail server refused it with 550.");
    let shown = scene.shown(id).await;
    assert_eq!(shown["mail_failure"], format!("{refused} The mail server put it off with 450."));
    assert_eq!(shown["mail_status"], "pending");
    server.recover();
    scene.app.advance(Duration::from_secs(60));
    assert_eq!(scene.mail().await, 1);
    assert_eq!(server.receivers(), [ANA, BEN]);
    let shown = scene.shown(id).await;
    assert_eq!((&shown["mail_status"], &shown["mail_failure"]), (&json!("failed"), &json!(refused)));
    assert_ne!(gone, away);
}

#[tokio::test]
async fn nobodys_address_keeps_a_letter_from_others() {
    let server = MailServer::start().await;
    let scene = Scene::new(server.plain().map(|mail| Mail { timeout: Duration::from_secs(2), ..mail })).await;
    scene.user("odd@acme.example").await;
    scene.user(ANA).await;
    server.at(Stage::Recipient, "odd@", Deed::HangUp);
    scene.raise(Kind::Failing, "").await;
    assert_eq!(scene.mail().await, 1);
    assert_eq!(server.receivers(), [ANA]);
    server.recover();
    scene.app.advance(Duration::from_secs(600));
    assert_eq!(scene.mail().await, 1);
    assert_eq!(server.receivers(), [ANA, "odd@acme.example"]);
    server.at(Stage::Recipient, "odd@", Deed::Hang);
    let id = scene.raise(Kind::Recovered, "").await;
    assert_eq!(scene.mail().await, 1);
    assert_eq!(server.receivers().len(), 2, "time was up");
    scene.app.advance(Duration::from_secs(60));
    assert_eq!(scene.mail().await, 1);
    assert_eq!(server.receivers()[2..], [ANA]);
    assert_eq!(scene.shown(id).await["mail_status"], "pending");
}

#[tokio::test]
async fn a_server_that_is_away_is_asked_once_in_a_run_and_everything_arrives_later() {
    let server = MailServer::start().await;
    let scene = Scene::new(server.plain()).await;
    for user in [ANA, BEN] {
        scene.user(user).await;
    }
    let other = scene.beside("Other").await;
    other.user("bob@other.example").await;
    server.at(Stage::Greeting, "", Deed::Answer("554 no service"));
    let first = scene.raise(Kind::Failing, "").await;
    other.raise(Kind::Failing, "").await;
    assert_eq!(scene.mail().await, 1);
    assert_eq!(server.connections(), 1, "the second user, and the other company, have to wait");
    let shown = scene.shown(first).await;
    assert_eq!(shown["mail_failure"], "The mail server couldn't be reached or didn't let us in.");
    server.recover();
    assert_eq!(scene.mail().await, 1);
    scene.app.advance(Duration::from_secs(60));
    assert_eq!(scene.mail().await, 1);
    assert_eq!(server.receivers(), ["bob@other.example", BEN, ANA]);
}

#[tokio::test]
async fn a_server_that_hangs_or_hangs_up_is_given_a_bounded_time_and_tried_again() {
    let server = MailServer::start().await;
    let mail = server.settings("smtp", "user:password@", "?tls=none").unwrap();
    let first = Scene::new(Some(Mail { timeout: Duration::from_secs(2), ..mail })).await;
    for (stage, deed) in [
        (Stage::Greeting, Deed::Hang),
        (Stage::Greeting, Deed::HangUp),
        (Stage::Login, Deed::Answer("535 5.7.8 wrong password")),
        (Stage::Recipient, Deed::Hang),
        (Stage::Recipient, Deed::HangUp),
        (Stage::Letter, Deed::Hang),
        (Stage::Letter, Deed::HangUp),
    ] {
        let scene = first.beside("Acme").await;
        scene.user(&format!("ana{}@acme.example", scene.company.id)).await;
        let before = server.letters().len();
        server.at(stage, "", deed);
        let id = scene.raise(Kind::Failing, "").await;
        assert_eq!(scene.mail().await, 1);
        let shown = scene.shown(id).await;
        assert_eq!(shown["mail_status"], "pending", "{stage:?} {deed:?}: {shown}");
        assert_ne!(shown["mail_failure"], "", "{stage:?} {deed:?}");
        let came = server.letters().len() - before;
        assert_eq!(came, usize::from(stage == Stage::Letter), "{stage:?} {deed:?}");
        server.recover();
        scene.app.advance(Duration::from_secs(60));
        assert_eq!(scene.mail().await, 1);
        assert_eq!(scene.shown(id).await["mail_status"], "sent", "{stage:?} {deed:?}");
        let letters = server.letters().split_off(before);
        let ids: Vec<_> = letters.iter().map(|letter| letter.header("Message-ID")).collect();
        assert!(ids.len() == came + 1 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[tokio::test]
async fn a_letter_is_sent_once_the_server_took_it_whatever_becomes_of_the_goodbye() {
    let server = MailServer::start().await;
    let first = Scene::new(server.plain().map(|mail| Mail { timeout: Duration::from_secs(2), ..mail })).await;
    for deed in [Deed::Hang, Deed::HangUp, Deed::Answer("421 tired")] {
        let scene = first.beside("Acme").await;
        scene.user(&format!("ana{}@acme.example", scene.company.id)).await;
        server.recover();
        server.at(Stage::Goodbye, "", deed);
        let id = scene.raise(Kind::Failing, "").await;
        assert_eq!(scene.mail().await, 1);
        assert_eq!(scene.shown(id).await["mail_status"], "sent", "{deed:?}");
    }
}

#[tokio::test]
async fn nothing_is_said_to_a_server_whose_secrecy_is_missing_or_not_vouched_for() {
    for (scheme, secrecy) in [
        ("smtp", Secrecy::None),
        ("smtp", Secrecy::StartTls),
        ("smtps", Secrecy::Tls),
        ("smtps", Secrecy::None),
    ] {
        let server = MailServer::with(secrecy).await;
        let mail = server.settings(scheme, "user:password@", "").unwrap();
        let scene = Scene::new(Some(Mail { timeout: Duration::from_secs(5), ..mail })).await;
        scene.user(ANA).await;
        let id = scene.raise(Kind::Failing, "").await;
        assert_eq!(scene.mail().await, 1);
        let shown = scene.shown(id).await;
        assert_eq!(shown["mail_failure"], "The mail server couldn't be reached or didn't let us in.");
        assert_eq!(shown["mail_status"], "pending");
        let said = server.said().join("\n");
        assert!(!said.contains("AUTH") && !said.contains("MAIL"), "{scheme} {secrecy:?}: {said}");
    }
}

#[tokio::test]
async fn a_letter_and_the_password_go_through_tls_to_a_server_that_is_vouched_for() {
    for (scheme, secrecy) in [("smtp", Secrecy::StartTls), ("smtps", Secrecy::Tls)] {
        let server = MailServer::with(secrecy).await;
        let scene = Scene::new(server.trusted(scheme, "user:password@")).await;
        scene.user(ANA).await;
        let id = scene.raise(Kind::Failing, "").await;
        assert_eq!(scene.mail().await, 1);
        assert_eq!(scene.shown(id).await["mail_status"], "sent", "{scheme}");
        let said = server.said();
        let place = |word: &str| said.iter().position(|line| line.starts_with(word));
        assert!(place("STARTTLS") < place("AUTH") && place("AUTH") < place("MAIL"), "{said:?}");
        assert_eq!(place("STARTTLS").is_some(), secrecy == Secrecy::StartTls);
        assert_eq!(server.receivers(), [ANA]);
    }
}

const HOSTILE: [&str; 5] = [
    "Acme\r\nBcc: eve@evil.example\r\nSubject: x\r\n\r\n.\r\nMAIL FROM:<eve@evil.example>",
    "\"'></td><script>alert(1)</script>",
    "\u{202e}elpmaxe.live\u{2066} שלום \u{200f}",
    "=?utf-8?q?x=0d=0aBcc:_eve@evil.example?=",
    "日本語ÄÖÜ😀",
];

fn assert_sound(letter: &Letter) {
    let raw = &letter.raw;
    assert!(
        raw.is_ascii() && raw.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n']))
    );
    for name in ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version"] {
        letter.header(name);
    }
    for name in ["Bcc", "Cc"] {
        assert_eq!(letter.headers(name), [] as [&str; 0], "{raw}");
    }
    let shown = letter.header("Subject") + &letter.body();
    let turns =
        |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    assert!(!shown.contains(turns), "{shown}");
}

#[tokio::test]
async fn nothing_that_others_named_breaks_a_letter() {
    let server = MailServer::start().await;
    let long = "very long ".repeat(100);
    let first = Scene::new(server.plain()).await;
    for (n, name) in (1..).zip(HOSTILE.iter().chain([&long.as_str()])) {
        // As the API takes it: 200 characters at most.
        let scene = first.beside(&name.chars().take(200).collect::<String>()).await;
        let email = format!("user{n}@acme.example");
        scene.user(&email).await;
        scene.raise(Kind::Failing, name).await;
        assert_eq!(scene.mail().await, 1);
        assert_eq!(server.letters().len(), n);
        let letter = server.letters().pop().unwrap();
        assert_sound(&letter);
        assert_eq!((&letter.header("To"), letter.to.as_slice()), (&email, [email.clone()].as_slice()));
        assert!(
            letter.header("Subject").ends_with(": a webhook is failing"),
            "{:?}",
            letter.header("Subject")
        );
        let ends = letter.body().lines().filter(|line| *line == "-- ").count();
        assert_eq!(ends, 1, "{}", letter.body());
    }
    let shown = server.letters()[1].body();
    assert!(shown.contains("<script>alert(1)</script>"), "it is text: {shown}");
}

#[tokio::test]
async fn an_address_that_mail_cannot_have_is_passed_over() {
    let server = MailServer::start().await;
    let scene = Scene::new(server.plain()).await;
    let odd = scene.user("a>b,c@acme.example").await;
    scene.user(ANA).await;
    let id = scene.raise(Kind::Failing, "").await;
    assert_eq!(scene.mail().await, 1);
    assert_eq!(server.receivers(), [ANA]);
    let failure = format!("User {odd}: The address is none that mail can be sent to.");
    assert_eq!(scene.shown(id).await["mail_failure"], failure);
}

#[tokio::test]
async fn a_flood_becomes_one_letter_every_ten_minutes() {
    let server = MailServer::start().await;
    let scene = Scene::new(server.plain()).await;
    scene.user(ANA).await;
    scene.raise(Kind::Failing, "").await;
    assert_eq!(scene.mail().await, 1);
    let mut flood = Vec::new();
    for n in 0..30 {
        flood.push(scene.raise(Kind::Failing, &format!("Number {n}.")).await);
    }
    assert_eq!(scene.mail().await, 0);
    let shown = scene.shown(flood[29]).await;
    assert_eq!(shown["mail_due_at"], "2026-03-09T09:10:00.000000Z");
    scene.app.advance(Duration::from_secs(599));
    flood.push(scene.raise(Kind::Recovered, "The last.").await);
    assert_eq!(scene.mail().await, 0);
    scene.app.advance(Duration::from_secs(1));
    assert_eq!(scene.mail().await, 1);
    let letters = server.letters();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[1].header("Subject"), "Acme: 31 alerts about webhooks");
    let body = letters[1].body();
    assert_eq!(body.matches("is failing. Number ").count(), 20, "{body}");
    assert!(body.contains("Number 0.") && body.contains("And 11 more:\nhttp://"), "{body}");
    for id in flood {
        assert_eq!(scene.shown(id).await["mail_status"], "sent");
    }
    scene.app.advance(Duration::from_secs(600));
    assert_eq!(scene.mail().await, 0);
}

#[tokio::test]
async fn a_try_that_never_ended_is_made_again_for_everybody() {
    let server = MailServer::start().await;
    let scene = Scene::new(server.plain()).await;
    scene.user(ANA).await;
    server.at(Stage::Letter, "", Deed::Hang);
    let id = scene.raise(Kind::Failing, "").await;
    // As when the program is killed between the try's beginning and its end.
    let running = tokio::spawn({
        let ctx = scene.app.ctx.clone();
        async move { alerts::mail_due(&ctx).await }
    });
    server.wait_for(1).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let shown = scene.shown(id).await;
    assert_eq!(shown["mail_failure"], "The last try was not finished.");
    server.recover();
    assert_eq!(scene.mail().await, 0);
    scene.app.advance(Duration::from_secs(60));
    assert_eq!(scene.mail().await, 1);
    let ids: Vec<_> = server.letters().iter().map(|letter| letter.header("Message-ID")).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "mail programs see that they are the same: {ids:?}");
}

#[tokio::test]
async fn a_mail_is_made_once_however_many_processes_make_it() {
    let server = MailServer::start().await;
    let scene = Scene::new(server.plain()).await;
    scene.user(ANA).await;
    let ids = [scene.raise(Kind::Failing, "").await, scene.raise(Kind::Deactivated, "").await];
    let tries = futures_util::future::join_all((0..4).map(|_| scene.mail())).await;
    assert_eq!(tries.iter().sum::<usize>(), 1);
    assert_eq!(server.letters().len(), 1);
    for id in ids {
        assert_eq!(scene.shown(id).await["mail_status"], "sent");
    }
}

#[tokio::test]
async fn a_deleted_companys_users_are_not_written_to() {
    let server = MailServer::start().await;
    let scene = Scene::new(server.plain()).await;
    scene.user(ANA).await;
    scene.raise(Kind::Failing, "").await;
    let scope = scene.company.scope;
    scene.app.write(move |tx| companies::delete(tx, scope)).await;
    assert_eq!(scene.mail().await, 0);
    assert_eq!(server.connections(), 0);
}
