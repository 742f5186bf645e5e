//! Numbers and texts at a carrier: what is asked of it, and what is left when it fails or we end in between.
//! The carrier is modelled; the last test does the same with the simulated carrier, a program of its own, and
//! runs like those of `carrier_sim`.

use std::time::Duration;

use calltracker::carriers::accounts::{self, Invalid, Registered, Secret, check_base_url};
use calltracker::carriers::client::CarrierError;
use calltracker::carriers::provision::{self, Error, Numbers, Search, Source};
use calltracker::carriers::{BadBaseUrl, Kind};
use calltracker::companies::Scope;
use calltracker::db::{Tx, sql};
use calltracker::kernel::id::{CarrierId, TrackerId};
use calltracker::kernel::phone::NumberType;
use calltracker::messages;
use calltracker::messages::Message;
use calltracker::messages::outgoing::{Body, Draft, UNKNOWN};
use calltracker::trackers::{self, Settings, TrackerView};
use url::Url;

use crate::support::carrier::{Carrier, Fault, Step};
use crate::support::simulator::Simulator;
use crate::support::world::{
    AUTH_TOKEN, DESTINATION, NOWHERE, World, assert_contract, new_account, number, settings, stranger,
};

const ON_SALE: [&str; 3] = ["+12705550101", "+12705550102", "+12705550103"];
const OWN: &str = "+12705550150";
const THEIRS: &str = "+18183219876";

/// A company with an account at a carrier that has three numbers on sale.
struct Scene {
    world: World,
    carrier: Carrier,
    scope: Scope,
    account: CarrierId,
}

impl Scene {
    async fn new() -> Scene {
        let carrier = Carrier::start().await;
        carrier.put_on_sale(&ON_SALE);
        let world = World::at("2026-03-06T09:29:16Z").await;
        let scope = world.company("UTC", 1).await;
        let account = world.account(scope, &carrier.url).await;
        Scene { world, carrier, scope, account }
    }

    async fn buy(&self, count: usize) -> Result<TrackerView, Error> {
        provision::create_tracker(&self.world.ctx, self.scope, settings(), buy(count)).await
    }

    async fn attach(&self, wanted: &[&str]) -> Result<TrackerView, Error> {
        provision::create_tracker(&self.world.ctx, self.scope, settings(), attach(wanted)).await
    }

    async fn release_due(&self) -> usize {
        provision::release_due(&self.world.ctx).await.unwrap()
    }

    async fn send(&self, tracker: TrackerId) -> Result<Message, Error> {
        let draft = Draft { tracker_id: tracker, to: number(THEIRS), body: Body::parse("Hi 👍").unwrap() };
        provision::send_message(&self.world.ctx, self.scope, draft).await
    }

    async fn last_message(&self) -> Message {
        let page = calltracker::kernel::page::Page::default();
        messages::list(&self.world.ctx.db, self.scope, page).await.unwrap().rows.remove(0)
    }

    fn pass(&self, seconds: u64) {
        self.world.clock.advance(Duration::from_secs(seconds));
    }
}

fn buy(count: usize) -> Numbers {
    Numbers { carrier_id: None, source: Source::Buy { area_code: Some("270".to_owned()), count } }
}

fn attach(wanted: &[&str]) -> Numbers {
    let wanted = wanted.iter().map(|text| number(text)).collect();
    Numbers { carrier_id: None, source: Source::Attach(wanted) }
}

fn of(view: &TrackerView) -> Vec<&str> {
    let mut numbers: Vec<&str> = view.numbers.iter().map(|one| one.number.as_str()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn a_bought_number_calls_us() {
    let scene = Scene::new().await;
    let view = scene.buy(2).await.unwrap();
    assert_eq!(of(&view), scene.carrier.owned());
    let one = scene.carrier.owned().remove(0);
    let voice = scene.carrier.setting(&one, "VoiceUrl").unwrap();
    assert!(voice.starts_with("http://127.0.0.1:9/carrier/ch_") && voice.ends_with("/voice"), "{voice}");
    for (name, hook) in [("StatusCallback", "/call-status"), ("SmsUrl", "/message")] {
        assert!(scene.carrier.setting(&one, name).unwrap().ends_with(hook));
    }
    assert_eq!(scene.world.count("purchases").await, 0);
    let events = scene.world.events(scene.scope, "tracker.created").await;
    assert_contract("tracker.created", &events[0]);
    assert_eq!(events[0]["phone_numbers"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn when_someone_was_quicker_another_number_is_bought() {
    let scene = Scene::new().await;
    scene.carrier.fail(Step::Buy, Fault::Refuse(400, 21_422));
    let view = scene.buy(2).await.unwrap();
    assert_eq!(of(&view), scene.carrier.owned());
    assert_eq!((scene.carrier.count(Step::Buy), scene.world.count("purchases").await), (3, 0));
}

#[tokio::test]
async fn a_number_that_calls_are_forwarded_to_is_not_bought() {
    let scene = Scene::new().await;
    let elsewhere = Settings { destination: number(ON_SALE[0]), ..settings() };
    let of_another = provision::create_tracker(&scene.world.ctx, scene.scope, elsewhere, buy(1)).await;
    assert_ne!(of(&of_another.unwrap()), [ON_SALE[0]]);
    let view = scene.buy(1).await.unwrap();
    assert_ne!(of(&view), [ON_SALE[0]]);
    assert!(matches!(scene.buy(1).await, Err(Error::TooFew { found: 0 })));
    assert_eq!((scene.carrier.count(Step::Buy), scene.world.count("purchases").await), (2, 0));
    // Nor is it configured, if the account has it.
    scene.carrier.give(ON_SALE[0], "");
    let refused = scene.attach(&[ON_SALE[0]]).await;
    assert!(matches!(refused, Err(Error::Tracker(trackers::Error::NumberIsDestination(_)))));
    assert_eq!(scene.carrier.count(Step::Configure), 0);
}

#[tokio::test]
async fn a_number_whose_answer_got_lost_is_taken_over() {
    let scene = Scene::new().await;
    scene.carrier.fail(Step::Buy, Fault::DoAndFail(500));
    let view = scene.buy(1).await.unwrap();
    assert_eq!(of(&view), scene.carrier.owned());
    assert_eq!(scene.carrier.count(Step::Buy), 1);
}

#[tokio::test]
async fn too_few_numbers_are_given_back() {
    let scene = Scene::new().await;
    assert!(matches!(scene.buy(4).await, Err(Error::TooFew { found: 3 })));
    assert_eq!(scene.carrier.owned().len(), 3);
    assert_eq!(scene.release_due().await, 3);
    assert!(scene.carrier.owned().is_empty());
    assert_eq!((scene.world.count("purchases").await, scene.world.count("trackers").await), (0, 0));
}

#[tokio::test]
async fn when_the_tracker_is_not_made_its_number_goes_back() {
    let scene = Scene::new().await;
    // The numbers are bought, and then the tracker can't be told of.
    scene.world.execute(sql("alter table events rename to elsewhere")).await;
    let failed = scene.buy(3).await;
    assert!(matches!(failed, Err(Error::Db(_))), "{failed:?}");
    scene.world.execute(sql("alter table elsewhere rename to events")).await;
    scene.carrier.fail(Step::Release, Fault::Refuse(503, 0));
    assert_eq!(scene.release_due().await, 2);
    assert_eq!(scene.release_due().await, 0);
    scene.pass(60);
    assert_eq!(scene.release_due().await, 1);
    assert!(scene.carrier.owned().is_empty());
}

#[tokio::test]
async fn a_purchase_of_a_program_that_ended_is_undone() {
    let scene = Scene::new().await;
    scene.carrier.fail(Step::Buy, Fault::DoAndHang);
    tokio::select! {
        done = scene.buy(1) => panic!("{done:?}"),
        () = scene.carrier.saw(Step::Buy) => {}
    }
    assert_eq!(scene.carrier.owned().len(), 1);
    scene.pass(599);
    assert_eq!(scene.release_due().await, 0);
    scene.pass(1);
    assert_eq!(scene.release_due().await, 1);
    assert!(scene.carrier.owned().is_empty());
    assert_eq!(scene.world.count("purchases").await, 0);
}

#[tokio::test]
async fn a_purchase_that_a_tracker_has_after_all_stays() {
    let scene = Scene::new().await;
    let view = scene.buy(1).await.unwrap();
    let statement =
        "insert into purchases (company_id, carrier_id, number, attempts, due_at) values (?, ?, ?, 0, 0)";
    let statement = sql(statement).bind(scene.scope.company()).bind(scene.account);
    scene.world.execute(statement.bind(&view.numbers[0].number)).await;
    assert_eq!(scene.release_due().await, 0);
    assert_eq!(of(&view), scene.carrier.owned());
    assert_eq!(scene.world.count("purchases").await, 0);
}

#[tokio::test]
async fn those_who_buy_at_once_get_different_numbers() {
    let scene = Scene::new().await;
    let (first, second, third) = tokio::join!(scene.buy(1), scene.buy(1), scene.buy(1));
    let made = [first.unwrap(), second.unwrap(), third.unwrap()];
    assert_eq!(scene.release_due().await, 0);
    let mut numbers: Vec<&str> = made.iter().flat_map(of).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ON_SALE);
    assert_eq!(scene.carrier.owned(), ON_SALE);
}

#[tokio::test]
async fn an_attached_number_must_be_the_accounts_own() {
    let scene = Scene::new().await;
    assert!(matches!(scene.attach(&[OWN]).await, Err(Error::NotOwned(n)) if n == number(OWN)));
    scene.carrier.give(OWN, "");
    let view = scene.attach(&[OWN, OWN]).await.unwrap();
    assert_eq!(of(&view), [OWN]);
    assert!(scene.carrier.setting(OWN, "VoiceUrl").unwrap().ends_with("/voice"));
    let again = scene.attach(&[OWN]).await;
    assert!(matches!(again, Err(Error::Tracker(trackers::Error::NumberInUse(_)))));
}

#[tokio::test]
async fn a_number_whose_calls_go_elsewhere_is_not_attached() {
    let scene = Scene::new().await;
    scene.carrier.give(OWN, "TK1");
    assert!(matches!(scene.attach(&[OWN]).await, Err(Error::HooksIgnored(_))));
    let tollfree = scene.attach(&["+18555550102"]).await;
    assert!(matches!(tollfree, Err(Error::WrongType { wanted: NumberType::Local, .. })));
    assert_eq!(scene.carrier.count(Step::Configure), 0);
}

#[tokio::test]
async fn a_request_gets_one_to_ten_numbers() {
    let scene = Scene::new().await;
    for count in [0, 11] {
        assert!(matches!(scene.buy(count).await, Err(Error::Count)), "{count}");
    }
    assert!(matches!(scene.attach(&[]).await, Err(Error::AttachCount)));
    let numbers =
        Numbers { carrier_id: None, source: Source::Buy { area_code: Some("27".to_owned()), count: 1 } };
    let bad = provision::create_tracker(&scene.world.ctx, scene.scope, settings(), numbers).await;
    assert!(matches!(bad, Err(Error::AreaCode)));
    assert_eq!(scene.carrier.count(Step::Search), 0);
}

#[tokio::test]
async fn a_tracker_can_get_more_numbers() {
    let scene = Scene::new().await;
    let view = scene.buy(1).await.unwrap();
    let id = view.tracker.id;
    let more = provision::add_numbers(&scene.world.ctx, scene.scope, id, buy(2)).await.unwrap();
    assert_eq!(of(&more), ON_SALE);
    let events = scene.world.events(scene.scope, "tracker.updated").await;
    assert_contract("tracker.updated", &events[0]);
    let other = provision::add_numbers(&scene.world.ctx, stranger(scene.scope), id, buy(1)).await;
    assert!(matches!(other, Err(Error::NoSuchTracker)));
}

#[tokio::test]
async fn calls_are_never_forwarded_to_a_tracking_number() {
    let scene = Scene::new().await;
    let view = scene.buy(1).await.unwrap();
    let tracked = view.numbers[0].number.clone();
    let round = Settings { destination: tracked.clone(), ..settings() };
    let made = provision::create_tracker(&scene.world.ctx, scene.scope, round.clone(), buy(1)).await;
    assert!(matches!(made, Err(Error::Tracker(trackers::Error::DestinationIsTracked))));
    assert_eq!(scene.carrier.count(Step::Buy), 1);
    let (scope, id) = (scene.scope, view.tracker.id);
    let update = move |tx: &mut Tx<'_>| trackers::update(tx, scope, id, &round);
    let updated = scene.world.ctx.db.write("test", update).await;
    assert!(matches!(updated, Err(trackers::Error::DestinationIsTracked)));
    // And the other way round: a destination doesn't become a tracking number.
    scene.carrier.give(DESTINATION, "");
    let attached = scene.attach(&[DESTINATION]).await;
    assert!(matches!(attached, Err(Error::Tracker(trackers::Error::NumberIsDestination(_)))));
}

#[tokio::test]
async fn a_deleted_trackers_numbers_go_back_however_long_it_takes() {
    let scene = Scene::new().await;
    let view = scene.buy(2).await.unwrap();
    scene.world.delete_tracker(scene.scope, &view).await;
    for _ in 0..2 {
        scene.carrier.fail(Step::Release, Fault::Refuse(503, 0));
    }
    assert_eq!(scene.release_due().await, 0);
    scene.pass(59);
    assert_eq!(scene.release_due().await, 0);
    assert_eq!(scene.carrier.count(Step::Release), 2);
    scene.pass(1);
    // Done, but the answer got lost: the next try finds nothing, which is as good.
    scene.carrier.fail(Step::Release, Fault::DoAndFail(500));
    assert_eq!(scene.release_due().await, 1);
    scene.pass(120);
    assert_eq!(scene.release_due().await, 1);
    assert!(scene.carrier.owned().is_empty());
    scene.pass(100 * 86_400);
    assert_eq!(scene.release_due().await, 0);
    assert_eq!(scene.carrier.count(Step::Release), 5);
}

#[tokio::test]
async fn a_number_that_is_attached_again_stays() {
    let scene = Scene::new().await;
    scene.carrier.give(OWN, "");
    let first = scene.attach(&[OWN]).await.unwrap();
    scene.world.delete_tracker(scene.scope, &first).await;
    let second = scene.attach(&[OWN]).await.unwrap();
    assert_eq!(scene.release_due().await, 0);
    assert_eq!(scene.carrier.owned(), [OWN]);
    // While the carrier is being told, nobody knows whether it is still there.
    scene.world.delete_tracker(scene.scope, &second).await;
    scene.carrier.fail(Step::Release, Fault::Refuse(503, 0));
    assert_eq!(scene.release_due().await, 0);
    let early = scene.attach(&[OWN]).await;
    assert!(matches!(early, Err(Error::Tracker(trackers::Error::BeingReleased(_)))));
    scene.pass(30);
    scene.attach(&[OWN]).await.unwrap();
    scene.pass(86_400);
    assert_eq!(scene.release_due().await, 0);
    assert_eq!(scene.carrier.owned(), [OWN]);
}

#[tokio::test]
async fn the_account_is_the_only_one_or_named() {
    let scene = Scene::new().await;
    let search = |carrier_id| Search {
        carrier_id,
        number_type: NumberType::Local,
        area_code: None,
        region: None,
        contains: None,
    };
    let ctx = &scene.world.ctx;
    assert_eq!(provision::search(ctx, scene.scope, search(None)).await.unwrap().len(), 3);
    let bare = scene.world.company("UTC", 1).await;
    assert!(matches!(provision::search(ctx, bare, search(None)).await, Err(Error::NoCarrier)));
    let other = provision::search(ctx, bare, search(Some(scene.account))).await;
    assert!(matches!(other, Err(Error::NoSuchCarrier)));
    let second =
        "insert into carriers (company_id, kind, account_sid, credentials, base_url, hook_token, created_at)
                  select company_id, kind, 'AC2', credentials, base_url, 'ch_2', 0 from carriers";
    scene.world.execute(sql(second)).await;
    assert!(matches!(provision::search(ctx, scene.scope, search(None)).await, Err(Error::WhichCarrier)));
    assert!(provision::search(ctx, scene.scope, search(Some(scene.account))).await.is_ok());
}

#[tokio::test]
async fn an_accepted_text_is_told_of_and_names_itself() {
    let scene = Scene::new().await;
    let view = scene.buy(1).await.unwrap();
    let message = scene.send(view.tracker.id).await.unwrap();
    assert_eq!((message.status.as_str(), message.segments), ("queued", 1));
    let accepted = scene.carrier.messages().remove(0);
    assert_eq!((accepted["Body"].as_str(), accepted["To"].as_str()), ("Hi 👍", THEIRS));
    let callback = Url::parse(&accepted["StatusCallback"]).unwrap();
    assert!(callback.path().ends_with("/message-status"));
    assert_eq!(provision::named_message(callback.query().unwrap()), Some(message.id));
    let told = scene.world.events(scene.scope, "message.sent").await;
    assert_eq!(told, [message.to_json()]);
}

#[tokio::test]
async fn a_refused_text_says_why() {
    let scene = Scene::new().await;
    let tracker = scene.buy(1).await.unwrap().tracker.id;
    scene.carrier.fail(Step::Send, Fault::Refuse(400, 21_211));
    assert!(matches!(scene.send(tracker).await, Err(Error::Carrier(CarrierError::Invalid { .. }))));
    let message = scene.last_message().await;
    assert_eq!((message.status.as_str(), message.error_code), ("failed", Some(21_211)));
    assert!(message.error.contains("it went wrong"), "{}", message.error);
    // The carrier knows of a STOP that we don't: from now on we do.
    scene.carrier.fail(Step::Send, Fault::Refuse(400, 21_610));
    assert!(matches!(scene.send(tracker).await, Err(Error::Carrier(CarrierError::OptedOut))));
    let own = scene.send(tracker).await;
    assert!(matches!(own, Err(Error::Message(messages::outgoing::Error::OptedOut))));
    assert!(scene.world.events(scene.scope, "message.sent").await.is_empty());
    assert!(scene.carrier.messages().is_empty());
}

#[tokio::test]
async fn a_text_that_may_have_gone_out_is_not_sent_again() {
    let scene = Scene::new().await;
    let tracker = scene.buy(1).await.unwrap().tracker.id;
    scene.carrier.fail(Step::Send, Fault::DoAndFail(500));
    assert!(scene.send(tracker).await.is_err());
    assert_eq!((scene.carrier.count(Step::Send), scene.last_message().await.error.as_str()), (1, UNKNOWN));
    scene.carrier.fail(Step::Send, Fault::DoAndHang);
    tokio::select! {
        done = scene.send(tracker) => panic!("{done:?}"),
        () = async { while scene.carrier.count(Step::Send) < 2 { tokio::task::yield_now().await } } => {}
    }
    assert_eq!(scene.last_message().await.status.as_str(), "queued");
    scene.pass(300);
    assert_eq!(messages::outgoing::fail_stale(&scene.world.ctx.db).await.unwrap(), 1);
    assert_eq!((scene.carrier.count(Step::Send), scene.last_message().await.error.as_str()), (2, UNKNOWN));
}

#[tokio::test]
async fn credentials_are_tried_before_they_are_kept() {
    let scene = Scene::new().await;
    let bare = scene.world.company("UTC", 1).await;
    let ctx = &scene.world.ctx;
    let wrong = provision::create_account(ctx, bare, new_account(&scene.carrier.url, "wrong")).await;
    assert!(matches!(wrong, Err(Error::Carrier(CarrierError::Auth))));
    let down = provision::create_account(ctx, bare, new_account(NOWHERE, AUTH_TOKEN)).await;
    assert!(matches!(down, Err(Error::Carrier(CarrierError::Unreachable(_)))));
    let right = || new_account(&scene.carrier.url, AUTH_TOKEN);
    let made = provision::create_account(ctx, bare, right()).await.unwrap();
    assert!(made.hook_token.starts_with("ch_"));
    let twice = provision::create_account(ctx, bare, right()).await;
    assert!(matches!(twice, Err(Error::Account(accounts::Error::Duplicate))));
    let token = Secret::parse("wrong").unwrap();
    let rotated = provision::rotate_credentials(ctx, bare, made.account.id, Some(token), None).await;
    assert!(matches!(rotated, Err(Error::Carrier(CarrierError::Auth))));
    let nobody = provision::rotate_credentials(ctx, scene.scope, made.account.id, None, None).await.unwrap();
    assert!(nobody.is_none());
}

async fn rotate(scene: &Scene, auth_token: Option<&str>, signing_key: Option<&str>) -> Vec<String> {
    let secret = |text: Option<&str>| text.map(|text| Secret::parse(text).unwrap());
    let (auth_token, signing_key) = (secret(auth_token), secret(signing_key));
    let (scope, id, key) = (scene.scope, scene.account, scene.world.ctx.key.clone());
    let rotate = move |tx: &mut Tx<'_>| {
        accounts::rotate(tx, scope, id, auth_token.as_ref(), signing_key.as_ref(), &key)
    };
    scene.world.ctx.db.write("test", rotate).await.unwrap().unwrap().account.auth_tokens
}

#[tokio::test]
async fn the_token_before_is_still_accepted_and_the_signing_key_is_last() {
    let scene = Scene::new().await;
    assert_eq!(rotate(&scene, Some("second"), None).await, ["second", AUTH_TOKEN]);
    assert_eq!(rotate(&scene, None, Some("signing")).await, ["second", AUTH_TOKEN, "signing"]);
    assert_eq!(rotate(&scene, Some("third"), None).await, ["third", "second", "signing"]);
    assert_eq!(rotate(&scene, Some("third"), None).await, ["third", "second", "signing"]);
    let all = all_accounts(&scene).await;
    assert_eq!(all[0].account.auth_tokens, ["third", "second", "signing"]);
}

async fn all_accounts(scene: &Scene) -> Vec<Registered> {
    let key = scene.world.ctx.key.clone();
    scene.world.ctx.db.read("test", move |tx| accounts::list_all(tx, &key)).await.unwrap()
}

#[tokio::test]
async fn credentials_are_shown_to_nobody() {
    let scene = Scene::new().await;
    let account = all_accounts(&scene).await.remove(0);
    let shown = account.to_json(&scene.world.ctx.public_url);
    let keys: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = ["id", "company_id", "kind", "account_sid", "base_url", "hook_url", "created_at"];
    expected.sort_unstable();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert!(!shown.to_string().contains(AUTH_TOKEN));
    let printed = format!("{account:?}");
    assert!(!printed.contains(AUTH_TOKEN) && !printed.contains(&account.hook_token), "{printed}");
    let stored: Vec<(Vec<u8>,)> = scene.world.rows(sql("select credentials from carriers")).await;
    assert!(!stored[0].0.windows(AUTH_TOKEN.len()).any(|part| part == AUTH_TOKEN.as_bytes()));
}

#[tokio::test]
async fn an_account_with_a_broken_seal_does_not_take_the_others_down() {
    let scene = Scene::new().await;
    let other = scene.world.company("UTC", 1).await;
    let broken = scene.world.account(other, NOWHERE).await;
    let spoil = sql("update carriers set credentials = ? where id = ?").bind(vec![1, 2, 3]).bind(broken);
    scene.world.execute(spoil).await;
    let left: Vec<CarrierId> = all_accounts(&scene).await.iter().map(|one| one.account.id).collect();
    assert_eq!(left, [scene.account]);
}

#[tokio::test]
async fn an_account_goes_when_its_numbers_are_gone() {
    let scene = Scene::new().await;
    let view = scene.buy(1).await.unwrap();
    let (scope, id) = (scene.scope, scene.account);
    let delete = move |tx: &mut Tx<'_>| accounts::delete(tx, scope, id);
    let db = &scene.world.ctx.db;
    assert!(matches!(db.write("test", delete).await, Err(accounts::Error::NumbersInUse)));
    scene.world.delete_tracker(scene.scope, &view).await;
    assert!(matches!(db.write("test", delete).await, Err(accounts::Error::NumbersReleasing)));
    assert_eq!(all_accounts(&scene).await.len(), 1);
    assert_eq!(scene.release_due().await, 1);
    assert!(db.write("test", delete).await.unwrap().is_some());
    assert!(db.write("test", delete).await.unwrap().is_none());
    assert!(all_accounts(&scene).await.is_empty());
    let left: Vec<(Vec<u8>,)> = scene.world.rows(sql("select credentials from carriers")).await;
    assert!(left[0].0.is_empty());
    // It can be connected again, with other hooks.
    scene.world.account(scene.scope, &scene.carrier.url).await;
}

#[tokio::test]
async fn an_account_that_refuses_its_numbers_can_be_removed_all_the_same() {
    let scene = Scene::new().await;
    let view = scene.buy(1).await.unwrap();
    scene.world.delete_tracker(scene.scope, &view).await;
    for _ in 0..3 {
        scene.carrier.fail(Step::Release, Fault::Refuse(401, 20_003));
        assert_eq!(scene.release_due().await, 0);
        scene.pass(3_600);
    }
    let (scope, id) = (scene.scope, scene.account);
    let delete = move |tx: &mut Tx<'_>| accounts::delete(tx, scope, id);
    assert!(scene.world.ctx.db.write("test", delete).await.unwrap().is_some());
    scene.release_due().await;
    let statement = sql("select count(*) from tracking_numbers where release_due_at is not null");
    let waiting: Vec<(i64,)> = scene.world.rows(statement).await;
    assert_eq!(waiting[0].0, 0);
}

#[tokio::test]
async fn tokens_go_over_https_or_to_an_allowed_private_address() {
    let world = World::at("2026-03-06T09:29:16Z").await;
    let check = |kind, url: Option<&str>| check_base_url(&world.ctx.to_carriers, kind, url);
    assert_eq!(check(Kind::Twilio, None).unwrap().as_str(), "https://api.twilio.com/");
    assert_eq!(check(Kind::SignalWire, None), Err(Invalid::BaseUrl(BadBaseUrl::Required)));
    assert!(check(Kind::Twilio, Some("http://127.0.0.1:4010")).is_ok());
    assert!(check(Kind::Twilio, Some("http://localhost:4010")).is_ok());
    assert_eq!(check(Kind::Twilio, Some("http://example.com")), Err(Invalid::NotHttps));
    assert_eq!(check(Kind::Twilio, Some("http://8.8.8.8")), Err(Invalid::NotHttps));
    assert!(matches!(check(Kind::Twilio, Some("https://10.0.0.1")), Err(Invalid::Target(_))));
    for bad in ["", "a b", "tökén", &"x".repeat(257)] {
        assert_eq!(Secret::parse(bad).err(), Some(Invalid::Secret), "{bad}");
    }
}

#[tokio::test]
async fn the_simulated_carrier_sells_sends_and_takes_back() {
    let simulator = Simulator::start();
    let world = World::at("2026-03-06T09:29:16Z").await;
    let scope = world.company("UTC", 1).await;
    let ctx = &world.ctx;
    let wrong = provision::create_account(ctx, scope, new_account(&simulator.url, "wrong")).await;
    assert!(matches!(wrong, Err(Error::Carrier(CarrierError::Auth))));
    provision::create_account(ctx, scope, new_account(&simulator.url, AUTH_TOKEN)).await.unwrap();
    let toll_free = Settings { number_type: NumberType::Tollfree, ..settings() };
    let any = Numbers { carrier_id: None, source: Source::Buy { area_code: None, count: 2 } };
    let first = provision::create_tracker(ctx, scope, toll_free, any).await.unwrap();
    assert!(first.numbers.iter().all(|one| one.number_type == NumberType::Tollfree));
    let view = provision::create_tracker(ctx, scope, settings(), buy(1)).await.unwrap();
    assert!(view.numbers[0].number.as_str().starts_with("+1270"));

    let draft =
        |to: &str| Draft {
            tracker_id: view.tracker.id, to: number(to), body: Body::parse("Hi 👍").unwrap()
        };
    let message = provision::send_message(ctx, scope, draft(THEIRS)).await.unwrap();
    assert_eq!((message.status.as_str(), message.segments), ("queued", 1));
    let stop = serde_json::json!({"from": THEIRS, "to": view.numbers[0].number, "body": "STOP"});
    simulator.post("/sim/messages", &stop).await;
    let refused = provision::send_message(ctx, scope, draft(THEIRS)).await;
    assert!(matches!(refused, Err(Error::Carrier(CarrierError::OptedOut))));

    world.delete_tracker(scope, &first).await;
    assert_eq!(provision::release_due(ctx).await.unwrap(), 2);
    world.delete_tracker(scope, &view).await;
    assert_eq!(provision::release_due(ctx).await.unwrap(), 1);
    let gone = attach(&[view.numbers[0].number.as_str()]);
    let gone = provision::create_tracker(ctx, scope, settings(), gone).await;
    assert!(matches!(gone, Err(Error::NotOwned(_))));
}
