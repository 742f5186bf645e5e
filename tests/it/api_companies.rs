//! `/companies`.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn a_company_is_created_read_changed_and_deleted() {
    let app = TestApp::start().await;
    let body = json!({ "name": "Acme", "time_zone": "America/New_York", "country": "US" });
    let created = app.api.post("/companies", &body).await.expect(201);
    let site_key = created.json["site_key"].as_str().unwrap_or_default();
    assert!(site_key.starts_with("site_"), "{site_key}");
    let mut shown = created.json.clone();
    shown["site_key"] = "site_…".into();
    insta::assert_json_snapshot!(shown, @r#"
    {
      "billing_day": 1,
      "country": "US",
      "created_at": "2026-03-09T09:00:00.000000Z",
      "id": 1,
      "name": "Acme",
      "site_key": "site_…",
      "time_zone": "America/New_York"
    }
    "#);
    let path =
        created.header("location").and_then(|l| l.strip_prefix("/api/v1")).unwrap_or_default().to_owned();
    assert_eq!(app.api.get(&path).await.expect(200).json, created.json);

    let change = json!({ "name": "Acme Inc.", "billing_day": 15 });
    let changed = app.api.patch(&path, &change).await.expect(200);
    assert_eq!(changed.json["name"], "Acme Inc.");
    assert_eq!(changed.json["billing_day"], 15);
    assert_eq!(changed.json["time_zone"], "America/New_York");
    assert_eq!(app.api.patch(&path, &json!({})).await.expect(200).json, changed.json);
    app.api.patch(&path, &json!({ "id": 7 })).await.expect_problem(400, "validation");
    app.api.patch(&path, &json!({ "name": null })).await.expect_problem(400, "validation");

    app.api.delete(&path).await.expect(204);
    app.api.get(&path).await.expect_problem(404, "not-found");
    app.api.delete(&path).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_companys_token_sees_its_company_only() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.company("Acme").await, app.company("Other").await);
    assert_eq!(ours.reader.get("/companies").await.expect(200).ids(), [ours.id.0]);
    assert_eq!(app.api.get("/companies").await.expect(200).ids(), [theirs.id.0, ours.id.0]);
    ours.api.patch(&ours.path(""), &json!({ "name": "New" })).await.expect(200);
}
