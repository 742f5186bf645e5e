//! How often a client may ask.

use std::time::Duration;

use crate::support::TestApp;

#[tokio::test]
async fn a_token_has_so_many_requests_in_a_minute() {
    let app = TestApp::with(|config| config.api.rate_per_minute = 3).await;
    let company = app.company("Acme").await;
    for left in ["2", "1", "0"] {
        let answer = app.api.get("/companies").await.expect(200);
        assert_eq!(answer.header("ratelimit-limit"), Some("3"));
        assert_eq!(answer.header("ratelimit-remaining"), Some(left));
    }
    let answer = app.api.get("/companies").await.expect_problem(429, "rate-limited");
    assert_eq!(answer.header("retry-after"), Some("20"));
    assert_eq!(answer.header("ratelimit-remaining"), Some("0"));
    assert_eq!(answer.header("ratelimit-reset"), Some("60"));
    // Another token has its own; errors count and carry the headers as well.
    let answer = company.reader.get("/companies?colour=red").await.expect(400);
    assert_eq!(answer.header("ratelimit-remaining"), Some("2"));
    app.advance(Duration::from_secs(20));
    app.api.get("/companies").await.expect(200);
    app.api.get("/companies").await.expect(429);
}

#[tokio::test]
async fn an_address_that_guesses_is_refused_but_not_the_good_tokens_behind_it() {
    let app = TestApp::start().await;
    app.api.get("/companies").await.expect(200);
    let late = app.company("Acme").await;
    for n in 0..60 {
        app.api.with_token(&format!("ct_guess{n}")).get("/companies").await.expect(401);
    }
    let answer = app.api.with_token("ct_guess").get("/companies").await.expect_problem(429, "rate-limited");
    assert_eq!(answer.header("retry-after"), Some("1"));
    app.api.get("/companies").await.expect(200);
    late.api.get("/companies").await.expect(429);
    app.advance(Duration::from_secs(1));
    late.api.get("/companies").await.expect(200);
}
