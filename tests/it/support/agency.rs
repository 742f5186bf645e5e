//! An agency whose pages have something on them: a company with a tracker, a call of every kind, a webhook. What
//! strangers and users may name has [`HOSTILE`] in it.

use calltracker::alerts::{self, NewAlert};
use calltracker::calls::update::{Arrival, Attestation, DialEnd, DialOutcome, End, Fact, Geo, Update};
use calltracker::calls::{self, Recorded, Via};
use calltracker::carriers::accounts;
use calltracker::db::{self, Tx, sql};
use calltracker::kernel::id::{
    AlertId, CallId, CarrierId, MessageId, NumberOrderId, SessionId, TrackerId, WebhookId,
};
use calltracker::messages::update::{self as texts, Media};
use calltracker::messages::{self, Received, outgoing};
use calltracker::recordings::files::Kept;
use calltracker::recordings::link::Links;
use calltracker::recordings::{self, Format, update as told};
use calltracker::trackers::{self, OwnedNumber, Settings, TrackerType, blocked};
use calltracker::users::{Email, invitations};
use calltracker::visits::attribute::Snapshot;
use calltracker::voicemails::{self, update::Update as Transcribed};
use calltracker::webhooks::{self, Subscription};
use calltracker::{audit, auth};
use serde_json::json;

use super::world::{NOWHERE, new_account, number, settings};
use super::{TestApp, TestCompany};

/// Closes a tag, an attribute and a text; opens a script.
pub const HOSTILE: &str = "\"'></td></pre><script>alert(1)</script>";
/// What becomes of its script.
pub const ESCAPED: &str = "&#60;script&#62;alert(1)&#60;/script&#62;";

/// Visits of programs aren't counted.
const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";
const NUMBER: &str = "+12705550101";

/// See the module.
pub struct Agency {
    pub app: TestApp,
    pub company: TestCompany,
    via: Via,
    links: Links,
}

impl Agency {
    pub async fn start() -> Agency {
        let app = TestApp::start().await;
        let company = app.company(&format!("Acme {HOSTILE}")).await;
        let (scope, key) = (company.scope, app.ctx.key.clone());
        let account = new_account(NOWHERE, "5eed0000000000000000000000005eed");
        let carrier: CarrierId = app
            .ctx
            .db
            .write("test", move |tx| accounts::create(tx, scope, &account, &key))
            .await
            .unwrap()
            .account
            .id;
        let named = Settings { name: format!("Billboard {HOSTILE}"), ..settings() };
        let owned = [OwnedNumber {
            carrier_id: carrier,
            carrier_number_id: "PN1".to_owned(),
            number: number(NUMBER),
        }];
        let create = move |tx: &mut Tx<'_>| trackers::create(tx, scope, &named, &owned);
        app.ctx.db.write("test", create).await.unwrap();
        let links = Links::of(&app.ctx);
        Agency { company, via: Via { scope, carrier }, links, app }
    }

    /// A tracker whose numbers the web site shows: `tracker_type`, and numbers that begin with `+1502555` and this digit.
    pub async fn shown_tracker(&self, tracker_type: TrackerType, digit: u8, count: u8) -> TrackerId {
        let (scope, carrier_id) = (self.company.scope, self.via.carrier);
        let named = Settings {
            name: format!("{} {HOSTILE}", tracker_type.as_str()),
            tracker_type,
            swap_target: "(270) 315-2766".to_owned(),
            campaign_source: "search".to_owned(),
            campaign_search_from: "bing".to_owned(),
            ..settings()
        };
        let owned = |n: u8| OwnedNumber {
            carrier_id,
            carrier_number_id: format!("PN{digit}{n:03}"),
            number: number(&format!("+1502555{digit}{n:03}")),
        };
        let owned: Vec<OwnedNumber> = (0..count).map(owned).collect();
        let create = move |tx: &mut Tx<'_>| trackers::create(tx, scope, &named, &owned);
        self.app.ctx.db.write("test", create).await.unwrap().tracker.id
    }

    /// An order that has bought some of the numbers for a pool and won't go on by itself.
    pub async fn order(&self, pool: TrackerId) -> NumberOrderId {
        let (company, carrier) = (self.company.id, self.via.carrier);
        let insert =
            "insert into number_orders (company_id, carrier_id, kind, tracker_id, tracker_name, settings,
                      area_code, wanted, bought, state, error, failures, due_at, created_at)
                      values (?, ?, 'grow', ?, ?, '', '', 25, 4, 'buying', ?, 0, ?, ?) returning id";
        let made = move |tx: &mut Tx<'_>| {
            let values = sql(insert).bind(company).bind(carrier).bind(pool).bind(format!("Pool {HOSTILE}"));
            tx.one::<(NumberOrderId,)>(values.bind(HOSTILE).bind(i64::MAX).bind(tx.now()))
        };
        self.app.write(made).await.0
    }

    /// A visit of the web site with two pages, which came from a search.
    pub async fn visit(&self) -> SessionId {
        let company = self.company.reader.get(&self.company.path("")).await.expect(200);
        let key = company.json["site_key"].as_str().expect("it is a text").to_owned();
        let url = format!("{}dni/{key}/session", self.app.ctx.public_url);
        let mut ours = serde_json::json!({ "visitor": "", "session": "" });
        for page in ["/", "/contact"] {
            let mut to = url::Url::parse("https://www.example.com").unwrap().join(page).unwrap();
            let parameters = [("utm_source", "google"), ("utm_medium", "cpc"), ("utm_term", HOSTILE)];
            to.query_pairs_mut().extend_pairs(parameters);
            let body = serde_json::json!({
                "visitor": ours["visitor"], "session": ours["session"], "url": to.as_str(), "referrer": "",
                "title": format!("A page {HOSTILE}"), "consent": true, "take": true, "test": false, "debug": "",
            });
            let request = reqwest::Client::new().post(&url).header("content-type", "text/plain");
            let request = request.header("user-agent", CHROME);
            let answer = request.body(body.to_string()).send().await.expect("the server answers");
            assert_eq!(answer.status(), 200);
            ours = answer.json().await.expect("the answer is JSON");
        }
        // What pools were asked is counted a moment later.
        self.app.write_beats().await;
        self.app.write(|tx| tx.one::<(SessionId,)>(sql("select max(id) from sessions"))).await.0
    }

    /// The call is the visit's.
    pub async fn credit(&self, call: CallId, visit: SessionId) {
        let kept = Snapshot { session_id: Some(visit.0), ..Snapshot::default() };
        let kept = serde_json::to_string(&kept).unwrap();
        let credit = "update calls set session_id = ?, attribution = ? where id = ?";
        self.app.write(move |tx| tx.execute(sql(credit).bind(visit).bind(&kept).bind(call))).await;
    }

    /// Somebody whose calls are refused.
    pub async fn blocked(&self) {
        let (scope, note) = (self.company.scope, format!("Sells things {HOSTILE}"));
        let block = move |tx: &mut Tx<'_>| blocked::block(tx, scope, &number("+12705550188"), &note);
        self.app.write(block).await;
    }

    /// A path below the company.
    pub fn path(&self, rest: &str) -> String {
        self.company.path(rest)
    }

    /// A call that rings. `id` is the carrier's.
    pub async fn ring(&self, id: &str) -> CallId {
        let arrival = Arrival {
            from: Some(number("+18183219876")),
            to: NUMBER.to_owned(),
            forwarded_from: String::new(),
            caller_name: format!("Ana {HOSTILE}"),
            geo: Geo { city: format!("Burbank {HOSTILE}"), ..Geo::default() },
            attestation: Attestation::A,
        };
        self.tell(id, Fact::Arrived(arrival)).await
    }

    /// A call that was answered, recorded, and listened to by an agency that took notes.
    pub async fn answered_call(&self) -> CallId {
        let id = self.ring("CA1").await;
        let end = DialEnd { outcome: DialOutcome::Completed, bridged: Some(true), duration_s: Some(65) };
        self.tell("CA1", Fact::DialEnded(end)).await;
        self.tell("CA1", Fact::Ended(End { outcome: DialOutcome::Completed, duration_s: Some(83) })).await;
        self.record("CA1", told::Kind::Call).await;
        self.app
            .write(move |tx| {
                tx.execute(
                    sql("update calls set source_keyword = ?, source_referrer = ?, landing_page = ?,
                         pages_visited = ?, note = ?, lead_status = ?, value = 12.5, spam = ? where id = ?")
                    .bind(HOSTILE)
                    .bind(HOSTILE)
                    .bind(HOSTILE)
                    .bind(serde_json::json!([HOSTILE]).to_string())
                    .bind(HOSTILE)
                    .bind(HOSTILE)
                    .bind(true)
                    .bind(id),
                )?;
                tx.execute(sql("insert into call_tags (call_id, tag) values (?, ?)").bind(id).bind(HOSTILE))
            })
            .await;
        id
    }

    /// A call that nobody took and whose caller left a message.
    pub async fn voicemail_call(&self) -> CallId {
        let id = self.ring("CA2").await;
        let end = DialEnd { outcome: DialOutcome::NoAnswer, bridged: None, duration_s: None };
        self.tell("CA2", Fact::DialEnded(end)).await;
        self.tell("CA2", Fact::VoicemailEnded { duration_s: Some(12) }).await;
        self.tell("CA2", Fact::Ended(End { outcome: DialOutcome::Completed, duration_s: Some(47) })).await;
        self.record("CA2", told::Kind::Voicemail).await;
        let update = Transcribed {
            carrier_call_id: "CA2".to_owned(),
            carrier_recording_id: "RECA2".to_owned(),
            text: Some(format!("Please call me back. {HOSTILE}")),
        };
        let via = self.via;
        assert!(self.app.write(move |tx| voicemails::record_transcription(tx, via, &update)).await);
        // The server does so too, at a time of its own; whoever is first, it is told once.
        voicemails::announce(&self.app.ctx).await.unwrap();
        id
    }

    /// A text that came in and one that couldn't be sent back; gives the first.
    pub async fn texts(&self) -> MessageId {
        let (via, scope) = (self.via, self.company.scope);
        let picture = Media { url: NOWHERE.to_owned(), content_type: format!("image/{HOSTILE}") };
        let arrival = texts::Arrival {
            carrier_message_id: "SM1".to_owned(),
            from: Some(number("+18183219876")),
            to: NUMBER.to_owned(),
            body: format!("Do you have time on Monday? {HOSTILE}"),
            media: vec![picture],
            segments: 1,
            opt_out: None,
        };
        self.app
            .write(move |tx| {
                let received = messages::receive(tx, via.carrier, scope, &arrival)?;
                let Received::New(id) = received else { panic!("{received:?}") };
                let text = messages::find(tx, scope, id)?.unwrap();
                let body = outgoing::Body::parse(&format!("Yes, at nine. {HOSTILE}")).unwrap();
                let draft = outgoing::Draft { tracker_id: text.tracker_id, to: number("+18183219876"), body };
                let prepared = outgoing::prepare(tx, scope, &draft).unwrap();
                outgoing::failed(tx, scope, prepared.id, HOSTILE, Some(30_005))?;
                db::Result::Ok(id)
            })
            .await
    }

    /// A change by a user with a strange name, in the audit log.
    pub async fn changed(&self) {
        let entry = audit::NewEntry {
            company: Some(self.company.id),
            actor: format!("{HOSTILE}@agency.example"),
            operation: "update_company".to_owned(),
            path: vec![("company_id".to_owned(), "1".to_owned())],
            body: json!({ "name": HOSTILE }),
            before: json!({ "name": "Acme" }),
            after: json!({ "name": HOSTILE }),
        };
        self.app.write(move |tx| audit::record(tx, &entry)).await;
        let (scope, name) = (self.company.scope, format!("CRM {HOSTILE}"));
        self.app.write(move |tx| auth::create(tx, &name, Some(scope.company()), false)).await;
        let email = Email::parse(&format!("{HOSTILE}@acme.example")).unwrap();
        let invite = self.app.ctx.db.write("test", move |tx| invitations::invite(tx, scope, &email, true));
        invite.await.unwrap();
    }

    async fn tell(&self, id: &str, fact: Fact) -> CallId {
        let (via, links) = (self.via, self.links.clone());
        let update = Update { carrier_call_id: id.to_owned(), fact };
        match self.app.write(move |tx| calls::record(tx, via, &links, &update)).await {
            Recorded::Known { call, .. } => call,
            other => panic!("{other:?}"),
        }
    }

    async fn record(&self, id: &str, kind: told::Kind) {
        let (via, links) = (self.via, self.links.clone());
        let audio =
            told::Audio { duration_s: 61, media_url: "https://media.example/RE1".to_owned(), channels: 2 };
        let update = told::Update {
            carrier_call_id: id.to_owned(),
            carrier_recording_id: format!("RE{id}"),
            kind: Some(kind),
            outcome: told::Outcome::Completed(audio),
        };
        self.app
            .write(move |tx| {
                let (call, recording) = calls::record_recording(tx, via, &links, &update)?.unwrap();
                let kept = Kept { path: "1/2026-03/1.mp3".to_owned(), format: Format::Mp3, bytes: 9 };
                recordings::stored(tx, recording.id, &kept, false)?;
                calls::announce_recordings(tx, &links, call.id)
            })
            .await;
    }

    /// A webhook that nobody verified: its events are held.
    pub async fn webhook(&self, target: &str) -> WebhookId {
        let (scope, key) = (self.company.scope, self.app.ctx.key.clone());
        let settings = webhooks::Settings {
            target: target.to_owned(),
            events: Subscription::All,
            description: format!("CRM {HOSTILE}"),
            headers: vec![("X-Api-Key".to_owned(), "very secret".to_owned())],
            accept_any_2xx: false,
            rate_per_s: Some(2.5),
        };
        let create = move |tx: &mut Tx<'_>| webhooks::create(tx, scope, &key, &settings);
        self.app.write(create).await.0.id
    }

    /// An alert about the webhook, with what its receiver is made to have said.
    pub async fn alert(&self, webhook: WebhookId) -> AlertId {
        let scope = self.company.scope;
        let alert = NewAlert {
            kind: alerts::Kind::Deactivated,
            webhook,
            target: format!("https://crm.example/{HOSTILE}"),
            reason: format!("The last time with: {HOSTILE}"),
        };
        self.app.write(move |tx| alerts::raise(tx, scope, &alert)).await
    }

    /// An event of the webhook whose delivery was tried twice; gives the delivery's id.
    pub async fn tried_delivery(&self, webhook: WebhookId) -> String {
        self.app.append_event(self.company.scope, 7).await;
        let scope = self.company.scope;
        self.app
            .write(move |tx| {
                let statement = "select max(event_id) from deliveries where webhook_id = ?";
                let (event,): (i64,) = tx.one(sql(statement).bind(webhook))?;
                let delivery = (webhook, event);
                insert_attempt(tx, delivery, 1, None, Some("dns"))?;
                insert_attempt(tx, delivery, 2, Some(500), Some("status"))?;
                let count = "update deliveries set attempts = 2 where webhook_id = ? and event_id = ?";
                tx.execute(sql(count).bind(webhook).bind(event))?;
                let (uid,): (String,) = tx.one(sql("select uid from events order by id desc limit 1"))?;
                let found = webhooks::find_delivery(tx, scope, webhook, &format!("msg_{uid}_{webhook}"))?;
                db::Result::Ok(found.unwrap().delivery.public_id())
            })
            .await
    }
}

fn insert_attempt(
    tx: &mut Tx<'_>,
    (webhook, event): (WebhookId, i64),
    number: i64,
    status: Option<i64>,
    error: Option<&str>,
) -> db::Result<u64> {
    tx.execute(
        sql("insert into attempts (webhook_id, event_id, number, started_at, duration_ms, target, request_headers,
             status_code, error, error_detail, response_body) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(webhook)
        .bind(event)
        .bind(number)
        .bind(tx.now())
        .bind(41)
        .bind(format!("https://crm.example/{HOSTILE}"))
        .bind(serde_json::json!({"content-type": "application/json", "x-own": HOSTILE}).to_string())
        .bind(status)
        .bind(error)
        .bind(format!("It went wrong. {HOSTILE}"))
        .bind(HOSTILE),
    )
}
