//! Text messages in and out, against the database. The carrier is asked in `provision`.

use std::time::Duration;

use calltracker::carriers::decode::{Told, decode};
use calltracker::carriers::form::Form;
use calltracker::carriers::hook::{Hook, HookQuery};
use calltracker::companies::Scope;
use calltracker::db::{Error as DbError, Tx, sql};
use calltracker::kernel::id::{CarrierId, MessageId};
use calltracker::kernel::page::{Page, parse_cursor};
use calltracker::messages::outgoing::{self, Accepted, Body, Draft, Error, Prepared, UNKNOWN};
use calltracker::messages::update::{Arrival, Media, OptOut, State, Status};
use calltracker::messages::{self, Message, Received, threads};
use calltracker::trackers::TrackerView;
use serde_json::json;

use crate::support::world::{NOWHERE, World, assert_contract, number, stranger};

const OURS: &str = "+12705550101";
const OURS_TOO: &str = "+12705550102";
const THEIRS: &str = "+18183219876";

/// A company with a tracker of two numbers.
struct Scene {
    world: World,
    scope: Scope,
    carrier: CarrierId,
    tracker: TrackerView,
}

impl Scene {
    async fn new() -> Scene {
        let world = World::at("2026-03-09T07:30:00.942Z").await;
        let scope = world.company("America/New_York", 10).await;
        let carrier = world.account(scope, NOWHERE).await;
        let tracker = world.tracker(scope, carrier, &[OURS, OURS_TOO]).await;
        Scene { world, scope, carrier, tracker }
    }

    async fn receive(&self, arrival: Arrival) -> Received {
        let (carrier, scope) = (self.carrier, self.scope);
        let receive = move |tx: &mut Tx<'_>| messages::receive(tx, carrier, scope, &arrival);
        self.world.ctx.db.write("test", receive).await.unwrap()
    }

    fn draft(&self, body: &str) -> Draft {
        Draft { tracker_id: self.tracker.tracker.id, to: number(THEIRS), body: Body::parse(body).unwrap() }
    }

    async fn prepare(&self, body: &str) -> Result<Prepared, Error> {
        let (scope, draft) = (self.scope, self.draft(body));
        self.world.ctx.db.write("test", move |tx| outgoing::prepare(tx, scope, &draft)).await
    }

    async fn sent(&self, id: MessageId, carrier_message_id: &str) -> Message {
        let scope = self.scope;
        let carrier_message_id = carrier_message_id.to_owned();
        let accepted = Accepted { carrier_message_id, segments: 2, state: State::Queued };
        let sent = move |tx: &mut Tx<'_>| outgoing::sent(tx, scope, id, &accepted);
        self.world.ctx.db.write("test", sent).await.unwrap()
    }

    async fn status(&self, named: Option<MessageId>, id: &str, state: State) -> Option<MessageId> {
        let (carrier, scope) = (self.carrier, self.scope);
        let told = Status { carrier_message_id: id.to_owned(), state, error_code: None };
        let status = move |tx: &mut Tx<'_>| outgoing::status(tx, carrier, scope, named, &told);
        self.world.ctx.db.write("test", status).await.unwrap()
    }

    async fn message(&self, id: MessageId) -> Message {
        let scope = self.scope;
        let found = self.world.ctx.db.read("test", move |tx| messages::find(tx, scope, id)).await.unwrap();
        found.unwrap()
    }

    async fn state(&self, id: MessageId) -> &'static str {
        self.message(id).await.status.as_str()
    }
}

fn arrival(id: &str, body: &str) -> Arrival {
    Arrival {
        carrier_message_id: id.to_owned(),
        from: Some(number(THEIRS)),
        to: OURS.to_owned(),
        body: body.to_owned(),
        media: vec![],
        segments: 1,
        opt_out: None,
    }
}

fn wish(id: &str, wish: OptOut) -> Arrival {
    Arrival { opt_out: Some(wish), ..arrival(id, "a keyword") }
}

/// A form as the carrier posts it, read as `http::carrier` does.
fn posted(form: &[(&str, &str)]) -> Arrival {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let form = Form::parse(body.as_bytes()).unwrap();
    match decode(Hook::Message, HookQuery::default(), &form).unwrap() {
        Told::Message(arrival) => arrival,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_message_that_came_in_has_the_contracts_keys() {
    let scene = Scene::new().await;
    let media = vec![Media { url: "https://m.example/1".to_owned(), content_type: "image/png".to_owned() }];
    let Received::New(id) = scene.receive(Arrival { media, ..arrival("SM1", "Hello!") }).await else {
        panic!()
    };
    let events = scene.world.events(scene.scope, "message.received").await;
    assert_eq!(events.len(), 1);
    assert_contract("message.received", &events[0]);
    assert_eq!(events[0], scene.message(id).await.to_json());
    let expected = json!({
        "id": id,
        "direction": "incoming",
        "from_number": THEIRS,
        "to_number": OURS,
        "body": "Hello!",
        "timestamp": "2026-03-09T07:30:00.942000Z",
        "tracker_id": scene.tracker.tracker.id,
        "tracker_name": "Example Tracker",
        "company_id": scene.scope.company(),
        "company_name": "Example Company",
        "status": "received",
        "error": "",
        "error_code": null,
        "media": [{"url": "https://m.example/1", "content_type": "image/png"}],
        "segments": 1,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(events[0][key], *value, "{key}");
    }
    assert_eq!(events[0]["last_touch"]["source_channel"], "offline");
}

#[tokio::test]
async fn a_message_told_many_times_at_once_is_one_message() {
    let scene = Scene::new().await;
    let tellings = (0..8).map(|_| scene.receive(arrival("SM1", "Hello!")));
    let told = futures_util::future::join_all(tellings).await;
    assert_eq!(told.iter().filter(|one| matches!(one, Received::New(_))).count(), 1);
    assert_eq!(told.iter().filter(|one| **one == Received::Repeated).count(), 7);
    assert_eq!(scene.world.count("messages").await, 1);
    assert_eq!(scene.world.events(scene.scope, "message.received").await.len(), 1);
}

#[tokio::test]
async fn people_write_in_all_scripts_and_nul_is_dropped() {
    let scene = Scene::new().await;
    for (nth, (sent, kept)) in [
        ("👩‍👩‍👧‍👦 ok 👍🏽", "👩‍👩‍👧‍👦 ok 👍🏽"),
        ("Zażółć gęślą jaźń\r\n", "Zażółć gęślą jaźń\r\n"),
        ("مرحبا \u{202e}abc", "مرحبا \u{202e}abc"),
        ("a\0b", "ab"),
        ("\0", ""),
        ("'; drop table messages; --", "'; drop table messages; --"),
    ]
    .into_iter()
    .enumerate()
    {
        let sid = format!("SM{nth}");
        let form = [("MessageSid", sid.as_str()), ("From", THEIRS), ("To", OURS), ("Body", sent)];
        let Received::New(id) = scene.receive(posted(&form)).await else { panic!("{sent:?}") };
        assert_eq!(scene.message(id).await.body, kept);
    }
}

#[tokio::test]
async fn a_sender_that_is_no_phone_number_is_unknown() {
    let scene = Scene::new().await;
    for sender in ["12345", "MYBANK", "anonymous", ""] {
        let sid = format!("SM{sender}");
        let form = [("MessageSid", sid.as_str()), ("From", sender), ("To", OURS), ("Body", "Your code")];
        let Received::New(id) = scene.receive(posted(&form)).await else { panic!("{sender}") };
        assert_eq!(scene.message(id).await.to_json()["from_number"], "", "{sender}");
    }
}

#[tokio::test]
async fn only_a_companys_own_numbers_receive() {
    let scene = Scene::new().await;
    let (carrier, other) = (scene.carrier, stranger(scene.scope));
    let told = arrival("SM1", "Hello!");
    let receive = move |tx: &mut Tx<'_>| messages::receive(tx, carrier, other, &told);
    assert_eq!(scene.world.ctx.db.write("test", receive).await.unwrap(), Received::UnknownNumber);
    let elsewhere = Arrival { to: "+12705550199".to_owned(), ..arrival("SM2", "Hello!") };
    assert_eq!(scene.receive(elsewhere).await, Received::UnknownNumber);
    scene.world.delete_tracker(scene.scope, &scene.tracker).await;
    assert_eq!(scene.receive(arrival("SM3", "Hello!")).await, Received::UnknownNumber);
    assert_eq!(scene.world.count("messages").await, 0);
}

#[tokio::test]
async fn who_says_stop_gets_nothing_until_they_say_start() {
    let scene = Scene::new().await;
    scene.receive(wish("SM1", OptOut::Stop)).await;
    scene.receive(wish("SM2", OptOut::Help)).await;
    assert!(matches!(scene.prepare("Hi").await, Err(Error::OptedOut)));
    assert_eq!(scene.world.count("messages where direction = 'outgoing'").await, 0);
    scene.receive(wish("SM3", OptOut::Start)).await;
    // The carrier repeats the first one: that wish is an old one.
    assert_eq!(scene.receive(wish("SM1", OptOut::Stop)).await, Received::Repeated);
    assert!(scene.prepare("Hi").await.is_ok());
    // Without a number there is nobody to keep it of.
    let nobody = Arrival { from: None, ..wish("SM4", OptOut::Stop) };
    assert!(matches!(scene.receive(nobody).await, Received::New(_)));
    assert_eq!(scene.world.count("opt_outs").await, 0);
}

#[tokio::test]
async fn a_message_that_went_out_is_told_of_once_it_is_accepted() {
    let scene = Scene::new().await;
    let prepared = scene.prepare("Thanks for your message! 👍").await.unwrap();
    assert_eq!(scene.state(prepared.id).await, "queued");
    assert!(scene.world.events(scene.scope, "message.sent").await.is_empty());
    let message = scene.sent(prepared.id, "SM1").await;
    scene.sent(prepared.id, "SM1").await;
    assert_eq!(message.segments, 2);
    let events = scene.world.events(scene.scope, "message.sent").await;
    assert_eq!(events.len(), 1);
    assert_contract("message.sent", &events[0]);
    assert_eq!(events[0]["direction"], "outgoing");
    assert_eq!(events[0]["from_number"], OURS);
    assert_eq!(events[0]["body"], "Thanks for your message! 👍");
}

#[tokio::test]
async fn a_conversation_stays_on_its_number() {
    let scene = Scene::new().await;
    assert_eq!(scene.prepare("Hi").await.unwrap().from, number(OURS));
    scene.receive(Arrival { to: OURS_TOO.to_owned(), ..arrival("SM1", "Hello!") }).await;
    assert_eq!(scene.prepare("Hi").await.unwrap().from, number(OURS_TOO));
}

#[tokio::test]
async fn a_tracker_without_a_number_sends_nothing() {
    let scene = Scene::new().await;
    let bare = scene.world.tracker(scene.scope, scene.carrier, &[]).await;
    let draft = Draft { tracker_id: bare.tracker.id, ..scene.draft("Hi") };
    let (scope, other) = (scene.scope, stranger(scene.scope));
    let prepare = move |tx: &mut Tx<'_>| outgoing::prepare(tx, scope, &draft);
    assert!(matches!(scene.world.ctx.db.write("test", prepare).await, Err(Error::NoNumber)));
    let draft = scene.draft("Hi");
    let prepare = move |tx: &mut Tx<'_>| outgoing::prepare(tx, other, &draft);
    assert!(matches!(scene.world.ctx.db.write("test", prepare).await, Err(Error::NoSuchTracker)));
}

#[tokio::test]
async fn callbacks_in_any_order_leave_the_last_state() {
    use State::{Delivered, Queued, Sent, Undelivered};
    let scene = Scene::new().await;
    for (nth, (told, left)) in [
        (vec![Sent, Delivered], "delivered"),
        (vec![Delivered, Sent], "delivered"),
        (vec![Delivered, Sent, Queued, Undelivered], "delivered"),
        (vec![Sent, Queued], "sent"),
        (vec![Undelivered, Delivered], "undelivered"),
    ]
    .into_iter()
    .enumerate()
    {
        let sid = format!("SM{nth}");
        let id = scene.prepare("Hi").await.unwrap().id;
        scene.sent(id, &sid).await;
        for state in &told {
            assert_eq!(scene.status(None, &sid, *state).await, Some(id));
        }
        assert_eq!(scene.state(id).await, left, "{told:?}");
    }
    assert_eq!(scene.status(None, "SM404", Sent).await, None);
}

#[tokio::test]
async fn an_error_code_comes_with_the_failure() {
    let scene = Scene::new().await;
    let id = scene.prepare("Hi").await.unwrap().id;
    scene.sent(id, "SM1").await;
    let (carrier, scope) = (scene.carrier, scene.scope);
    let carrier_message_id = "SM1".to_owned();
    let told = Status { carrier_message_id, state: State::Undelivered, error_code: Some(30_003) };
    let status = move |tx: &mut Tx<'_>| outgoing::status(tx, carrier, scope, None, &told);
    scene.world.ctx.db.write("test", status).await.unwrap();
    assert_eq!(scene.message(id).await.to_json()["error_code"], 30_003);
}

#[tokio::test]
async fn a_callback_may_be_quicker_than_the_answer() {
    let scene = Scene::new().await;
    let id = scene.prepare("Hi").await.unwrap().id;
    assert_eq!(scene.status(Some(id), "SM1", State::Delivered).await, Some(id));
    let message = scene.sent(id, "SM1").await;
    assert_eq!((message.status.as_str(), message.segments), ("delivered", 2));
    assert_eq!(scene.world.events(scene.scope, "message.sent").await.len(), 1);
    // Its name in the URL doesn't make another message's news this one's.
    assert_eq!(scene.status(Some(id), "SM2", State::Failed).await, None);
    assert_eq!(scene.state(id).await, "delivered");
}

#[tokio::test]
async fn an_end_in_between_leaves_a_message_that_is_never_sent_again() {
    let scene = Scene::new().await;
    let id = scene.prepare("Hi").await.unwrap().id;
    let db = &scene.world.ctx.db;
    scene.world.clock.advance(Duration::from_secs(299));
    assert_eq!(outgoing::fail_stale(db).await.unwrap(), 0);
    scene.world.clock.advance(Duration::from_secs(1));
    assert_eq!(outgoing::fail_stale(db).await.unwrap(), 1);
    assert_eq!(outgoing::fail_stale(db).await.unwrap(), 0);
    let message = scene.message(id).await;
    assert_eq!((message.status.as_str(), message.error.as_str()), ("failed", UNKNOWN));
    assert!(scene.world.events(scene.scope, "message.sent").await.is_empty());
    // The carrier did take it, as its callback shows.
    assert_eq!(scene.status(Some(id), "SM1", State::Sent).await, Some(id));
    let message = scene.message(id).await;
    assert_eq!((message.status.as_str(), message.error.as_str()), ("sent", ""));
    assert_eq!(scene.world.events(scene.scope, "message.sent").await.len(), 1);
    assert_eq!(outgoing::fail_stale(db).await.unwrap(), 0);
}

#[tokio::test]
async fn an_accepted_message_is_not_stale() {
    let scene = Scene::new().await;
    let id = scene.prepare("Hi").await.unwrap().id;
    scene.sent(id, "SM1").await;
    scene.world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(outgoing::fail_stale(&scene.world.ctx.db).await.unwrap(), 0);
    let scope = scene.scope;
    let failed = move |tx: &mut Tx<'_>| outgoing::failed(tx, scope, id, "late", None);
    scene.world.ctx.db.write("test", failed).await.unwrap();
    assert_eq!(scene.state(id).await, "queued");
}

#[tokio::test]
async fn the_answer_and_the_callback_at_once_make_one_event() {
    let scene = Scene::new().await;
    for nth in 0..10 {
        let id = scene.prepare("Hi").await.unwrap().id;
        let sid = format!("SM{nth}");
        let (message, known) =
            tokio::join!(scene.sent(id, &sid), scene.status(Some(id), &sid, State::Delivered));
        assert_eq!((message.id, known), (id, Some(id)));
        assert_eq!(scene.state(id).await, "delivered");
    }
    assert_eq!(scene.world.events(scene.scope, "message.sent").await.len(), 10);
}

#[tokio::test]
async fn the_list_is_newest_first_in_pages() {
    let scene = Scene::new().await;
    for nth in 0..5 {
        scene.receive(arrival(&format!("SM{nth}"), &nth.to_string())).await;
    }
    let db = &scene.world.ctx.db;
    let page = Page { limit: 3, ..Page::default() };
    let first = messages::list(db, scene.scope, page).await.unwrap();
    let bodies = |page: &calltracker::kernel::page::Listed<Message>| -> Vec<String> {
        page.rows.iter().map(|message| message.body.clone()).collect()
    };
    assert_eq!(bodies(&first), ["4", "3", "2"]);
    let cursor = first.next.as_deref().and_then(parse_cursor).unwrap();
    let second = messages::list(db, scene.scope, page.behind(cursor)).await.unwrap();
    assert_eq!(bodies(&second), ["1", "0"]);
    assert!(second.next.is_none());
    assert!(messages::list(db, stranger(scene.scope), Page::default()).await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn a_message_without_its_event_does_not_exist() {
    let scene = Scene::new().await;
    let (carrier, scope) = (scene.carrier, scene.scope);
    let told = arrival("SM1", "Hello!");
    let broken = move |tx: &mut Tx<'_>| -> Result<(), DbError> {
        messages::receive(tx, carrier, scope, &told)?;
        tx.execute(sql("insert into nowhere values (1)")).map(|_| ())
    };
    assert!(scene.world.ctx.db.write("test", broken).await.is_err());
    assert_eq!((scene.world.count("messages").await, scene.world.count("events").await), (0, 1));
    assert!(matches!(scene.receive(arrival("SM1", "Hello!")).await, Received::New(_)));
}

#[tokio::test]
async fn conversations_are_listed_by_their_last_text() {
    let scene = Scene::new().await;
    let db = &scene.world.ctx.db;
    let from = async |id: &str, sender: Option<&str>| {
        let received = scene.receive(Arrival { from: sender.map(number), ..arrival(id, id) }).await;
        let Received::New(id) = received else { panic!("{received:?}") };
        id
    };
    let first = from("SM1", Some("+18183219871")).await;
    let unknown = from("SM2", None).await;
    let second = from("SM3", Some("+18183219872")).await;
    let later = from("SM4", Some("+18183219871")).await;
    let page = Page { limit: 2, ..Page::default() };
    let ids = |rows: &[Message]| rows.iter().map(|message| message.id).collect::<Vec<_>>();
    let newest = threads::list(db, scene.scope, page).await.unwrap();
    assert_eq!(ids(&newest.rows), [later, second]);
    let cursor = parse_cursor(&newest.next.unwrap()).unwrap();
    let rest = threads::list(db, scene.scope, page.behind(cursor)).await.unwrap();
    assert_eq!((ids(&rest.rows), rest.next), (vec![unknown], None));
    // An answer is part of the conversation, and its last text.
    let answer = Draft { to: number("+18183219872"), ..scene.draft("Hello") };
    let scope = scene.scope;
    let prepared = db.write("test", move |tx| outgoing::prepare(tx, scope, &answer)).await.unwrap();
    let newest = threads::list(db, scene.scope, page).await.unwrap();
    assert_eq!(ids(&newest.rows), [prepared.id, later]);
    let one = threads::of(db, scene.scope, &newest.rows[1], page).await.unwrap();
    assert_eq!((ids(&one.rows), one.next), (vec![later, first], None));
    assert!(threads::list(db, stranger(scene.scope), page).await.unwrap().rows.is_empty());
}
