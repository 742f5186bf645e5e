//! `/companies/{c}/install-check`: pages of a real server, good ones and hostile ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use calltracker::carriers::accounts;
use calltracker::companies;
use calltracker::ctx::{Ctx, Parts};
use calltracker::db::Tx;
use calltracker::install_check::{self, CHECKS_MAX, LIMITS, PAGE_BYTES_MAX};
use calltracker::kernel::id::CarrierId;
use calltracker::metrics::Metrics;
use calltracker::outbound::Limits;
use calltracker::trackers::{self, OwnedNumber, Settings, TrackerType};
use futures_util::stream;
use rustls::RootCertStore;
use serde_json::{Value as Json, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::support::client::Answer;
use crate::support::strangers::{Host, LOOPBACK, UNUSED_DNS, outbound_with, send_all};
use crate::support::tls::identity;
use crate::support::world::{AUTH_TOKEN, NOWHERE, new_account, number, settings};
use crate::support::{TestApp, TestCompany};

/// What a page's server says.
#[derive(Clone)]
struct Page {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Said,
}

#[derive(Clone)]
enum Said {
    Bytes(Vec<u8>),
    /// This, again and again.
    Endless(&'static str),
    /// This, and then nothing more.
    Stalled(&'static str),
}

fn html(text: &str) -> Page {
    Page {
        status: 200,
        headers: vec![("content-type", "text/html".to_owned())],
        body: Said::Bytes(text.into()),
    }
}

fn redirect(to: &str) -> Page {
    Page { status: 302, headers: vec![("location", to.to_owned())], body: Said::Bytes(Vec::new()) }
}

impl Page {
    fn with(mut self, name: &'static str, value: &str) -> Page {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value.to_owned()));
        self
    }
}

type Pages = Arc<Mutex<HashMap<String, Page>>>;

/// A server with a company that has a tracker which replaces +12703152766, and the server of its site.
struct Shop {
    app: TestApp,
    company: TestCompany,
    site: String,
    pages: Pages,
    carrier: CarrierId,
    /// The script's tag.
    tag: String,
}

/// The tracker's own.
const TRACKING: &str = "+12705550101";

impl Shop {
    async fn open() -> Shop {
        let app = TestApp::quiet(|_| {}).await;
        let company = app.company("Acme").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let site = format!("http://{}", listener.local_addr().expect("bound"));
        let pages = Pages::default();
        let router = Router::new().fallback(show).with_state(pages.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let key = company.api.get(&company.path("")).await.json["site_key"]
            .as_str()
            .expect("it has one")
            .to_owned();
        let tag = format!("<script async src=\"{}dni/{key}/tracker.js\"></script>", app.ctx.public_url);
        let (scope, secret) = (company.scope, app.ctx.key.clone());
        let account = new_account(NOWHERE, AUTH_TOKEN);
        let create = move |tx: &mut Tx<'_>| accounts::create(tx, scope, &account, &secret);
        let carrier = app.ctx.db.write("test", create).await.expect("it is made").account.id;
        let shop = Shop { app, company, site, pages, carrier, tag };
        shop.tracker("Search", TrackerType::Campaign, "(270) 315-2766", TRACKING).await;
        shop
    }

    async fn tracker(&self, name: &str, tracker_type: TrackerType, swap_target: &str, own: &str) {
        let (scope, carrier_id) = (self.company.scope, self.carrier);
        let settings = Settings {
            name: name.to_owned(),
            tracker_type,
            swap_target: swap_target.to_owned(),
            ..settings()
        };
        let owned = [OwnedNumber { carrier_id, carrier_number_id: format!("PN{name}"), number: number(own) }];
        let create = move |tx: &mut Tx<'_>| trackers::create(tx, scope, &settings, &owned);
        self.app.ctx.db.write("test", create).await.expect("it is made");
    }

    fn put(&self, path: &str, page: Page) -> String {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
        format!("{}{path}", self.site)
    }

    async fn ask(&self, url: &str) -> Answer {
        self.company.api.post(&self.company.path("/install-check"), &json!({ "url": url })).await
    }

    /// The report on a page.
    async fn report(&self, page: Page) -> Json {
        let url = self.put("/", page);
        self.ask(&url).await.expect(200).json
    }
}

async fn show(State(pages): State<Pages>, uri: Uri) -> Response {
    let page = pages.lock().unwrap().get(uri.path()).cloned();
    let Some(page) = page else { return StatusCode::NOT_FOUND.into_response() };
    let piece = |text: String| Ok::<_, std::io::Error>(text);
    let body = match page.body {
        Said::Bytes(bytes) => Body::from(bytes),
        Said::Endless(text) => Body::from_stream(stream::repeat_with(move || piece(text.repeat(4_000)))),
        Said::Stalled(text) => {
            use futures_util::StreamExt as _;
            Body::from_stream(stream::iter([piece(text.to_owned())]).chain(stream::pending()))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(page.status).expect("the tests' statuses are some");
    for (name, value) in page.headers {
        response.headers_mut().append(name, HeaderValue::from_str(&value).expect("it is a value"));
    }
    response
}

fn kinds(report: &Json) -> Vec<&str> {
    let problems = report["problems"].as_array().expect("it is a list");
    problems.iter().map(|problem| problem["kind"].as_str().expect("it has one")).collect()
}

#[tokio::test]
async fn a_page_as_it_should_be_has_no_problems() {
    let shop = Shop::open().await;
    let page =
        format!("<head>{}</head><p>Call <b>(270)</b> 315-2766</p><a href=tel:+12703152766>us</a>", shop.tag);
    let url = shop.put("/contact", html(&page));
    let mut report = shop.ask(&format!("{url}#form")).await.expect(200).json;
    assert_eq!(report["url"], url.as_str());
    report["url"] = "…".into();
    insta::assert_json_snapshot!(report, @r#"
    {
      "csp": {
        "present": false,
        "problems": []
      },
      "fetched_at": "2026-03-09T09:00:00.000000Z",
      "missing_targets": [],
      "numbers": [
        {
          "count": 2,
          "is_tracking_number": false,
          "number": "+12703152766",
          "places": [
            "text",
            "tel_link"
          ],
          "text": "(270) 315-2766",
          "trackers": [
            {
              "id": 1,
              "name": "Search"
            }
          ]
        }
      ],
      "ok": true,
      "problems": [],
      "script": {
        "found": 1,
        "ok": true,
        "problems": []
      },
      "status": 200,
      "truncated": false,
      "url": "…"
    }
    "#);
}

#[tokio::test]
async fn each_problem_of_a_page_is_told() {
    let shop = Shop::open().await;
    shop.tracker("Flyer", TrackerType::Offline, "270-282-2733", "+12705550102").await;
    let (tag, office) = (shop.tag.as_str(), "<p>270.315.2766</p>");
    let host = shop.app.ctx.public_url.origin().ascii_serialization();
    let other = format!("<script src='{host}/dni/site_other/tracker.js'></script>");
    let csp = "content-security-policy";
    for (page, expected) in [
        (html(office), &["script_missing"][..]),
        (html(&format!("{tag}{tag}{office}")), &["script_twice"]),
        (html(&format!("{tag}{other}{office}")), &["script_of_other_company"]),
        (html(&format!("{tag}{office}")).with(csp, "script-src 'self'"), &["script_blocked_by_csp"]),
        (html(&format!("{tag}{office}")).with(csp, &format!("default-src {host}")), &[]),
        (html(&format!("{tag}{office}")).with(csp, "connect-src 'self'"), &["connect_blocked_by_csp"]),
        (
            html(&format!("{tag}{office}")).with(csp, "script-src 'strict-dynamic' 'nonce-1'"),
            &["nonce_or_hash_required"],
        ),
        (
            html(&format!("{tag}{office}")).with("content-security-policy-report-only", "script-src 'none'"),
            &[],
        ),
        (html(&format!("{tag}<p>+49 30 901820")), &["target_missing"]),
        (html(&format!("{tag}{office}270-555-0102")), &["tracking_number_on_page"]),
        (html(tag), &["no_numbers"]),
        (html("{}").with("content-type", "application/json"), &["not_html"]),
        (html("\0\u{1}\u{2}"), &["not_html"]),
        (html("x").with("content-encoding", "gzip"), &["not_html"]),
        (Page { status: 503, ..html(office) }, &["http_error"]),
    ] {
        let (said, report) = (page.headers.clone(), shop.report(page).await);
        assert_eq!(kinds(&report), expected, "{said:?} {report}");
        assert_eq!(report["ok"], expected.is_empty());
    }
}

#[tokio::test]
async fn several_headers_have_to_allow_the_script() {
    let shop = Shop::open().await;
    let mut page = html(&format!("{}270-315-2766", shop.tag));
    page.headers.push(("content-security-policy", "script-src *".to_owned()));
    page.headers.push(("content-security-policy", "script-src 'self'".to_owned()));
    let report = shop.report(page).await;
    let host = shop.app.ctx.public_url.origin().ascii_serialization();
    assert_eq!(
        report["csp"],
        json!({ "present": true, "problems": [format!("script-src doesn't allow {host}")] })
    );
}

#[tokio::test]
async fn a_tracker_that_is_off_or_another_companys_replaces_nothing() {
    let shop = Shop::open().await;
    let other = shop.app.company("Other").await;
    let url = shop.put("/", html("270-315-2766"));
    let report = other.api.post(&other.path("/install-check"), &json!({ "url": url })).await.expect(200).json;
    assert_eq!(report["numbers"][0]["trackers"], json!([]));
    let scope = shop.company.scope;
    let off = move |tx: &mut Tx<'_>| {
        let id = trackers::ids(tx, scope, 1)?[0];
        let present = trackers::find(tx, scope, id)?.expect("it is there").tracker.settings;
        trackers::update(tx, scope, id, &Settings { status: false, ..present })
    };
    shop.app.ctx.db.write("test", off).await.expect("it is changed");
    let report = shop.report(html("270-282-2733")).await;
    assert_eq!((&report["missing_targets"], kinds(&report)), (&json!([]), vec!["script_missing"]));
}

#[tokio::test]
async fn redirects_are_followed_and_each_is_vetted() {
    let shop = Shop::open().await;
    let last = shop.put("/last", html(&format!("{}270-315-2766", shop.tag)));
    for n in 1..=6 {
        shop.put(
            &format!("/{n}"),
            redirect(&if n == 1 { "last#x".to_owned() } else { format!("/{}", n - 1) }),
        );
    }
    let report = shop.ask(&format!("{}/5", shop.site)).await.expect(200).json;
    assert_eq!((&report["url"], &report["ok"], &report["status"]), (&json!(last), &json!(true), &json!(200)));
    let told = async |url: String| {
        let report = shop.ask(&url).await.expect(200).json;
        assert_eq!(kinds(&report), ["http_error"]);
        report["problems"][0]["text"].as_str().expect("it has one").to_owned()
    };
    assert_eq!(told(format!("{}/6", shop.site)).await, "The page redirects more than 5 times.");
    assert_eq!(told(shop.put("/loop", redirect("/loop"))).await, "The page redirects more than 5 times.");
    for (to, expected) in [
        ("http://10.0.0.1/", "The page can't be fetched: the target must not lead to a private address."),
        (
            "http://169.254.169.254/latest",
            "The page can't be fetched: the target must not lead to a cloud metadata address.",
        ),
        ("file:///etc/passwd", "The page can't be fetched: the target must begin with https:// or http://."),
        ("http://", "The page redirects, but doesn't say where to."),
    ] {
        assert_eq!(told(shop.put("/away", redirect(to))).await, expected);
    }
}

#[tokio::test]
async fn an_address_that_may_not_be_called_is_refused() {
    let shop = Shop::open().await;
    for url in [
        "http://10.0.0.1/",
        "http://[::1]/",
        "ftp://shop.example/",
        "shop.example",
        "http://a:b@shop.example/",
    ] {
        let answer = shop.ask(url).await;
        assert_eq!(answer.clone().expect_problem(400, "validation").fields(), ["url"], "{url}");
    }
    let body = json!({ "url": format!("https://shop.example/{}", "a".repeat(3_000)) });
    let refused = shop.company.api.post(&shop.company.path("/install-check"), &body).await;
    refused.expect_problem(400, "validation");
}

#[tokio::test]
async fn a_page_that_cannot_be_reached_is_a_report() {
    let shop = Shop::open().await;
    let report = shop.ask("http://127.0.0.1:9/").await.expect(200).json;
    assert_eq!((&report["status"], kinds(&report)), (&Json::Null, vec!["http_error"]));
    assert_eq!(report["problems"][0]["text"], "The page can't be fetched: the connection was refused.");
}

#[tokio::test]
async fn a_page_that_does_not_end_is_read_so_far_only() {
    let shop = Shop::open().await;
    let long = format!("{}270-315-2766{}", shop.tag, "<p>x".repeat(10 * 1024 * 1024 / 4));
    let report = shop.report(html(&long)).await;
    assert_eq!((&report["truncated"], &report["ok"]), (&json!(true), &json!(true)), "{report}");
    let late = format!("{}{}270-315-2766", shop.tag, " ".repeat(PAGE_BYTES_MAX));
    assert_eq!(kinds(&shop.report(html(&late)).await), ["no_numbers"]);
    for text in ["<div>", "2 "] {
        let endless = Page { body: Said::Endless(text), ..html("") };
        assert_eq!(shop.report(endless).await["truncated"], true, "{text}");
    }
}

#[tokio::test]
async fn hostile_pages_are_reported_on() {
    let shop = Shop::open().await;
    let nested = format!("{}{}270-315-2766", shop.tag, "<i>".repeat(500_000));
    assert_eq!(kinds(&shop.report(html(&nested)).await), [] as [&str; 0]);
    let junk = [
        "tel:",
        "tel:+",
        "tel:%00%ff",
        "tel:++++",
        "tel:1234567890123456789012345",
        "tel:call me",
        "sms:?body",
    ];
    let links = junk.map(|href| format!("<a href='{href}'></a>")).concat();
    assert_eq!(kinds(&shop.report(html(&format!("{}{links}", shop.tag))).await), ["no_numbers"]);
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
    let noisy = Page { body: Said::Bytes(noise), ..html("") };
    assert!(kinds(&shop.report(noisy).await).contains(&"script_missing"));
}

#[tokio::test]
async fn a_page_that_stalls_is_given_up_at_the_deadline() {
    let shop = Shop::open().await;
    let url = shop.put("/", Page { body: Said::Stalled("<p>"), ..html("") });
    let company = shop.company.id;
    let company = shop.app.ctx.db.read("test", move |tx| companies::find(tx, company)).await;
    let company = company.expect("it is read").expect("it is there");
    let limits = Limits { deadline: Duration::from_millis(250), ..LIMITS };
    let url = Url::parse(&url).expect("it is one");
    let report =
        install_check::check(&shop.app.ctx, &company, url, limits).await.expect("it reports").to_json();
    assert_eq!((&report["status"], kinds(&report)), (&json!(200), vec!["http_error"]));
}

/// Our own server behind a proxy that speaks TLS.
const OURS: &str = "https://calls.example/";

/// The report on a page, by a server that trusts these authorities and is reached at [`OURS`].
async fn report_trusting(shop: &Shop, url: &str, roots: RootCertStore) -> Json {
    let (ctx, id) = (&shop.app.ctx, shop.company.id);
    let trusting = Ctx::new(Parts {
        db: ctx.db.clone(),
        clock: ctx.clock.clone(),
        seed: ctx.seed.clone(),
        key: ctx.key.clone(),
        config: ctx.config.clone(),
        public_url: Url::parse(OURS).expect("it is one"),
        metrics: Metrics::default(),
        to_webhooks: outbound_with(&[LOOPBACK], UNUSED_DNS, roots),
        to_carriers: outbound_with(&[], UNUSED_DNS, RootCertStore::empty()),
    });
    let company = ctx.db.read("test", move |tx| companies::find(tx, id)).await.expect("it is read");
    let url = Url::parse(url).expect("it is one");
    let company = company.expect("it is there");
    install_check::check(&trusting, &company, url, LIMITS).await.expect("it reports").to_json()
}

/// A site behind TLS with this page.
async fn secured(acceptor: TlsAcceptor, page: &str) -> Host {
    let length = page.len();
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length:";
    let answer = format!("{head} {length}\r\n\r\n{page}");
    Host::new(move |stream, _| {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                if !stream.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
                    return;
                }
            }
            send_all(&mut stream, answer.as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_page_behind_tls_is_read_if_its_certificate_holds() {
    let shop = Shop::open().await;
    let (acceptor, roots) = identity(&["127.0.0.1"]);
    let tag = shop.tag.replace(shop.app.ctx.public_url.as_str(), OURS);
    let host = secured(acceptor, &format!("{tag}270-315-2766")).await;
    let secure = host.secure("127.0.0.1");
    let report = report_trusting(&shop, &secure, roots.clone()).await;
    assert_eq!((&report["ok"], &report["status"]), (&json!(true), &json!(200)), "{report}");
    assert_eq!(report["numbers"][0]["trackers"][0]["name"], "Search");
    // As sites do that were there before TLS was.
    let redirecting = shop.put("/old", redirect(&secure));
    let report = report_trusting(&shop, &redirecting, roots).await;
    assert_eq!((&report["ok"], &report["url"]), (&json!(true), &json!(secure)), "{report}");
    let report = shop.ask(&secure).await.expect(200).json;
    assert_eq!((&report["status"], kinds(&report)), (&Json::Null, vec!["http_error"]));
    assert_eq!(
        report["problems"][0]["text"],
        "The page can't be fetched: the host's certificate is not from a trusted authority."
    );
    // The script of a server without TLS isn't loaded there.
    let (acceptor, roots) = identity(&["127.0.0.1"]);
    let host = secured(acceptor, &format!("{}270-315-2766", tag.replace("https", "http"))).await;
    let report = report_trusting(&shop, &host.secure("127.0.0.1"), roots).await;
    assert_eq!(kinds(&report), ["mixed_content"], "{report}");
}

#[tokio::test]
async fn whoever_comes_when_too_many_pages_are_being_checked_is_told_to_come_later() {
    let shop = Shop::open().await;
    let (asked, mut seen) = watch::channel(0);
    let stalling = Router::new().fallback(async move || {
        asked.send_modify(|count| *count += 1);
        std::future::pending::<()>().await;
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, stalling).await });
    let others = futures_util::future::join_all((0..CHECKS_MAX).map(|_| shop.ask(&url)));
    let one_more = async {
        seen.wait_for(|count| *count == CHECKS_MAX).await.expect("the site is there");
        shop.ask(&url).await
    };
    tokio::select! {
        _ = others => panic!("they wait for the site for longer"),
        refused = one_more => {
            let refused = refused.expect_problem(503, "unavailable");
            assert_eq!(refused.json["detail"], "Too many pages are being checked");
        }
    }
    assert_eq!(*seen.borrow(), CHECKS_MAX, "the site wasn't asked once more");
}
