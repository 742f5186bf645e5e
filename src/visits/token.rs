//! The names by which a browser says who it is: our id of the visitor or the session, with a signature, so that
//! nobody can be somebody else by counting. They are opaque to the browser and open nothing but the numbers it was
//! shown.

use crate::companies::Scope;
use crate::kernel::id::Id;
use crate::kernel::secret::{Purpose, SecretKey};

/// Longer texts are nobody's token.
pub const TOKEN_BYTES_MAX: usize = 100;

/// What a token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    Visitor,
    Session,
}

impl Named {
    fn letter(self) -> char {
        match self {
            Named::Visitor => 'v',
            Named::Session => 's',
        }
    }
}

/// A token: the letter, the id, `_` and a signature in URL-safe base64.
pub fn make<T: Id>(key: &SecretKey, scope: Scope, named: Named, id: T) -> String {
    let id = id.value();
    let signature = key.sign(Purpose::VisitToken, &signed_text(scope, named, id));
    format!("{}{id}_{signature}", named.letter())
}

/// The id in a token of this company's; None if we didn't make it so.
pub fn read<T: Id>(key: &SecretKey, scope: Scope, named: Named, token: &str) -> Option<T> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (id, signature) = token.strip_prefix(named.letter())?.split_once('_')?;
    let id: i64 = id.parse().ok()?;
    key.verify(Purpose::VisitToken, &signed_text(scope, named, id), signature).then(|| T::new(id))
}

fn signed_text(scope: Scope, named: Named, id: i64) -> String {
    format!("{}/{}/{id}", scope.company(), named.letter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::id::{CompanyId, SessionId, VisitorId};
    use crate::kernel::seed::Seed;

    #[test]
    fn a_token_names_one_thing_of_one_company() {
        let key = SecretKey::generate(&Seed::fixed(1));
        let (ours, theirs) = (Scope::of(CompanyId(7)), Scope::of(CompanyId(8)));
        let token = make(&key, ours, Named::Visitor, VisitorId(42));
        assert!(token.len() < TOKEN_BYTES_MAX, "{token}");
        assert_eq!(read::<VisitorId>(&key, ours, Named::Visitor, &token), Some(VisitorId(42)));
        assert_eq!(read::<VisitorId>(&key, theirs, Named::Visitor, &token), None);
        assert_eq!(read::<SessionId>(&key, ours, Named::Session, &token), None);
        let forged = token.replace("v42_", "v43_");
        for bad in
            ["", "v", "v42", "v42_", "v42_AAAA", "_", "v9999999999999999999_x", &forged, &"v".repeat(9_999)]
        {
            assert_eq!(read::<VisitorId>(&key, ours, Named::Visitor, bad), None, "{bad}");
        }
    }
}
