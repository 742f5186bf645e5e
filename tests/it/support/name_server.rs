//! A name server of some lines, for what a stranger's DNS may say.

use std::net::{IpAddr, SocketAddr};

use tokio::net::UdpSocket;

pub fn ip(addr: &str) -> IpAddr {
    addr.parse().expect(addr)
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq)]
pub enum Family {
    V4,
    V6,
}

/// What the name server says; addresses of the other family than asked for are left out.
pub enum Reply {
    Addresses(Vec<IpAddr>),
    /// "Ask for this name instead", with nothing about it.
    Alias(&'static str),
    /// Bytes that are no answer.
    Nonsense,
    NoSuchName,
    Silence,
}

/// A name server that answers every question by `reply(family, how many of that family came before)`, with a TTL of 0.
pub async fn dns(reply: impl Fn(Family, usize) -> Reply + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let addr = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut packet = [0; 512];
        let mut asked = [0, 0];
        while let Ok((length, client)) = socket.recv_from(&mut packet).await {
            let (question, family) = question(&packet[..length]);
            let count = &mut asked[usize::from(family == Family::V6)];
            let reply = reply(family, *count);
            *count += 1;
            if let Some(answer) = dns_answer(&packet[..2], question, family, reply) {
                let _ = socket.send_to(&answer, client).await;
            }
        }
    });
    addr
}

/// The question section of a query with one question: labels, a zero, type and class (RFC 1035 section 4.1.2).
fn question(query: &[u8]) -> (&[u8], Family) {
    let mut end = 12;
    while query[end] != 0 {
        end += usize::from(query[end]) + 1;
    }
    let family = if query[end + 2] == 1 { Family::V4 } else { Family::V6 };
    (&query[12..end + 5], family)
}

fn dns_answer(id: &[u8], question: &[u8], family: Family, reply: Reply) -> Option<Vec<u8>> {
    let (code, records) = match reply {
        Reply::Addresses(addresses) => {
            (0, addresses.into_iter().filter_map(|it| address(it, family)).collect())
        }
        Reply::Alias(name) => (0, vec![(5, labels(name))]),
        Reply::Nonsense => return Some([id, &[0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 0, 0xc0, 12, 0xff]].concat()),
        Reply::NoSuchName => (3, vec![]),
        Reply::Silence => return None,
    };
    let count = u8::try_from(records.len()).expect("few records");
    // Flags: response, recursion desired and available; then the counts of the four sections.
    let mut answer = [id, &[0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0], question].concat();
    for (kind, data) in records {
        let length = u8::try_from(data.len()).expect("short data");
        // The question's name, type, class IN, TTL 0, length.
        answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, length]);
        answer.extend(data);
    }
    Some(answer)
}

/// Type and data of an address's record, if it is of the family asked for.
fn address(addr: IpAddr, family: Family) -> Option<(u8, Vec<u8>)> {
    match (addr, family) {
        (IpAddr::V4(addr), Family::V4) => Some((1, addr.octets().to_vec())),
        (IpAddr::V6(addr), Family::V6) => Some((28, addr.octets().to_vec())),
        (IpAddr::V4(_), Family::V6) | (IpAddr::V6(_), Family::V4) => None,
    }
}

/// A name as the wire has it: each label after its length, then a zero.
fn labels(name: &str) -> Vec<u8> {
    let label =
        |label: &str| [&[u8::try_from(label.len()).expect("a short label")], label.as_bytes()].concat();
    [name.split('.').flat_map(label).collect(), vec![0]].concat()
}
