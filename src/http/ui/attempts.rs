//! How often somebody may try to log in: for each e-mail address, so that one password can't be guessed from
//! many places, and for each client address, so that many can't be guessed from one. In memory, for each node
//! by itself.
//!
//! A browser in which the user has logged in before is counted by itself ([`super::device`]): whoever keeps failing for
//! somebody else's e-mail address keeps them from logging in at new browsers only. Behind a proxy all clients share its
//! address, which is why that limit is generous.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::kernel::clock::Micros;
use crate::users::Email;

/// Failures in a row for one e-mail address, and how fast they are forgiven.
const BY_EMAIL: Limit = Limit { burst: 10, gap: Duration::from_secs(60) };
/// Failures in a row from one client address, and how fast they are forgiven.
const BY_ADDRESS: Limit = Limit { burst: 60, gap: Duration::from_secs(10) };
/// Buckets of each kind. Those who are hashed to the same one share it.
const BUCKETS: usize = 16 * 1024;

#[derive(Clone, Copy)]
struct Limit {
    burst: u32,
    gap: Duration,
}

/// All attempts that aren't forgiven yet.
pub(super) struct Attempts {
    by_email: Buckets,
    /// Of browsers that are known, by the same limit.
    by_device: Buckets,
    by_address: Buckets,
}

impl Default for Attempts {
    fn default() -> Attempts {
        Attempts {
            by_email: Buckets::new(BY_EMAIL),
            by_device: Buckets::new(BY_EMAIL),
            by_address: Buckets::new(BY_ADDRESS),
        }
    }
}

impl Attempts {
    /// Counts an attempt before it is made, so that those made at once count as well.
    ///
    /// # Errors
    /// It is one too many; says how long to wait.
    pub(super) fn count(
        &self,
        email: Option<&Email>,
        address: Option<IpAddr>,
        now: Micros,
    ) -> Result<(), Duration> {
        if let Some(address) = address {
            self.by_address.take(client(address), now)?;
        }
        email.map_or(Ok(()), |email| self.by_email.take(email, now))
    }

    /// As [`Attempts::count`], for a browser that is known.
    ///
    /// # Errors
    /// As [`Attempts::count`].
    pub(super) fn count_known(&self, device: &str, now: Micros) -> Result<(), Duration> {
        self.by_device.take(device, now)
    }

    /// As [`Attempts::forgive`], for a browser that is known.
    pub(super) fn forgive_known(&self, device: &str) {
        self.by_device.give_back(device);
    }

    /// An attempt that was counted succeeded: it doesn't count.
    pub(super) fn forgive(&self, email: Option<&Email>, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.by_address.give_back(client(address));
        }
        if let Some(email) = email {
            self.by_email.give_back(email);
        }
    }
}

/// Who counts as one client: an address, in IPv6 its /64, since a customer is given that many at least.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// A fixed number of token buckets. Each is the moment at which it will be full again, which needs neither a
/// timer nor a sweep; which one a key has is random for each process, so that nobody can aim at another's.
struct Buckets {
    limit: Limit,
    hasher: RandomState,
    full_at: Mutex<Vec<Micros>>,
}

impl Buckets {
    fn new(limit: Limit) -> Buckets {
        Buckets { limit, hasher: RandomState::new(), full_at: Mutex::new(vec![Micros(i64::MIN); BUCKETS]) }
    }

    fn take(&self, key: impl Hash, now: Micros) -> Result<(), Duration> {
        let index = self.index(key);
        let mut all = self.lock();
        let after = all[index].max(now).after(self.limit.gap);
        let over = after.since(now).saturating_sub(self.limit.gap * self.limit.burst);
        if over > Duration::ZERO {
            return Err(over);
        }
        all[index] = after;
        Ok(())
    }

    fn give_back(&self, key: impl Hash) {
        let index = self.index(key);
        let mut all = self.lock();
        all[index] = all[index].before(self.limit.gap);
    }

    fn index(&self, key: impl Hash) -> usize {
        usize::try_from(self.hasher.hash_one(key)).unwrap_or(usize::MAX) % BUCKETS
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Micros>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Micros = Micros(1_000_000_000_000);

    fn email(text: &str) -> Email {
        Email::parse(text).expect("it is an address")
    }

    #[test]
    fn failures_are_forgiven_one_by_one() {
        let attempts = Attempts::default();
        let ana = email("ana@agency.example");
        for _ in 0..BY_EMAIL.burst {
            assert_eq!(attempts.count(Some(&ana), None, T0), Ok(()));
        }
        assert_eq!(attempts.count(Some(&ana), None, T0), Err(BY_EMAIL.gap));
        let later = T0.after(BY_EMAIL.gap);
        assert_eq!(attempts.count(Some(&ana), None, later), Ok(()));
        assert!(attempts.count(Some(&ana), None, later).is_err());
    }

    #[test]
    fn successes_do_not_count() {
        let attempts = Attempts::default();
        let (ana, address) = (email("ana@agency.example"), Some(IpAddr::from([192, 0, 2, 1])));
        for _ in 0..10 * BY_ADDRESS.burst {
            assert_eq!(attempts.count(Some(&ana), address, T0), Ok(()));
            attempts.forgive(Some(&ana), address);
        }
    }

    #[test]
    fn one_address_can_not_try_many_users() {
        let attempts = Attempts::default();
        let from = |last| Some(format!("2001:db8::{last}").parse().expect("it is an address"));
        for n in 0..BY_ADDRESS.burst {
            let user = email(&format!("{n}@agency.example"));
            assert_eq!(attempts.count(Some(&user), from(n), T0), Ok(()), "a /64 is one client");
        }
        let ana = email("ana@agency.example");
        assert!(attempts.count(Some(&ana), from(9), T0).is_err());
        assert_eq!(attempts.count(Some(&ana), Some(IpAddr::from([192, 0, 2, 1])), T0), Ok(()));
    }
}
