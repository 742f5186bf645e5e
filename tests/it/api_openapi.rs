//! The OpenAPI document and the pages that show it.

use std::collections::HashSet;

use calltracker::events::EventType;
use calltracker::http::api::routes;
use calltracker::http::openapi::document;
use calltracker::http::problem::Kind;
use reqwest::Method;
use serde_json::Value as Json;

use crate::support::TestApp;
use crate::support::receiver::Receiver;

#[test]
fn the_document_is_the_reviewed_one() {
    insta::assert_json_snapshot!("openapi", document());
}

#[test]
fn the_nine_webhooks_and_the_verification_are_in_it() {
    let document = document();
    let webhooks = document["webhooks"].as_object().expect("it has webhooks");
    let mut types: HashSet<_> = EventType::ALL.iter().map(|event| event.as_str()).collect();
    types.insert("webhook.verification");
    assert_eq!(webhooks.keys().map(String::as_str).collect::<HashSet<_>>(), types);
}

/// Holds the body of a request to a webhook against the document.
fn assert_described(kind: &str, body: &Json) {
    let document = document();
    let mut schema =
        document["webhooks"][kind]["post"]["requestBody"]["content"]["application/json"]["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).expect("the schema is valid");
    let errors: Vec<_> = validator.iter_errors(body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{kind}: {errors:?}");
}

#[tokio::test]
async fn a_verification_and_the_mark_of_a_sample_are_as_described() {
    let app = TestApp::start().await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let body = serde_json::json!({ "target": receiver.url, "events": "all" });
    let made = company.api.post(&company.path("/webhooks"), &body).await.expect(201);
    receiver.wait_for(1).await;
    let path = company.path(&format!("/webhooks/{}/test", made.json["id"]));
    company.api.post(&path, &serde_json::json!({ "type": "call.finished" })).await.expect(200);
    let arrived = receiver.wait_for(2).await;
    assert_described("webhook.verification", &arrived[0].json());
    let document = document();
    for (request, kind, marked) in
        [(&arrived[0], "webhook.verification", false), (&arrived[1], "call.finished", true)]
    {
        let parameters = document["webhooks"][kind]["post"]["parameters"].as_array().expect("it has some");
        let described = parameters.iter().any(|parameter| parameter["name"] == "webhook-test");
        assert_eq!((request.headers.contains_key("webhook-test"), described), (marked, marked), "{kind}");
    }
}

#[test]
fn the_contracts_examples_fit_their_schemas() {
    let document = document();
    for event in EventType::ALL {
        let file = format!("{}/tests/fixtures/contract/{}.json", env!("CARGO_MANIFEST_DIR"), event.as_str());
        let text = std::fs::read_to_string(&file).expect("each type has an example");
        let example: Json = serde_json::from_str(&text).expect("it is JSON");
        let content = &document["webhooks"][event.as_str()]["post"]["requestBody"]["content"];
        let mut schema = content["application/json"]["schema"].clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).expect("the schema is valid");
        for error in validator.iter_errors(&example) {
            // The examples are older than our additions and may lack them, but never contradict.
            let text = error.to_string();
            assert!(text.ends_with("is a required property"), "{event:?}: {text}");
        }
    }
}

#[test]
fn names_are_distinct_and_every_reference_leads_somewhere() {
    let document = document();
    let mut names = HashSet::new();
    for route in routes() {
        assert!(names.insert(route.operation_id), "{} is there twice", route.operation_id);
        assert!(!route.summary.is_empty() && !route.tag.is_empty(), "{}", route.operation_id);
    }
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
}

fn collect(node: &Json, references: &mut Vec<String>) {
    match node {
        Json::Object(map) => {
            references.extend(map.get("$ref").and_then(Json::as_str).map(str::to_owned));
            map.values().for_each(|value| collect(value, references));
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_and_its_pages_are_served_without_a_token() {
    let app = TestApp::start().await;
    let get = async |path: &str| {
        let response = app.api.bare(Method::GET, path).send().await.expect("the server answers");
        assert_eq!(response.status(), 200, "{path}");
        let headers = response.headers().clone();
        (headers, response.bytes().await.expect("it has a body"))
    };
    let (_, served) = get("/openapi.json").await;
    assert_eq!(serde_json::from_slice::<Json>(&served).expect("it is JSON"), document());

    let (headers, page) = get("/docs").await;
    let policy = headers["content-security-policy"].to_str().unwrap_or_default();
    assert!(!policy.contains("http") && !policy.contains('*'), "{policy}");
    let page = String::from_utf8_lossy(&page);
    let script = page.split("src=\"/api/v1").nth(1).and_then(|rest| rest.split('"').next());
    let (headers, script) = get(script.expect("the page has a script")).await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(headers["cache-control"].to_str().is_ok_and(|text| text.contains("immutable")));
    assert_eq!(script[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn every_problems_type_leads_to_an_explanation() {
    let app = TestApp::start().await;
    for kind in Kind::ALL {
        let url = format!("{}{}", app.api.base, kind.uri());
        let response = reqwest::get(&url).await.expect("the server answers");
        assert_eq!(response.status(), 200, "{url}");
        assert!(response.text().await.is_ok_and(|text| text.contains(kind.title())));
    }
    let response = reqwest::get(format!("{}/problems/none", app.api.base)).await;
    assert_eq!(response.expect("the server answers").status(), 404);
}
