//! Text messages in both directions.

mod common;

use axum::http::Method;
use common::{CALLER, Customer, NUMBER, Sim};
use serde_json::{Value, json};

async fn receive(sim: &Sim, body: &str) -> Value {
    let message = json!({"from": CALLER, "to": NUMBER, "body": body});
    let reply = sim.control(Method::POST, "/sim/messages", message).await;
    assert_eq!(reply.status, 201);
    reply.json()
}

#[tokio::test]
async fn an_inbound_text_is_posted_and_its_replies_are_sent() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer
        .answers("/sms", r#"<Response><Message statusCallback="/sms-status">Thanks!</Message></Response>"#);
    sim.buy_number(&customer).await;

    let message = json!({"from": CALLER, "to": NUMBER, "body": "Hello 😀 + welcome ",
        "media_urls": ["http://127.0.0.1:9/a.png"]});
    let received = sim.control(Method::POST, "/sim/messages", message).await;
    let received = received.json();

    assert_eq!(received["webhook"]["status"], 200);
    assert_eq!(received["replies"][0]["body"], "Thanks!");
    let asked = customer.the("/sms");
    for (name, value) in [
        ("Body", "Hello 😀 + welcome "),
        ("NumMedia", "1"),
        ("MediaUrl0", "http://127.0.0.1:9/a.png"),
        ("MediaContentType0", "image/png"),
        ("NumSegments", "1"),
        ("SmsStatus", "received"),
        ("FromCity", "EVANSVILLE"),
    ] {
        assert_eq!(asked.get(name), value, "{name}");
    }
    assert_eq!(asked.get("MessageSid"), asked.get("SmsMessageSid"));
    assert!(asked.get("MessageSid").starts_with("MM"));

    customer.until_asked("/sms-status", 2).await;
    let statuses: Vec<_> = customer.all("/sms-status");
    assert_eq!(statuses[0].get("MessageStatus"), "sent");
    assert_eq!(statuses[1].get("MessageStatus"), "delivered");
    assert_eq!(statuses[1].get("RawDlrDoneDate").len(), 10);
    customer.assert_all_signed();
}

#[tokio::test]
async fn an_outbound_text_is_accepted_at_once_and_delivered_later() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    sim.buy_number(&customer).await;
    let callback = format!("{}/sms-status?m=1", customer.base_url);
    for (to, last, error) in [(CALLER, "delivered", None), ("+18125550199", "undelivered", Some("30003"))] {
        let form =
            [("From", NUMBER), ("To", to), ("Body", "See you at 5."), ("StatusCallback", callback.as_str())];
        let sent = sim.rest(Method::POST, "Messages.json", &form).await;
        assert_eq!(sent.status, 201);
        let sent = sent.json();
        assert_eq!(sent["status"], "queued");
        assert_eq!(sent["num_segments"], "1");
        assert_eq!(sent["direction"], "outbound-api");

        let before = customer.all("/sms-status").len();
        customer.until_asked("/sms-status", (before / 2 + 1) * 2).await;
        let callback = customer.all("/sms-status").pop().unwrap();
        assert_eq!(callback.get("MessageSid"), sent["sid"]);
        assert_eq!(callback.get("MessageStatus"), last);
        assert_eq!(callback.find("ErrorCode"), error);

        let resource = format!("Messages/{}.json", sent["sid"].as_str().unwrap());
        let fetched = sim.get(&resource).await.json();
        assert_eq!(fetched["status"], last);
    }
    customer.assert_all_signed();
}

#[tokio::test]
async fn refused_texts_have_their_codes() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    sim.buy_number(&customer).await;
    customer.answers("/sms", "<Response><Message>Bye.</Message></Response>");
    let stopped = receive(&sim, "stop").await;
    assert_eq!(stopped["replies"][0]["error_code"], 21_610);
    let long = "a".repeat(1601);
    for (from, to, body, code) in [
        (NUMBER, CALLER, "again", 21_610),
        (NUMBER, "+1812", "hi", 21_211),
        ("+13125550100", CALLER, "hi", 21_606),
        (NUMBER, "+18125550178", "", 21_602),
        (NUMBER, "+18125550178", long.as_str(), 21_617),
    ] {
        let form = [("From", from), ("To", to), ("Body", body)];
        let reply = sim.rest(Method::POST, "Messages.json", &form).await;
        assert_eq!(reply.status, 400, "{code}");
        assert_eq!(reply.json()["code"], code);
    }
    let started = receive(&sim, "START").await;
    assert_eq!(started["replies"][0]["error_code"], Value::Null);
}

#[tokio::test]
async fn no_reply_is_an_empty_response_or_nothing_at_all() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    sim.buy_number(&customer).await;
    let nothing = receive(&sim, "Hi").await;
    assert_eq!(nothing["webhook"]["status"], 204);
    customer.answers("/sms", "<Response/>");
    let empty = receive(&sim, "Hi").await;
    assert_eq!(empty["replies"], json!([]));
    customer.answers_with("/sms", 500, "broken");
    let broken = receive(&sim, "Hi").await;
    assert_eq!(broken["webhook"]["status"], 500);
    assert_eq!(broken["webhook"]["body"], "broken");
}
