//! Cursors neither skip nor repeat, whatever is inserted meanwhile.

use crate::support::TestApp;
use crate::support::client::Api;

/// All pages, with something done between them.
async fn pages(api: &Api, path: &str, limit: usize, mut between: impl AsyncFnMut()) -> Vec<i64> {
    let mut ids = Vec::new();
    let mut after = String::new();
    loop {
        let answer = api.get(&format!("{path}?limit={limit}{after}")).await.expect(200);
        let page = answer.ids();
        assert!(page.len() <= limit);
        ids.extend(page);
        let Some(next) = answer.json["next"].as_str() else { return ids };
        after = format!("&after={next}");
        between().await;
    }
}

#[tokio::test]
async fn a_list_that_is_newest_first_stays_as_it_was_when_it_began() {
    let app = TestApp::start().await;
    let mut before = Vec::new();
    for _ in 0..20 {
        before.insert(0, app.company("before").await.id.0);
    }
    let seen = pages(&app.api, "/companies", 3, async || {
        app.company("meanwhile").await;
    })
    .await;
    assert_eq!(seen, before);
}

#[tokio::test]
async fn events_that_come_in_parallel_while_pages_are_read_are_each_seen_once_and_in_order() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.company("Acme").await, app.company("Other").await);
    let mut written = Vec::new();
    for n in 0..9 {
        written.push(app.append_event(ours.scope, n).await);
    }
    let (mut rounds, mut meanwhile) = (0, Vec::new());
    let seen = pages(&ours.api, &ours.path("/events"), 5, async || {
        rounds += 1;
        if rounds <= 4 {
            let scope = |n| if n % 2 == 0 { ours.scope } else { theirs.scope };
            let writes = (0..16).map(|n| app.append_event(scope(n), n));
            meanwhile.extend(futures_util::future::join_all(writes).await.into_iter().step_by(2));
        }
    })
    .await;
    written.extend(meanwhile);
    written.sort_unstable();
    assert_eq!(seen, written);
    assert!(rounds > 4);
}

#[tokio::test]
async fn limits_and_cursors_are_checked() {
    let app = TestApp::start().await;
    app.api.get("/companies?limit=1").await.expect(200);
    app.api.get("/companies?limit=500").await.expect(200);
    for query in ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=", "limit=1&limit=2", "limit=1e2"] {
        let answer = app.api.get(&format!("/companies?{query}")).await.expect_problem(400, "validation");
        assert_eq!(answer.fields(), ["limit"], "{query}");
    }
    for query in ["after=", "after=7", "after=MTo", "after=%00", "after=MTox&after=MTox"] {
        let answer = app.api.get(&format!("/companies?{query}")).await.expect_problem(400, "validation");
        assert_eq!(answer.fields(), ["after"], "{query}");
    }
    let answer = app.api.get("/companies?limit=0&after=x&colour=red").await.expect(400);
    assert_eq!(answer.fields(), ["limit", "after", "colour"]);
}
