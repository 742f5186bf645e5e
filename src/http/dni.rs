//! What the script on companies' web sites asks: the script itself, and for each visit which numbers to show. Anyone
//! may ask, from any site, so that everything here is a stranger's: bounded, limited by address, and never answered
//! with more than the numbers that this visitor is shown.
//!
//! Bodies are JSON but sent as `text/plain`, which browsers send to other hosts without asking first.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, USER_AGENT,
    VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Limited};
use ring::digest::{SHA256, SHA384, digest};
use serde::Deserialize;
use serde_json::json;

use super::{AppState, client};
use crate::ctx::Ctx;
use crate::db::Tx;
use crate::kernel::id::SessionId;
use crate::visits::beats::Beat;
use crate::visits::session::{self, Arrival, Decision};
use crate::visits::sites::Site;
use crate::visits::source::classify;
use crate::visits::token::{self, Named};
use crate::visits::{Touch, agent, debug};

/// Bytes of a request's body at most: the script sends three URLs of 2,048 characters and a title.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A body must be here after this long.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// The database must answer after this long; the script has stopped waiting by then.
const DB_TIME_MAX: Duration = Duration::from_secs(5);
/// Seconds between two signs of life of a page that is looked at.
const HEARTBEAT_S: u64 = 60;
/// Seconds that browsers may keep the script whose address stays the same when it changes.
const SCRIPT_CACHE: &str = "public, max-age=300";
const SCRIPT_CACHE_VERSIONED: &str = "public, max-age=31536000, immutable";

static TRACKER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../snippet/tracker.js")));
static DEBUG: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../snippet/debug.js")));

/// A script as it is served. Compressed once, as well as it goes.
struct Script {
    text: &'static str,
    gzipped: Bytes,
    /// Of the text, without the quotes.
    tag: String,
}

impl Script {
    fn new(text: &'static str) -> Script {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let gzipped = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
        let hash = digest(&SHA256, text.as_bytes());
        Script {
            text,
            gzipped: gzipped.expect("writing to memory doesn't fail").into(),
            tag: STANDARD.encode(&hash.as_ref()[..12]),
        }
    }
}

/// The script's version: of its content, so that one address never brings two scripts.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let hash = digest(&SHA256, TRACKER.text.as_bytes());
    hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
});

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/dni/{site_key}/{file}", get(file))
        .route("/dni/{site_key}/session", post(session).options(preflight))
        .route("/dni/{site_key}/page", post(page).options(preflight))
        .route("/dni/{site_key}/heartbeat", post(heartbeat).options(preflight))
}

/// The name of the script's file that never changes.
pub(super) fn versioned_file() -> String {
    format!("tracker-{}.js", *VERSION)
}

/// The script's `integrity` attribute: browsers hold it against what they have unpacked.
pub(super) fn integrity() -> String {
    format!("sha384-{}", STANDARD.encode(digest(&SHA384, TRACKER.text.as_bytes())))
}

async fn file(Path((_, file)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let versioned = versioned_file();
    let (script, cache) = match file.as_str() {
        "tracker.js" => (&*TRACKER, SCRIPT_CACHE),
        "debug.js" => (&*DEBUG, SCRIPT_CACHE),
        file if file == versioned => (&*TRACKER, SCRIPT_CACHE_VERSIONED),
        _ => return for_any_site(StatusCode::NOT_FOUND.into_response()),
    };
    let gzip = takes_gzip(&headers);
    // Other bytes need another tag.
    let etag = format!("\"{}{}\"", script.tag, if gzip { "-gzip" } else { "" });
    let kind = (CONTENT_TYPE, "text/javascript; charset=utf-8");
    let mut response = match (is_known(&headers, &etag), gzip) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, true) => ([kind, (CONTENT_ENCODING, "gzip")], script.gzipped.clone()).into_response(),
        (false, false) => ([kind], script.text).into_response(),
    };
    let more = response.headers_mut();
    more.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    more.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        more.insert(ETAG, etag);
    }
    for_any_site(response)
}

/// Whether the browser says that it unpacks gzip (RFC 9110, section 12.5.3). One that takes anything but names nothing
/// gets plain text.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        is_gzip && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

/// Whether the browser has the bytes of this tag. Proxies that touch an answer make its tag a weak one.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(','));
    tags.any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

/// Pages of any site may read the answer: it holds nothing that isn't for whoever asks.
fn for_any_site(mut response: Response) -> Response {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// For browsers that ask first all the same.
async fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    for_any_site((StatusCode::NO_CONTENT, headers).into_response())
}

/// Why a request isn't answered: the page keeps its number.
enum Refused {
    UnknownSite,
    TooLarge,
    TooSlow,
    BadBody,
    Limited,
    Unavailable,
}

impl Refused {
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Refused::UnknownSite => (StatusCode::NOT_FOUND, "there is no site with this key"),
            Refused::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
            Refused::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body didn't arrive in time"),
            Refused::BadBody => (StatusCode::BAD_REQUEST, "the body isn't what the script sends"),
            Refused::Limited => (StatusCode::TOO_MANY_REQUESTS, "too many requests from this address"),
            Refused::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "try again later"),
        }
    }
}

fn answer(state: &AppState, what: &'static str, result: Result<Response, Refused>) -> Response {
    let response = result.unwrap_or_else(|refused| refused.parts().into_response());
    let labels = crate::metrics::VisitLabels { request: what, status: response.status().as_u16() };
    state.ctx.metrics.visits.get_or_create(&labels).inc();
    for_any_site(response)
}

/// What every request needs: whose site, and whose address.
struct Asked {
    site: std::sync::Arc<Site>,
    address: Option<IpAddr>,
    user_agent: String,
    body: Bytes,
}

async fn ask(state: &AppState, site_key: &str, request: Request) -> Result<Asked, Refused> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let address = client::address(peer, &parts.headers, &state.ctx.config.trusted_proxies);
    if !state.limits.admit_visit(address, state.ctx.clock.now()) {
        return Err(Refused::Limited);
    }
    let site = state.sites.find(&state.ctx, site_key).await.map_err(|_| Refused::Unavailable)?;
    let site = site.ok_or(Refused::UnknownSite)?;
    let user_agent = parts.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let user_agent = user_agent.map(|text| text.chars().take(1_000).collect()).unwrap_or_default();
    Ok(Asked { site, address, user_agent, body: read_body(body).await? })
}

async fn read_body(body: Body) -> Result<Bytes, Refused> {
    let read = tokio::time::timeout(BODY_TIME_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refused::TooLarge),
        Ok(Err(_)) => Err(Refused::BadBody),
        Err(_elapsed) => Err(Refused::TooSlow),
    }
}

/// What the script says at the beginning of a page. It may say more in a later version.
#[derive(Deserialize)]
#[serde(default)]
struct Opened {
    visitor: String,
    session: String,
    url: String,
    referrer: String,
    title: String,
    /// The visitor may be remembered.
    consent: bool,
    /// The visitor may have a number of their own.
    take: bool,
    /// A page was opened; false: the visit only needs a number again.
    view: bool,
    /// Show numbers that are nobody's.
    test: bool,
    debug: String,
}

impl Default for Opened {
    fn default() -> Opened {
        let none = String::new;
        Opened {
            visitor: none(),
            session: none(),
            url: none(),
            referrer: none(),
            title: none(),
            consent: true,
            take: true,
            view: true,
            test: false,
            debug: none(),
        }
    }
}

async fn session(State(state): State<AppState>, Path(site_key): Path<String>, request: Request) -> Response {
    let result = open(&state, &site_key, request).await;
    answer(&state, "session", result)
}

async fn open(state: &AppState, site_key: &str, request: Request) -> Result<Response, Refused> {
    let asked = ask(state, site_key, request).await?;
    let opened: Opened = parse(&asked.body)?;
    let (ctx, site) = (&state.ctx, &asked.site);
    let now = ctx.clock.now();
    let page = session::page(&opened.url, &opened.title);
    // Nothing has led to a page that stands there already.
    let (url, referrer) = if opened.view { (&*opened.url, &*opened.referrer) } else { ("", "") };
    let touch = Touch::new(&classify(url, referrer), &page.url, now);
    let remembered = opened.consent && opened.take && !agent::is_bot(&asked.user_agent);
    let (tokens, decisions) = if opened.test {
        (None, session::fictional(site))
    } else if !remembered {
        (None, session::glance(site, &touch, &page))
    } else {
        let arrival = Arrival {
            visitor: token::read(&ctx.key, site.scope, Named::Visitor, &opened.visitor),
            session: token::read(&ctx.key, site.scope, Named::Session, &opened.session),
            page,
            touch,
            ip: asked.address,
            user_agent: asked.user_agent.clone(),
            may_take: state.limits.may_take_number(asked.address, now),
        };
        begin(state, site, arrival, opened.view).await?
    };
    let (visitor, session) = tokens.unwrap_or_default();
    let mut shown = json!({
        "visitor": visitor,
        "session": session,
        "days": site.source_days.max(1),
        "heartbeat": HEARTBEAT_S,
        "swaps": session::swaps(site, &decisions),
    });
    if debug::is_valid(&ctx.key, site.scope, &opened.debug, now) {
        let decisions: Vec<_> = decisions.iter().map(Decision::to_json).collect();
        shown["debug"] = json!({ "decisions": decisions });
    }
    Ok(([(CACHE_CONTROL, "no-store")], axum::Json(shown)).into_response())
}

type Tokens = Option<(String, String)>;

async fn begin(
    state: &AppState,
    site: &std::sync::Arc<Site>,
    arrival: Arrival,
    view: bool,
) -> Result<(Tokens, Vec<Decision>), Refused> {
    let ctx = &state.ctx;
    let (of, address) = (site.clone(), arrival.ip);
    let take_in = if view { session::begin } else { session::renew };
    let write = ctx.db.write_patiently("visits.begin", move |tx: &mut Tx<'_>| take_in(tx, &of, &arrival));
    let begun = match tokio::time::timeout(DB_TIME_MAX, write).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => {
            tracing::error!(%error, "a page view wasn't taken in");
            return Err(Refused::Unavailable);
        }
        Err(_elapsed) => return Err(Refused::Unavailable),
    };
    state.beats.asked(&begun.asked, ctx.clock.now());
    if begun.took_number() {
        state.limits.count_number(address, ctx.clock.now());
    }
    Ok((Some(session::tokens(&ctx.key, site.scope, &begun)), begun.decisions))
}

/// A body as an object: serde would take a list of its values, too.
fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let parsed = is_object.then(|| serde_json::from_slice(body).ok()).flatten();
    parsed.ok_or(Refused::BadBody)
}

/// A further page of a visit, in an application of one page.
#[derive(Deserialize)]
struct Viewed {
    session: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    title: String,
}

async fn page(State(state): State<AppState>, Path(site_key): Path<String>, request: Request) -> Response {
    let result = view(&state, &site_key, request).await;
    answer(&state, "page", result)
}

async fn view(state: &AppState, site_key: &str, request: Request) -> Result<Response, Refused> {
    let asked = ask(state, site_key, request).await?;
    let viewed: Viewed = parse(&asked.body)?;
    let session = named_session(&state.ctx, &asked.site, &viewed.session)?;
    let page = session::page(&viewed.url, &viewed.title);
    beat(state.beats.viewed(session, state.ctx.clock.now(), page))
}

#[derive(Deserialize)]
struct Alive {
    session: String,
}

async fn heartbeat(
    State(state): State<AppState>,
    Path(site_key): Path<String>,
    request: Request,
) -> Response {
    let result = alive(&state, &site_key, request).await;
    answer(&state, "heartbeat", result)
}

async fn alive(state: &AppState, site_key: &str, request: Request) -> Result<Response, Refused> {
    let asked = ask(state, site_key, request).await?;
    let told: Alive = parse(&asked.body)?;
    let session = named_session(&state.ctx, &asked.site, &told.session)?;
    beat(state.beats.alive(session, state.ctx.clock.now()))
}

fn named_session(ctx: &Ctx, site: &Site, text: &str) -> Result<SessionId, Refused> {
    token::read(&ctx.key, site.scope, Named::Session, text).ok_or(Refused::BadBody)
}

fn beat(beat: Beat) -> Result<Response, Refused> {
    match beat {
        Beat::Taken => Ok(StatusCode::NO_CONTENT.into_response()),
        Beat::Lost => Ok(axum::Json(json!({ "renew": true })).into_response()),
        Beat::Full => Err(Refused::Unavailable),
    }
}
