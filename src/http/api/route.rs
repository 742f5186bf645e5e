//! A route as data: what it is called, what it takes, who may use it, what it answers and what does the
//! work. The router and the OpenAPI document are both made of this, so neither can lack a route or a rule
//! that the other has.

use std::time::Duration;

use axum::http::Method;
use futures_util::future::BoxFuture;

use super::Request;
use super::fields::{Errors, Field, Mode, Values};
use super::reply::Reply;
use crate::ctx::Ctx;
use crate::http::problem::{Kind, Problem};

/// What does the work.
pub type Handler = fn(Request) -> BoxFuture<'static, Result<Reply, Problem>>;

/// Adds what is wrong with a body that a table can't say, because it has to look elsewhere or at two keys. It is
/// given the keys that are right so far: required ones may be lacking when the request is refused anyway.
pub type Check = for<'a> fn(&'a Ctx, &'a Values, &'a mut Errors) -> BoxFuture<'a, Result<(), Problem>>;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Any token that sees the company.
    Read,
    /// A token that may write.
    Write,
    /// A token that may write and isn't limited to one company.
    Account,
}

/// The body of a request.
#[derive(Clone, Copy)]
pub struct Body {
    /// The name of its schema in the document.
    pub name: &'static str,
    pub fields: &'static [Field],
    pub mode: Mode,
}

/// What a request that went well is answered with. The names are those of schemas in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 and an object.
    Object(&'static str),
    /// 201, the new object, and `Location`.
    Created(&'static str),
    /// 202 and an object that tells of the work begun.
    Accepted(&'static str),
    /// 200 and a page of objects.
    Page(&'static str),
    /// 204.
    Nothing,
    /// 200 and an object, or CSV if `format` asks for it.
    Table(&'static str),
    /// 200 or 206, and audio.
    Audio,
    /// 200 and server-sent events.
    EventStream,
}

/// See the module.
pub struct Route {
    pub method: Method,
    /// Under `/api/v1`; `{company_id}` in it means that the caller must see that company.
    pub path: &'static str,
    /// `<verb>_<resource>`: a name in generated clients.
    pub operation_id: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    /// More than fits the summary; "" if there is nothing to add.
    pub about: &'static str,
    pub access: Access,
    pub params: &'static [Field],
    pub body: Option<Body>,
    pub check: Option<Check>,
    pub answer: Answer,
    /// The object that tells of the work begun, 202, with `Location`: instead of `answer`, where the work is more than
    /// a request can do.
    pub later: Option<&'static str>,
    /// Problems of its own, beside those that follow from the rest.
    pub problems: &'static [Kind],
    /// By how much longer than usual the work may take: so much later its `Idempotency-Key` counts as left
    /// behind by a crash.
    pub patience: Duration,
    pub handler: Handler,
}

impl Route {
    pub const fn get(path: &'static str, operation_id: &'static str, handler: Handler) -> Route {
        Route::new(Method::GET, path, operation_id, Access::Read, handler)
    }

    pub const fn post(path: &'static str, operation_id: &'static str, handler: Handler) -> Route {
        Route::new(Method::POST, path, operation_id, Access::Write, handler)
    }

    pub const fn patch(path: &'static str, operation_id: &'static str, handler: Handler) -> Route {
        Route::new(Method::PATCH, path, operation_id, Access::Write, handler)
    }

    pub const fn delete(path: &'static str, operation_id: &'static str, handler: Handler) -> Route {
        Route::new(Method::DELETE, path, operation_id, Access::Write, handler)
    }

    const fn new(
        method: Method,
        path: &'static str,
        operation_id: &'static str,
        access: Access,
        handler: Handler,
    ) -> Route {
        Route {
            method,
            path,
            operation_id,
            tag: "",
            summary: "",
            about: "",
            access,
            params: &[],
            body: None,
            check: None,
            answer: Answer::Nothing,
            later: None,
            problems: &[],
            patience: Duration::ZERO,
            handler,
        }
    }

    /// The group and the one line that the document shows.
    #[must_use]
    pub const fn named(mut self, tag: &'static str, summary: &'static str) -> Route {
        self.tag = tag;
        self.summary = summary;
        self
    }

    #[must_use]
    pub const fn about(mut self, about: &'static str) -> Route {
        self.about = about;
        self
    }

    /// Only for tokens of the whole account.
    #[must_use]
    pub const fn for_the_account(mut self) -> Route {
        self.access = Access::Account;
        self
    }

    #[must_use]
    pub const fn params(mut self, params: &'static [Field]) -> Route {
        self.params = params;
        self
    }

    /// A body that makes something.
    #[must_use]
    pub const fn takes(mut self, name: &'static str, fields: &'static [Field]) -> Route {
        self.body = Some(Body { name, fields, mode: Mode::New });
        self
    }

    /// A body that changes something.
    #[must_use]
    pub const fn changes(mut self, name: &'static str, fields: &'static [Field]) -> Route {
        self.body = Some(Body { name, fields, mode: Mode::Change });
        self
    }

    /// What else its body must be.
    #[must_use]
    pub const fn checked_by(mut self, check: Check) -> Route {
        self.check = Some(check);
        self
    }

    /// The work may take this long.
    #[must_use]
    pub const fn takes_long(mut self, patience: Duration) -> Route {
        self.patience = patience;
        self
    }

    #[must_use]
    pub const fn answers(mut self, answer: Answer) -> Route {
        self.answer = answer;
        self
    }

    /// Or begins work and answers with the object that tells of it.
    #[must_use]
    pub const fn or_begins(mut self, name: &'static str) -> Route {
        self.later = Some(name);
        self
    }

    #[must_use]
    pub const fn or(mut self, problems: &'static [Kind]) -> Route {
        self.problems = problems;
        self
    }

    /// The keys of the body; none if it has none.
    pub fn body_fields(&self) -> &'static [Field] {
        self.body.map_or(&[], |body| body.fields)
    }

    /// The names in the path, in their order.
    pub fn path_names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}
