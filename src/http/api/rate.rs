//! How often a client may ask: a token bucket for each API token, and one for failed authentications of
//! each client address. In memory, for each node by itself: a limit against overload, not an account.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use ring::digest::{SHA256, digest};

use crate::config::Visits;
use crate::http::problem::Problem;
use crate::kernel::clock::Micros;
use crate::kernel::id::TokenId;

/// Buckets kept at most. One that is full is as good as none; if all are in use, newcomers aren't counted.
const BUCKETS_MAX: usize = 10_000;
/// Full buckets are looked for this often at most, since that walks through all.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Failed authentications of one address in a minute.
const FAILURES_PER_MINUTE: u32 = 60;
/// Tokens that are remembered as good, so that a stranger's failures behind the same address (a proxy's)
/// don't lock their owners out.
const KNOWN_MAX: usize = 10_000;
/// Live streams of one token at a time.
const STREAMS_MAX: u32 = 10;

/// The limits of all clients.
pub struct Limits {
    requests: Buckets<TokenId>,
    failures: Buckets<IpAddr>,
    known: Mutex<HashSet<[u8; 32]>>,
    streams: Arc<Mutex<HashMap<TokenId, u32>>>,
    /// Requests of the script on web sites.
    visits: Buckets<IpAddr>,
    /// Pools' numbers that were taken.
    numbers: Buckets<IpAddr>,
}

/// How much of its limit a client has left: what the `RateLimit-*` headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    limit: u32,
    remaining: u32,
    /// Until the whole limit is there again.
    reset_s: u64,
}

impl Quota {
    pub(super) fn write(self, headers: &mut HeaderMap) {
        headers.insert("ratelimit-limit", self.limit.into());
        headers.insert("ratelimit-remaining", self.remaining.into());
        headers.insert("ratelimit-reset", self.reset_s.into());
    }
}

impl Limits {
    pub fn new(requests_per_minute: u32, of_visits: Visits) -> Limits {
        Limits {
            requests: Buckets::new(requests_per_minute, MINUTE),
            failures: Buckets::new(FAILURES_PER_MINUTE, MINUTE),
            visits: Buckets::new(of_visits.rate_per_minute, MINUTE),
            numbers: Buckets::new(of_visits.numbers_per_hour, HOUR),
            known: Mutex::default(),
            streams: Arc::default(),
        }
    }

    /// Counts a request of `token`; also gives the problem if it is one too many.
    pub(super) fn count_request(&self, token: TokenId, now: Micros) -> (Quota, Result<(), Problem>) {
        let (quota, wait_s) = self.requests.take(token, now);
        let result = match wait_s {
            None => Ok(()),
            Some(wait_s) => Err(Problem::rate_limited("This token has used up its requests", wait_s)),
        };
        (quota, result)
    }

    /// Whether a token that comes from `address` is looked up at all.
    ///
    /// # Errors
    /// Too many from there weren't valid.
    pub(super) fn admit(&self, address: Option<IpAddr>, token: &str, now: Micros) -> Result<(), Problem> {
        let Some(address) = address else { return Ok(()) };
        let Some(wait_s) = self.failures.wait_s(client(address), now) else { return Ok(()) };
        if lock(&self.known).contains(&fingerprint(token)) {
            return Ok(());
        }
        Err(Problem::rate_limited("Too many invalid tokens came from this address", wait_s))
    }

    /// Counts a request of a site's script; false if it is one too many.
    pub(in crate::http) fn admit_visit(&self, address: Option<IpAddr>, now: Micros) -> bool {
        address.is_none_or(|address| self.visits.take(client(address), now).1.is_none())
    }

    /// Whether a visitor from `address` may have another number of a pool.
    pub(in crate::http) fn may_take_number(&self, address: Option<IpAddr>, now: Micros) -> bool {
        address.is_none_or(|address| self.numbers.wait_s(client(address), now).is_none())
    }

    /// Counts a number that was taken.
    pub(in crate::http) fn count_number(&self, address: Option<IpAddr>, now: Micros) {
        if let Some(address) = address {
            self.numbers.take(client(address), now);
        }
    }

    /// Counts a token that wasn't valid.
    pub(super) fn count_failure(&self, address: Option<IpAddr>, now: Micros) {
        if let Some(address) = address {
            self.failures.take(client(address), now);
        }
    }

    /// Remembers a token that was valid.
    pub(super) fn remember(&self, token: &str) {
        let mut known = lock(&self.known);
        if known.len() < KNOWN_MAX {
            known.insert(fingerprint(token));
        }
    }

    /// A place for a live stream, given back when dropped.
    ///
    /// # Errors
    /// The token has all it may have.
    pub(super) fn open_stream(&self, token: TokenId) -> Result<StreamPlace, Problem> {
        let mut streams = lock(&self.streams);
        let open = streams.entry(token).or_default();
        if *open >= STREAMS_MAX {
            let detail = "This token has as many live streams as it may have";
            return Err(Problem::rate_limited(detail, 15));
        }
        *open += 1;
        Ok(StreamPlace { token, streams: self.streams.clone() })
    }
}

/// A live stream's place among those of its token.
pub(super) struct StreamPlace {
    token: TokenId,
    streams: Arc<Mutex<HashMap<TokenId, u32>>>,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut streams = lock(&self.streams);
        if let Some(open) = streams.get_mut(&self.token) {
            *open -= 1;
            if *open == 0 {
                streams.remove(&self.token);
            }
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

fn fingerprint(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Token buckets that hold a period's worth and fill up evenly. The level is kept as the moment at which
/// the bucket will be full again, which needs one number and no timer.
struct Buckets<K> {
    size: u32,
    period: Duration,
    inner: Mutex<Inner<K>>,
}

struct Inner<K> {
    full_at: HashMap<K, Micros>,
    swept_at: Micros,
    latest: Micros,
}

/// By which the clocks of two requests at the same time may differ.
const CLOCK_SLACK: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl<K: Hash + Eq + Copy> Buckets<K> {
    fn new(size: u32, period: Duration) -> Buckets<K> {
        let inner = Inner { full_at: HashMap::new(), swept_at: Micros(i64::MIN), latest: Micros(i64::MIN) };
        Buckets { size: size.max(1), period, inner: Mutex::new(inner) }
    }

    /// Takes one out; the second part says how long to wait if there was none.
    fn take(&self, key: K, now: Micros) -> (Quota, Option<u64>) {
        let mut inner = lock(&self.inner);
        inner.look_at_the_clock(now);
        let full_at = inner.full_at.get(&key).copied().unwrap_or(now).max(now);
        let after = full_at.after(self.gap());
        let (full_at, wait) = match after.since(now).checked_sub(self.period) {
            None | Some(Duration::ZERO) => (after, None),
            Some(wait) => (full_at, Some(seconds_up(wait))),
        };
        if inner.full_at.contains_key(&key) || inner.has_room(now) {
            inner.full_at.insert(key, full_at);
        }
        (self.quota(full_at.since(now)), wait)
    }

    /// How long to wait until there is one; None if there is.
    fn wait_s(&self, key: K, now: Micros) -> Option<u64> {
        let mut inner = lock(&self.inner);
        inner.look_at_the_clock(now);
        let full_at = *inner.full_at.get(&key)?;
        let wait = full_at.after(self.gap()).since(now).checked_sub(self.period)?;
        (wait > Duration::ZERO).then(|| seconds_up(wait))
    }

    /// Time in which one comes back.
    fn gap(&self) -> Duration {
        self.period / self.size
    }

    fn quota(&self, until_full: Duration) -> Quota {
        let missing = until_full.as_micros().div_ceil(self.gap().as_micros().max(1));
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        Quota {
            limit: self.size,
            remaining: self.size.saturating_sub(missing),
            reset_s: seconds_up(until_full),
        }
    }
}

impl<K: Hash + Eq> Inner<K> {
    /// Everybody begins anew if it was set back: they would wait until it is where it was.
    fn look_at_the_clock(&mut self, now: Micros) {
        if now.after(CLOCK_SLACK) < self.latest {
            *self = Inner { full_at: HashMap::new(), swept_at: now, latest: now };
        }
        self.latest = self.latest.max(now);
    }

    fn has_room(&mut self, now: Micros) -> bool {
        if self.full_at.len() >= BUCKETS_MAX && now.since(self.swept_at) >= SWEEP_EVERY {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.swept_at = now;
        }
        self.full_at.len() < BUCKETS_MAX
    }
}

fn seconds_up(d: Duration) -> u64 {
    d.as_secs() + u64::from(d.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Micros = Micros(1_000_000_000_000);

    #[test]
    fn a_bucket_empties_and_fills_up_evenly() {
        let buckets = Buckets::new(3, MINUTE);
        for remaining in [2, 1, 0] {
            let (quota, wait) = buckets.take(1, T0);
            assert_eq!((quota.remaining, wait), (remaining, None));
        }
        let (quota, wait) = buckets.take(1, T0);
        assert_eq!((quota, wait), (Quota { limit: 3, remaining: 0, reset_s: 60 }, Some(20)));
        assert_eq!(buckets.take(2, T0).1, None, "another client has a bucket of its own");
        let later = T0.after(Duration::from_secs(20));
        assert_eq!(buckets.take(1, later).1, None);
        assert_eq!(buckets.take(1, later).1, Some(20));
        assert_eq!(buckets.take(1, T0.after(Duration::from_secs(600))).0.remaining, 2);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let buckets = Buckets::new(1, MINUTE);
        buckets.take(1, T0);
        assert_eq!(
            buckets.take(1, T0.before(Duration::from_millis(1))).1,
            Some(61),
            "two requests at a time"
        );
        let earlier = T0.before(Duration::from_secs(3600));
        assert_eq!(buckets.wait_s(1, earlier), None);
        assert_eq!(buckets.take(1, earlier).1, None);
        assert_eq!(buckets.take(1, earlier).1, Some(60));
    }

    #[test]
    fn memory_is_bounded_and_full_buckets_make_room() {
        let buckets = Buckets::new(60, MINUTE);
        for key in 0..BUCKETS_MAX + 10 {
            buckets.take(key, T0);
        }
        assert_eq!(lock(&buckets.inner).full_at.len(), BUCKETS_MAX);
        buckets.take(usize::MAX, T0.after(Duration::from_secs(5)));
        assert_eq!(lock(&buckets.inner).full_at.len(), 1);
    }

    #[test]
    fn an_address_with_many_failures_is_refused_except_for_tokens_known_as_good() {
        let limits = Limits::new(10, Visits { rate_per_minute: 10, numbers_per_hour: 10, keep_days: 400 });
        let address = Some("2001:db8::1".parse().expect("it is an address"));
        let neighbour = Some("2001:db8::2".parse().expect("it is an address"));
        limits.remember("good");
        for _ in 0..FAILURES_PER_MINUTE {
            assert!(limits.admit(address, "guess", T0).is_ok());
            limits.count_failure(address, T0);
        }
        assert!(limits.admit(neighbour, "guess", T0).is_err(), "the same /64");
        assert!(limits.admit(address, "good", T0).is_ok());
        assert!(limits.admit(Some("192.0.2.1".parse().expect("it is one")), "guess", T0).is_ok());
        assert!(limits.admit(address, "guess", T0.after(Duration::from_secs(1))).is_ok());
    }

    #[test]
    fn streams_are_counted_until_they_end() {
        let limits = Limits::new(10, Visits { rate_per_minute: 10, numbers_per_hour: 10, keep_days: 400 });
        let places: Vec<_> = (0..STREAMS_MAX).map(|_| limits.open_stream(TokenId(1))).collect();
        assert!(places.iter().all(Result::is_ok));
        assert!(limits.open_stream(TokenId(1)).is_err());
        assert!(limits.open_stream(TokenId(2)).is_ok());
        drop(places);
        assert!(limits.open_stream(TokenId(1)).is_ok());
    }
}
