//! Bad input: nothing is ignored, everything is told at once, and nothing breaks the server.

use calltracker::http::api::routes;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn all_wrong_fields_are_told_at_once() {
    let app = TestApp::start().await;
    let body =
        json!({ "name": "", "time_zone": "Mars/Olympus", "country": "usa", "billing_day": 29, "colour": 1 });
    let answer = app.api.post("/companies", &body).await.expect_problem(400, "validation");
    insta::assert_json_snapshot!(answer.json, @r#"
    {
      "detail": "5 fields are not valid",
      "errors": [
        {
          "field": "billing_day",
          "message": "must be an integer from 1 to 28"
        },
        {
          "field": "colour",
          "message": "is not a known key"
        },
        {
          "field": "country",
          "message": "must have at most 2 characters, not 3"
        },
        {
          "field": "name",
          "message": "must not be empty"
        },
        {
          "field": "time_zone",
          "message": "is not an IANA time zone such as America/New_York"
        }
      ],
      "status": 400,
      "title": "The request is not valid",
      "type": "/problems/validation"
    }
    "#);
}

#[tokio::test]
async fn wrong_types_nulls_doubles_and_nul_are_refused() {
    let app = TestApp::start().await;
    let valid = r#""time_zone":"UTC","country":"US""#;
    for (body, field) in [
        (format!(r#"{{"name":7,{valid}}}"#), "name"),
        (format!(r#"{{"name":null,{valid}}}"#), "name"),
        (format!(r#"{{"name":["a"],{valid}}}"#), "name"),
        (format!(r#"{{"name":"a\u0000b",{valid}}}"#), "name"),
        (format!(r#"{{"name":"a","name":"b",{valid}}}"#), "name"),
        (format!(r#"{{"name":"{}",{valid}}}"#, "é".repeat(201)), "name"),
        (format!(r#"{{"name":"a","billing_day":1.5,{valid}}}"#), "billing_day"),
        (format!(r#"{{"name":"a","billing_day":"1",{valid}}}"#), "billing_day"),
        (format!(r#"{{"name":"a","billing_day":99999999999999999999,{valid}}}"#), "billing_day"),
        (format!(r#"{{{valid}}}"#), "name"),
    ] {
        let answer = app.api.post_text("/companies", body.clone()).await.expect_problem(400, "validation");
        assert_eq!(answer.fields(), [field], "{body}");
    }
    let longest = json!({ "name": "é".repeat(200), "time_zone": "UTC", "country": "US" });
    app.api.post("/companies", &longest).await.expect(201);
}

#[tokio::test]
async fn what_is_no_json_object_is_told_with_its_place() {
    let app = TestApp::start().await;
    for (body, told) in [
        ("{\"name\":\n oops}", "line 2 column 2"),
        ("", "line 1 column 0"),
        ("[]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ("{\"name\":\"\\ud800\"}", "line 1"),
        ("{\"name\":1e999}", "number out of range"),
    ] {
        let answer = app.api.post_text("/companies", body).await.expect_problem(400, "malformed-body");
        let detail = answer.json["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(told), "{body}: {detail}");
    }
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    app.api.post_text("/companies", deep).await.expect_problem(400, "malformed-body");
    app.api
        .post_text("/companies", b"{\"name\":\"\xff\"}".to_vec())
        .await
        .expect_problem(400, "malformed-body");
}

#[tokio::test]
async fn other_media_types_and_huge_bodies_are_refused() {
    let app = TestApp::start().await;
    for media in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        let request = app.api.request(Method::POST, "/companies").header(CONTENT_TYPE, media).body("{}");
        app.api.send(request).await.expect_problem(415, "unsupported-media-type");
    }
    let huge = format!("{{\"name\":\"{}\"}}", "x".repeat(1024 * 1024));
    app.api.post_text("/companies", huge).await.expect_problem(413, "body-too-large");
    // The keys of a body are many, the answer stays small.
    let many: Vec<_> = (0..50_000).map(|n| format!("\"k{n}\":1")).collect();
    let answer = app.api.post_text("/companies", format!("{{{}}}", many.join(","))).await;
    assert_eq!(answer.fields().len(), 100);
    answer.expect_problem(400, "validation");
}

#[tokio::test]
async fn a_route_without_a_body_takes_none() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let request = app.api.request(Method::DELETE, &company.path("")).body("{\"name\":1}");
    app.api.send(request).await.expect_problem(400, "malformed-body");
    app.api.send(app.api.request(Method::DELETE, &company.path("")).body("{}")).await.expect(204);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let app = TestApp::start().await;
    for path in ["/nothing", "/companies/", "/companies/1/nothing", "/companies/1/events/stream/x"] {
        app.api.get(path).await.expect_problem(404, "not-found");
    }
    for id in ["x", "+1", "01", "0", "-1", "99999999999999999999", "1.0", "%00", "%FF"] {
        app.api.get(&format!("/companies/{id}")).await.expect_problem(404, "not-found");
    }
    let answer = app.api.send(app.api.request(Method::PUT, "/companies")).await;
    let allowed = answer.header("allow").unwrap_or_default().to_owned();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    answer.expect_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn every_answer_tells_browsers_to_guess_nothing() {
    let app = TestApp::start().await;
    for path in ["/companies", "/nothing", "/docs"] {
        let answer = app.api.request(Method::GET, path).send().await.expect("the server answers");
        let header =
            |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert!(header("content-security-policy").starts_with("default-src 'none'"), "{path}");
    }
}

/// PostgreSQL can't keep it, so it must not get as far as a statement on either engine.
#[tokio::test]
async fn nul_is_refused_in_every_text_of_every_route() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    for route in routes() {
        // Bodies and queries are read before anything is looked for.
        let path = route.path.replace("{company_id}", &company.id.to_string());
        let path = route.path_names().fold(path, |path, name| path.replace(&format!("{{{name}}}"), "1"));
        for field in route.body.iter().flat_map(|body| body.fields) {
            for value in [json!("a\0b"), json!(["a\0b"]), json!({ "a\0b": "c" }), json!({ "a": "b\0" })] {
                let mut body = serde_json::Map::new();
                body.insert(field.name.to_owned(), value);
                let request = app.api.request(route.method.clone(), &path).json(&body);
                let answer = app.api.send(request).await.expect_problem(400, "validation");
                let about = |name: &str| name.starts_with(field.name);
                assert!(answer.fields().iter().any(|name| about(name)), "{path} {body:?} {}", answer.text);
            }
        }
        for field in route.params {
            let answer = app.api.get(&format!("{path}?{}=a%00b", field.name)).await;
            assert_eq!(answer.expect_problem(400, "validation").fields(), [field.name], "{path}");
        }
    }
    for path in ["/webhooks/1/deliveries/a%00b", "/trackers/1%00", "/webhooks/1/deliveries?type=a%00b"] {
        let status = app.api.get(&company.path(path)).await.status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
}

/// What comes without a token: carriers' requests, links to recordings, pages.
#[tokio::test]
async fn nul_breaks_nothing_outside_the_api_either() {
    let app = TestApp::start().await;
    let base = app.api.base.clone();
    let http = reqwest::Client::new();
    for path in ["/carrier/a%00b/voice", "/carrier/a/voice?call=%00", "/login?next=%00"] {
        let request =
            http.post(format!("{base}{path}")).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let sent = request.body("CallSid=%00&email=a%00%40b.example&password=%00").send().await;
        let status = sent.expect("the server answers").status();
        assert!(!status.is_server_error(), "{path}: {status}");
    }
    for path in
        ["/recordings/a%00b", "/recordings/1?signature=%00&expires=%00", "/problems/%00", "/companies/%00"]
    {
        let status = http.get(format!("{base}{path}")).send().await.expect("the server answers").status();
        assert!(!status.is_server_error(), "{path}: {status}");
    }
}
