//! The floor: the same requests by a bare hyper client on connections of its own, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::producer::BODY_BYTES;
use crate::receiver::Receiver;
use crate::report::{Measured, Timer};

/// POSTs `count` bodies with `in_flight` of them under way at any time.
pub async fn measure(receiver: &Receiver, in_flight: usize, count: usize) -> anyhow::Result<Measured> {
    let mut connections = Vec::new();
    for _ in 0..in_flight {
        let stream = TcpStream::connect(("127.0.0.1", receiver.port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        connections.push(sender);
    }
    let (left, body) = (Arc::new(AtomicUsize::new(count)), Bytes::from(vec![b'x'; BODY_BYTES]));
    let timer = Timer::start(None);
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for mut sender in connections {
        let (left, body, host) = (left.clone(), body.clone(), format!("127.0.0.1:{}", receiver.port));
        tasks.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                let mut response = sender.send_request(request(&host, body.clone())?).await?;
                while response.body_mut().frame().await.transpose()?.is_some() {}
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(timer.stop(count))
}

/// With the headers that the product sends.
fn request(host: &str, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
    let request = Request::post("/ok/0")
        .header("content-type", "application/json")
        .header("webhook-id", "msg_01KB0000000000000000000000_1")
        .header("webhook-timestamp", "1764150000")
        .header("webhook-signature", "v1,ATSItIDsNRS9QdKP9XOi7h6JK2iXVz31FeOLrDMxCpU=")
        .header("accept-encoding", "identity")
        .header("user-agent", "CallTracker/0.1.0")
        .header("host", host);
    Ok(request.body(Full::new(body))?)
}
