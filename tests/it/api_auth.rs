//! Who may do what: asked of every route there is.

use calltracker::http::api::route::{Access, Route};
use calltracker::http::api::routes;
use calltracker::kernel::id::CompanyId;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::json;

use crate::support::TestApp;
use crate::support::client::{Answer, Api};

/// A path of the route in which only the company exists.
fn path(route: &Route, company: CompanyId) -> String {
    route
        .path
        .replace("{company_id}", &company.to_string())
        .replace("{delivery_id}", "msg_01JNX3Y8AB5V7PD3K0Q2M6R9ST_1")
        .split('/')
        .map(|part| if part.starts_with('{') { "999" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

async fn ask(api: &Api, route: &Route, company: CompanyId) -> Answer {
    let mut request = api.request(route.method.clone(), &path(route, company));
    if route.body.is_some() {
        request = request.json(&json!({}));
    }
    api.send(request).await
}

#[tokio::test]
async fn every_route_wants_a_token() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    for route in routes() {
        let at = format!("{} {}", route.method, route.path);
        let answer = app.api.send(app.api.bare(route.method.clone(), &path(route, company.id))).await;
        assert_eq!((at.as_str(), answer.status), (at.as_str(), 401));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"calltracker\""), "{at}");
        let answer = ask(&app.api.with_token("ct_wrong"), route, company.id).await;
        assert_eq!((at.as_str(), answer.status), (at.as_str(), 401));
        assert!(answer.header("www-authenticate").is_some_and(|text| text.contains("invalid_token")), "{at}");
    }
}

#[tokio::test]
async fn a_foreign_company_does_not_exist_on_any_route() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.company("Acme").await, app.company("Other").await);
    for route in routes().filter(|route| route.path.contains("{company_id}")) {
        let at = format!("{} {}", route.method, route.path);
        for api in [&ours.api, &ours.reader] {
            let foreign = ask(api, route, theirs.id).await;
            let absent = ask(api, route, CompanyId(424_242)).await;
            assert_eq!((at.as_str(), foreign.status), (at.as_str(), 404));
            assert_eq!(foreign.text, absent.text, "{at}");
        }
    }
}

#[tokio::test]
async fn a_token_that_may_only_read_writes_on_no_route() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    for route in routes().filter(|route| route.access != Access::Read) {
        let answer = ask(&company.reader, route, company.id).await;
        let at = format!("{} {}", route.method, route.path);
        assert_eq!((at.as_str(), answer.status), (at.as_str(), 403));
        if route.access == Access::Account {
            ask(&company.api, route, company.id).await.expect_problem(403, "forbidden");
        }
    }
}

#[tokio::test]
async fn every_route_refuses_unknown_parameters() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    for route in routes() {
        let path = format!("{}?colour=red", path(route, company.id));
        let answer = app.api.send(app.api.request(route.method.clone(), &path)).await;
        let at = format!("{} {}", route.method, route.path);
        assert_eq!((at.as_str(), answer.status), (at.as_str(), 400), "{}", answer.text);
        assert_eq!(answer.fields(), ["colour"], "{at}");
    }
}

#[tokio::test]
async fn every_route_that_takes_a_body_refuses_unknown_keys() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    for route in routes().filter(|route| route.body.is_some()) {
        let request = app.api.request(route.method.clone(), &path(route, company.id));
        let answer = app.api.send(request.json(&json!({ "colour": "red" }))).await;
        answer.clone().expect_problem(400, "validation");
        assert!(answer.fields().contains(&"colour".to_owned()), "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn only_one_bearer_token_is_a_login() {
    let app = TestApp::start().await;
    let token = app.api.token.clone();
    for header in [format!("Basic {token}"), token.clone(), "Bearer".to_owned(), format!("Bearer {token} x")]
    {
        let request = app.api.bare(Method::GET, "/companies").header(AUTHORIZATION, &header);
        app.api.send(request).await.expect_problem(401, "unauthenticated");
    }
    let request = app.api.bare(Method::GET, "/companies").header(AUTHORIZATION, format!("bearer {token}"));
    app.api.send(request).await.expect(200);
}

#[tokio::test]
async fn a_deleted_companys_tokens_stop_working() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    company.api.get(&company.path("")).await.expect(200);
    app.api.delete(&company.path("")).await.expect(204);
    company.api.get(&company.path("")).await.expect(401);
    app.api.get(&company.path("")).await.expect(404);
    assert_eq!(app.api.get("/companies").await.ids(), [] as [i64; 0]);
}
