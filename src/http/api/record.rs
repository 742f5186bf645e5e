//! What a request changes, for the audit log: looked at before, written down after, whether it came with a token or from
//! the pages. Nothing of it breaks a request.

use axum::http::Method;
use serde_json::{Map, Value as Json};

use super::fields::Values;
use super::reply::{Content, Reply};
use super::route::{Access, Answer, Route};
use super::{Request, params, routes};
use crate::audit::{self, NewEntry};
use crate::auth;
use crate::ctx::Ctx;
use crate::http::problem::caught;
use crate::kernel::id::{CompanyId, TokenId};

/// A change that is being made.
pub(super) struct Change {
    ctx: Ctx,
    token: Option<TokenId>,
    entry: NewEntry,
}

impl Change {
    /// None: the route changes nothing.
    pub(super) async fn begin(route: &Route, request: &Request) -> Option<Change> {
        if route.access == Access::Read {
            return None;
        }
        let body = &request.body.0;
        let entry = NewEntry {
            company: request.company.as_ref().map(|company| company.id),
            actor: request.user.clone(),
            operation: route.operation_id.to_owned(),
            path: request.path.clone(),
            body: if body.is_empty() { Json::Null } else { body.clone().into() },
            before: before(route, request).await,
            after: Json::Null,
        };
        Some(Change { ctx: request.ctx.clone(), token: request.caller.token, entry })
    }

    /// What is to be written down; None if it wasn't made.
    pub(super) fn end(self, reply: &Reply) -> Option<Made> {
        if !reply.status.is_success() {
            return None;
        }
        let Change { ctx, token, mut entry } = self;
        if let Content::Text(text) = &reply.body {
            entry.after = serde_json::from_str(text).unwrap_or_default();
        }
        if entry.company.is_none() && entry.operation == "create_company" {
            entry.company = entry.after["id"].as_i64().map(CompanyId);
        }
        Some(Made { ctx, token, entry })
    }
}

/// A change that was made.
pub(super) struct Made {
    ctx: Ctx,
    token: Option<TokenId>,
    entry: NewEntry,
}

impl Made {
    pub(super) async fn write(self) {
        write(&self.ctx, self.token, self.entry).await;
    }
}

/// Writes an entry; that it couldn't be is for the log only.
pub(in crate::http) async fn write(ctx: &Ctx, token: Option<TokenId>, entry: NewEntry) {
    let operation = entry.operation.clone();
    let record = move |tx: &mut crate::db::Tx<'_>| {
        let mut entry = entry.clone();
        if let Some(token) = token {
            entry.actor = format!("API token {}", auth::name(tx, token)?);
        }
        audit::record(tx, &entry)
    };
    if let Err(error) = ctx.db.write("audit.record", record).await {
        tracing::error!(operation, %error, "a change was made and couldn't be written to the audit log");
    }
}

/// The object that is to be changed, as the route that shows it answers; null if there is none.
async fn before(route: &Route, request: &Request) -> Json {
    let shows = |other: &&Route| {
        other.method == Method::GET && other.path == route.path && matches!(other.answer, Answer::Object(_))
    };
    let changes =
        route.method == Method::PATCH || route.method == Method::DELETE || route.method == Method::PUT;
    let Some(get) = routes().find(shows).filter(|_| changes) else { return Json::Null };
    let Ok(query) = params::decode("", get.params) else { return Json::Null };
    let look = Request {
        ctx: request.ctx.clone(),
        state: request.state.clone(),
        caller: request.caller,
        query,
        body: Values(Map::new()),
        headers: axum::http::HeaderMap::new(),
        token: String::new(),
        path: request.path.clone(),
        company: request.company.clone(),
        claim: None,
        user: String::new(),
    };
    match caught((get.handler)(look)).await {
        Ok(Reply { body: Content::Text(text), .. }) => serde_json::from_str(&text).unwrap_or_default(),
        // The request itself tells what is wrong.
        Ok(_) | Err(_) => Json::Null,
    }
}
