//! Links that open the script's overlay on a company's site: whoever has one sees which number was chosen and why,
//! in their own visit only, until it expires.

use std::time::Duration;

use crate::companies::Scope;
use crate::kernel::clock::Micros;
use crate::kernel::secret::{Purpose, SecretKey};

/// A link works for so long.
pub const VALID_FOR: Duration = Duration::from_secs(24 * 3600);

/// The value of `ct_debug` in a link.
pub fn token(key: &SecretKey, scope: Scope, now: Micros) -> String {
    let expires = now.after(VALID_FOR).seconds();
    format!("{expires}_{}", key.sign(Purpose::DebugLink, &signed_text(scope, expires)))
}

/// Whether a token is ours, for this company, and hasn't expired.
pub fn is_valid(key: &SecretKey, scope: Scope, token: &str, now: Micros) -> bool {
    let Some((expires, signature)) = token.split_once('_') else { return false };
    let Ok(expires) = expires.parse::<i64>() else { return false };
    now.seconds() < expires && key.verify(Purpose::DebugLink, &signed_text(scope, expires), signature)
}

fn signed_text(scope: Scope, expires: i64) -> String {
    format!("{}/{expires}", scope.company())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::id::CompanyId;
    use crate::kernel::seed::Seed;

    #[test]
    fn a_debug_token_is_for_one_company_and_a_day() {
        let key = SecretKey::generate(&Seed::fixed(1));
        let (ours, now) = (Scope::of(CompanyId(7)), Micros(1_700_000_000_000_000));
        let given = token(&key, ours, now);
        assert!(is_valid(&key, ours, &given, now));
        assert!(!is_valid(&key, Scope::of(CompanyId(8)), &given, now));
        assert!(!is_valid(&key, ours, &given, now.after(VALID_FOR)));
        let later = given.replacen('1', "2", 1);
        for bad in ["", "1", "1_", &later, "x_y"] {
            assert!(!is_valid(&key, ours, bad, now), "{bad}");
        }
    }
}
