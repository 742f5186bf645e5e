//! The carrier's REST API: form-encoded requests in PascalCase, JSON answers in snake_case, numbers as strings, dates after
//! RFC 2822, errors as `{code, message, more_info, status}`. Decides who may ask and which resource answers; the resources
//! are in the files below. <https://www.twilio.com/docs/iam/api>

mod account;
mod calls;
mod media;
mod messages;
mod numbers;
mod page;
mod recordings;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::account::{Account, AccountKind};
use crate::state::Carrier;
use crate::trace::{Happening, Subject};
use crate::webhooks::{Params, find_param};

/// Of a form.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The REST API of every account, in both dialects.
pub fn router(carrier: Arc<Carrier>) -> axum::Router {
    axum::Router::new().fallback(answer).with_state(carrier)
}

/// An authenticated request.
pub(crate) struct RestRequest {
    pub carrier: Arc<Carrier>,
    pub account: Account,
    /// Without mount point and query.
    pub path: String,
    pub query: Params,
    pub form: Params,
    pub headers: HeaderMap,
}

/// An answer that is no error.
pub(crate) enum Reply {
    Ok(Value),
    Created(Value),
    NoContent,
    Media(Response),
}

/// An error answer.
#[derive(Debug)]
pub(crate) struct RestError {
    pub status: StatusCode,
    pub code: u32,
    pub message: String,
}

pub(crate) type RestResult = Result<Reply, RestError>;

impl RestError {
    pub fn invalid(code: u32, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    pub fn not_found(path: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: 20_404,
            message: format!("The requested resource {path} was not found"),
        }
    }

    fn unauthorized() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, code: 20_003, message: "Authenticate".to_owned() }
    }

    fn into_response(self) -> Response {
        let body = json!({
            "code": self.code,
            "message": self.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
            "status": self.status.as_u16(),
        });
        let mut response = json_response(self.status, &body);
        if self.status == StatusCode::UNAUTHORIZED {
            let realm = header::HeaderValue::from_static("Basic realm=\"Twilio API\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }
}

impl RestRequest {
    /// A parameter of the query or the form.
    pub fn find(&self, name: &str) -> Option<&str> {
        find_param(&self.query, name).or_else(|| find_param(&self.form, name))
    }

    /// Where a resource of this account is, relative to the host.
    pub fn uri(&self, resource: &str) -> String {
        format!("{}/{resource}", self.account.path())
    }
}

async fn answer(State(carrier): State<Arc<Carrier>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let form = match axum::body::to_bytes(body, BODY_BYTES_MAX).await {
        Ok(bytes) => form_urlencoded::parse(&bytes).into_owned().collect(),
        Err(_too_long_or_broken) => {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        }
    };
    let query = parts.uri.query().unwrap_or_default();
    let query: Params = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let trace_params: Params = query.iter().chain(&form).cloned().collect();
    let path = parts.uri.path().to_owned();
    let result = match authenticate(&carrier, &path, &parts.headers) {
        Ok((account, resource)) => {
            let request = RestRequest {
                carrier: carrier.clone(),
                account,
                path: resource,
                query,
                form,
                headers: parts.headers,
            };
            route(&parts.method, &request)
        }
        Err(error) => Err(error),
    };
    let response = match result {
        Ok(Reply::Ok(value)) => json_response(StatusCode::OK, &value),
        Ok(Reply::Created(value)) => json_response(StatusCode::CREATED, &value),
        Ok(Reply::NoContent) => StatusCode::NO_CONTENT.into_response(),
        Ok(Reply::Media(response)) => response,
        Err(error) => error.into_response(),
    };
    trace(&carrier, &parts.method, &path, trace_params, response).await
}

/// The account that asks and the resource it asks for.
fn authenticate(carrier: &Carrier, path: &str, headers: &HeaderMap) -> Result<(Account, String), RestError> {
    let (kind, rest) = [AccountKind::SignalWire, AccountKind::Twilio]
        .into_iter()
        .find_map(|kind| Some((kind, path.strip_prefix(kind.mount())?)))
        .ok_or_else(|| RestError::not_found(path))?;
    let rest = rest.strip_prefix("/Accounts/").ok_or_else(|| RestError::not_found(path))?;
    let (account_sid, resource) = rest.split_once('/').unwrap_or((rest, ""));
    let account_sid = account_sid.trim_end_matches(".json");
    let (user, password) = basic_credentials(headers).ok_or_else(RestError::unauthorized)?;
    let account = carrier.state().accounts.get(&user).cloned();
    let account = account
        .filter(|account| account.auth_token == password && account.kind == kind)
        .ok_or_else(RestError::unauthorized)?;
    if account.sid != account_sid {
        return Err(RestError::not_found(path));
    }
    Ok((account, resource.to_owned()))
}

fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn route(method: &Method, request: &RestRequest) -> RestResult {
    let path = request.path.trim_end_matches(".json");
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", []) => Ok(account::get(request)),
        ("GET", ["Balance"]) => Ok(account::balance(request)),
        ("GET", ["Usage", "Records"] | ["Usage", "Records", _]) => account::usage(request),
        ("GET", ["AvailablePhoneNumbers", country, kind]) => numbers::search(request, country, kind),
        ("GET", ["IncomingPhoneNumbers"]) => numbers::list(request),
        ("POST", ["IncomingPhoneNumbers"]) => numbers::create(request),
        ("GET", ["IncomingPhoneNumbers", sid]) => numbers::get(request, sid),
        ("POST", ["IncomingPhoneNumbers", sid]) => numbers::update(request, sid),
        ("DELETE", ["IncomingPhoneNumbers", sid]) => numbers::delete(request, sid),
        ("GET", ["Messages"]) => messages::list(request),
        ("POST", ["Messages"]) => messages::create(request),
        ("GET", ["Messages", sid]) => messages::get(request, sid),
        ("DELETE", ["Messages", sid]) => messages::delete(request, sid),
        ("GET", ["Calls"]) => calls::list(request),
        ("POST", ["Calls"]) => Err(RestError::invalid(20_001, "Starting calls by the API is not simulated")),
        ("GET", ["Calls", sid]) => calls::get(request, sid),
        ("POST", ["Calls", sid]) => calls::update(request, sid),
        ("GET", ["Calls", call_sid, "Recordings"]) => recordings::list(request, Some(call_sid)),
        ("GET", ["Recordings"]) => recordings::list(request, None),
        ("GET", ["Recordings", name]) if request.path.ends_with(".json") => recordings::get(request, name),
        ("GET" | "HEAD", ["Recordings", name]) => media::get(request, name),
        ("DELETE", ["Recordings", sid]) => recordings::delete(request, sid),
        ("GET", ["Recordings", sid, "Transcriptions"]) => recordings::list_transcriptions(request, sid),
        ("GET", ["Transcriptions", sid]) => recordings::get_transcription(request, sid),
        _unknown => Err(RestError::not_found(&request.uri(&request.path))),
    }
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json;charset=utf-8")];
    (status, content_type, body.to_string()).into_response()
}

/// Records the exchange; the body of a media file is not worth keeping.
async fn trace(
    carrier: &Carrier,
    method: &Method,
    path: &str,
    params: Params,
    response: Response,
) -> Response {
    let (parts, body) = response.into_parts();
    let is_json = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let (text, body) = if is_json {
        let bytes: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (text, Body::from(bytes))
    } else {
        (String::new(), body)
    };
    let happening = Happening::Rest {
        method: method.to_string(),
        url: path.to_owned(),
        params,
        status: parts.status.as_u16(),
        body: text,
    };
    carrier.record(Subject::default(), happening);
    Response::from_parts(parts, body)
}
