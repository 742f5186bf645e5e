//! The API as our own pages use it, in the name of whoever is logged in: the same routes, access, tables and checks as a
//! request with a token, without the token. So a form can do nothing that the API can't, and is told the same errors.

use serde_json::Value as Json;

use super::fields::{self, Errors, Values};
use super::reply::Content;
use super::route::{Access, Route};
use super::{Request, auth, params, perform, refusal, routes};
use crate::auth::Caller;
use crate::companies::Company;
use crate::http::AppState;
use crate::http::problem::{Kind, Problem};

/// What is asked.
pub(in crate::http) struct Question {
    pub operation: &'static str,
    /// The e-mail address of whoever asks.
    pub user: String,
    /// The parts of the path by their names in the route.
    pub path: Vec<(String, String)>,
    /// The one in the path, which the caller may see.
    pub company: Option<Company>,
    pub query: String,
    /// None for what takes no body.
    pub body: Option<Json>,
}

/// Asks; gives the answer's object, null if it has none.
///
/// # Errors
/// Those of the route.
pub(in crate::http) async fn ask(
    state: &AppState,
    caller: Caller,
    question: Question,
) -> Result<Json, Problem> {
    let route = route(question.operation);
    auth::authorise(caller, route.access)?;
    let query = params::decode(&question.query, route.params)?;
    let (values, errors) = match (&route.body, &question.body) {
        (Some(table), Some(body)) => fields::read(body.to_string().as_bytes(), table.fields, table.mode)?,
        (_, None) => (Values::default(), Errors::default()),
        (None, Some(_)) => return Err(Problem::new(Kind::MalformedBody, "This request has no body")),
    };
    if !errors.is_empty() {
        return Err(refusal(&state.ctx, route, &values, errors).await);
    }
    let request = Request {
        ctx: state.ctx.clone(),
        state: state.clone(),
        caller,
        query,
        body: values,
        headers: axum::http::HeaderMap::new(),
        token: String::new(),
        path: question.path,
        company: question.company,
        claim: None,
        user: question.user,
    };
    let reply = if route.access == Access::Read {
        perform(route, request).await?
    } else {
        // A browser that goes away must not leave half of a write behind.
        let done = tokio::spawn(perform(route, request)).await;
        done.map_err(|error| Problem::internal(format!("a form's task ended: {error}")))??
    };
    match reply.body {
        Content::Text(text) => serde_json::from_str(&text).map_err(|error| {
            Problem::internal(format!("{}'s answer is no JSON: {error}", route.operation_id))
        }),
        Content::Empty | Content::Stream(_) => Ok(Json::Null),
    }
}

/// The route with this `operation_id`.
pub(in crate::http) fn route(operation: &str) -> &'static Route {
    let found = routes().find(|route| route.operation_id == operation);
    found.expect("pages ask for operations that the tables have")
}
