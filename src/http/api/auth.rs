//! Who asks, and whether they may: the token of a request, the company in its path, and what the route
//! wants. A company that the token doesn't see doesn't exist for it.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::route::Access;
use crate::auth::{self, Caller};
use crate::companies::{self, Company, Scope};
use crate::db::{self, Db};
use crate::http::problem::{Kind, Problem};
use crate::kernel::id::CompanyId;

/// Characters of a token at most: ours have 35, and a bootstrap token is what its owner chose.
const TOKEN_CHARS_MAX: usize = 512;
/// What a request without a token is told (RFC 6750, 3).
const CHALLENGE: &str = "Bearer realm=\"calltracker\"";
/// What a request with a bad one is told.
const CHALLENGE_INVALID: &str = "Bearer realm=\"calltracker\", error=\"invalid_token\"";

/// A request's sender and, if its path names one, the company.
pub(super) struct Identified {
    pub(super) caller: Caller,
    pub(super) company: Option<Company>,
}

/// The token that a request carries.
///
/// # Errors
/// There is none, or something else.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(|| Problem::unauthenticated(CHALLENGE))?;
    let text = value.to_str().unwrap_or("");
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let token = token.trim();
    let plausible = scheme.eq_ignore_ascii_case("bearer")
        && (1..=TOKEN_CHARS_MAX).contains(&token.len())
        && token.bytes().all(|b| b.is_ascii_graphic());
    if !plausible || values.next().is_some() {
        return Err(Problem::unauthenticated(CHALLENGE_INVALID));
    }
    Ok(token)
}

/// What the database knows of a token and of the company in the path; None if the token isn't valid.
///
/// # Errors
/// The database's.
pub(super) async fn identify(
    db: &Db,
    token: String,
    company: Option<CompanyId>,
) -> db::Result<Option<Identified>> {
    db.read("api.identify", move |tx| {
        let Some(caller) = auth::find(tx, &token)? else { return Ok(None) };
        let company = match company.and_then(|id| caller.scope(id)) {
            Some(scope) => companies::find(tx, scope.company())?,
            None => None,
        };
        Ok(Some(Identified { caller, company }))
    })
    .await
}

/// What a request with an unknown token is answered.
pub(super) fn invalid_token() -> Problem {
    Problem::unauthenticated(CHALLENGE_INVALID)
}

/// Whether `caller` may use a route.
///
/// # Errors
/// They may not, and learn why: the company is theirs.
pub(super) fn authorise(caller: Caller, access: Access) -> Result<(), Problem> {
    match access {
        Access::Read => Ok(()),
        Access::Write | Access::Account if !caller.can_write => {
            Err(Problem::new(Kind::Forbidden, "This token may only read"))
        }
        Access::Account if caller.company.is_some() => Err(Problem::new(
            Kind::Forbidden,
            "This token is limited to one company; the account's is needed",
        )),
        Access::Write | Access::Account => Ok(()),
    }
}

/// Whether a token still sees the company: asked again by answers that last long.
///
/// # Errors
/// The database's.
pub(super) async fn still_sees(db: &Db, token: String, scope: Scope) -> db::Result<bool> {
    let identified = identify(db, token, Some(scope.company())).await?;
    Ok(identified.is_some_and(|who| who.company.is_some()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_read_from_one_bearer_header() {
        let headers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            headers
        };
        assert_eq!(token(&headers(&["Bearer abc"])).ok(), Some("abc"));
        assert_eq!(token(&headers(&["bearer  abc"])).ok(), Some("abc"));
        for bad in
            [&[][..], &["abc"], &["Basic abc"], &["Bearer "], &["Bearer a b"], &["Bearer a", "Bearer b"]]
        {
            assert!(token(&headers(bad)).is_err(), "{bad:?}");
        }
    }
}
