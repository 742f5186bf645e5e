//! Names to addresses.
//!
//! Decides: which name servers are asked, for how long an answer is remembered, in which order addresses are dialled.
//! Does not decide: which of them may be dialled. Called by the connector and by the check at registration.
//!
//! Names are always looked up as they stand, never below the machine's search domains: a stranger's `db` must not
//! become the operator's `db.internal.example`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::failure::{Failure, FailureKind};

/// Longest time an answer is remembered, so that a target that moves is found soon, whatever its TTL says.
const ANSWER_TTL_MAX: Duration = Duration::from_secs(300);
/// Longest time that "no such name" is remembered: the owner may be mending it right now.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(30);
/// How long the other address family may lag behind the first one that is there (RFC 8305 section 3).
const FAMILY_LAG_MAX: Duration = Duration::from_millis(50);

/// Whom to ask for addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolverChoice {
    /// The machine's `/etc/hosts` and `/etc/resolv.conf`, read once.
    System,
    /// One name server, by UDP and TCP; `/etc/hosts` is not read.
    NameServer(SocketAddr),
}

/// Asks DNS, remembers answers for as long as their TTL says and at most five minutes.
pub(super) struct Resolver {
    /// The error if the machine's configuration could not be read: a server that calls only literal addresses must
    /// start all the same.
    inner: Result<TokioResolver, NetError>,
}

impl Resolver {
    pub(super) fn new(choice: ResolverChoice) -> Resolver {
        let inner = build(choice);
        if let Err(error) = &inner {
            tracing::error!(%error, "reading the machine's DNS configuration failed; names cannot be resolved");
        }
        Resolver { inner }
    }

    /// The addresses of `name` in the order of dialling: families take turns, IPv4 first, since servers without a route
    /// for IPv6 are more common than without one for IPv4. Not empty.
    ///
    /// # Errors
    /// [`FailureKind::Dns`]: no such name, no addresses, or no answer within the resolver's own limit (5 s and one more
    /// try, unless `/etc/resolv.conf` says otherwise).
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        let Ok(resolver) = &self.inner else {
            return Err(Failure::new(FailureKind::Dns, "this server has no working DNS configuration"));
        };
        let mut name = Name::from_ascii(name).map_err(|_| no_address())?;
        name.set_fqdn(true);

        let v4 = Box::pin(lookup(resolver, name.clone(), RecordType::A));
        let v6 = Box::pin(lookup(resolver, name, RecordType::AAAA));
        let (first, rest) = future::select(v4, v6).await.factor_first();
        let second = match &first {
            // The other family is a bonus.
            Ok(_) => tokio::time::timeout(FAMILY_LAG_MAX, rest).await.unwrap_or_else(|_| Err(no_address())),
            Err(_) => rest.await,
        };
        match (first, second) {
            (Ok(first), Ok(second)) => Ok(take_turns(first.into_iter().chain(second).collect())),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            (Err(failure), Err(_)) => Err(failure),
        }
    }
}

fn build(choice: ResolverChoice) -> Result<TokioResolver, NetError> {
    let mut builder = match choice {
        ResolverChoice::System => TokioResolver::builder_tokio()?,
        ResolverChoice::NameServer(server) => {
            let mut builder =
                TokioResolver::builder_with_config(only(server), TokioRuntimeProvider::default());
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        }
    };
    limit(builder.options_mut());
    builder.build()
}

fn limit(options: &mut ResolverOpts) {
    options.positive_max_ttl = Some(ANSWER_TTL_MAX);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
}

fn only(server: SocketAddr) -> ResolverConfig {
    let mut udp = ConnectionConfig::udp();
    let mut tcp = ConnectionConfig::tcp();
    udp.port = server.port();
    tcp.port = server.port();
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(server.ip(), true, vec![udp, tcp])])
}

/// The addresses of one family; none is an error.
async fn lookup(resolver: &TokioResolver, name: Name, family: RecordType) -> Result<Vec<IpAddr>, Failure> {
    let answer = resolver.lookup(name, family).await.map_err(|error| match error {
        NetError::Timeout => Failure::new(FailureKind::Dns, "the name servers did not answer"),
        _ => no_address(),
    })?;
    let found: Vec<IpAddr> = answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
    if found.is_empty() { Err(no_address()) } else { Ok(found) }
}

fn no_address() -> Failure {
    Failure::new(FailureKind::Dns, "the host's name has no address")
}

fn take_turns(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    let length = v4.len().max(v6.len());
    (0..length).flat_map(|i| [v4.get(i).copied(), v6.get(i).copied()]).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_dns_configuration_each_name_is_a_dns_failure() {
        let resolver = Resolver { inner: Err(NetError::NoConnections) };
        let failure = resolver.addresses("example.com").await.expect_err("no configuration");
        assert_eq!(failure, Failure::new(FailureKind::Dns, "this server has no working DNS configuration"));
    }

    #[test]
    fn families_take_turns_ipv4_first() {
        let parse =
            |texts: &[&str]| texts.iter().map(|text| text.parse().expect(text)).collect::<Vec<IpAddr>>();
        for (given, expected) in [
            (&["::1", "::2", "1.1.1.1"][..], &["1.1.1.1", "::1", "::2"][..]),
            (&["1.1.1.1", "1.1.1.2", "1.1.1.3", "::1"], &["1.1.1.1", "::1", "1.1.1.2", "1.1.1.3"]),
            (&["::1"], &["::1"]),
            (&[], &[]),
        ] {
            assert_eq!(take_turns(parse(given)), parse(expected));
        }
    }
}
