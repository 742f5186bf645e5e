//! Finding calls again, and what people add to them.

use std::time::Duration;

use calltracker::calls::state::Status;
use calltracker::calls::{self, Edit, Filter};
use calltracker::companies::Scope;
use calltracker::kernel::clock::Micros;
use calltracker::kernel::id::{CallId, CompanyId, TrackerId};
use calltracker::kernel::page::{Page, parse_cursor};
use calltracker::recordings::link::Links;

use crate::support::line::{CALLER, Line};

async fn ids(line: &Line, filter: Filter) -> Vec<i64> {
    let listed = calls::list(&line.app.ctx.db, line.company.scope, filter, Page::default()).await.unwrap();
    listed.rows.iter().map(|view| view.call.id.0).collect()
}

async fn edited(line: &Line, id: i64, edit: Edit) -> Option<calls::CallView> {
    let scope = line.company.scope;
    line.app.write(move |tx| calls::edit(tx, scope, CallId(id), &edit)).await
}

/// Three calls, a minute apart: answered, refused, ringing.
async fn line_with_calls() -> Line {
    let line = Line::start().await;
    let named = [("From", CALLER), ("CallerName", "José Ñandú"), ("FromCity", "SÃO PAULO")];
    let voice = line.tell("voice", "CA1", &named).await;
    line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "completed"), ("DialBridged", "true")]).await;
    line.end("CA1", "90").await;
    line.app.advance(Duration::from_secs(60));
    let voice = line.voice("CA2", "+12705550123").await;
    line.leg(&voice.url("statusCallback"), "CA2", "busy").await;
    line.tell(&voice.url("action"), "CA2", &[("DialCallStatus", "busy")]).await;
    line.end("CA2", "5").await;
    line.app.advance(Duration::from_secs(60));
    calls::settle(&line.app.ctx).await.unwrap();
    line.voice("CA3", "anonymous").await;
    line
}

#[tokio::test]
async fn calls_are_found_by_what_they_are() {
    let line = line_with_calls().await;
    let start = line.app.ctx.clock.now().before(Duration::from_secs(120));
    let any = Filter::default;
    let channel = |text: &str| Some(text.to_owned());
    let cases = [
        (any(), vec![3, 2, 1]),
        (Filter { status: Some(Status::Busy), ..any() }, vec![2]),
        (Filter { status: Some(Status::Ringing), ..any() }, vec![3]),
        (Filter { from: Some(start.after(Duration::from_secs(60))), ..any() }, vec![3, 2]),
        (Filter { to: Some(start.after(Duration::from_secs(60))), ..any() }, vec![1]),
        (Filter { from: Some(Micros(i64::MAX)), ..any() }, vec![]),
        (Filter { tracker: Some(line.tracker), ..any() }, vec![3, 2, 1]),
        (Filter { tracker: Some(TrackerId(999)), ..any() }, vec![]),
        (Filter { source_channel: channel("offline"), ..any() }, vec![3, 2, 1]),
        (Filter { source_channel: channel("paid"), ..any() }, vec![]),
        (Filter { is_first_time: Some(true), ..any() }, vec![2, 1]),
        (Filter { is_first_time: Some(false), ..any() }, vec![3]),
        (Filter { min_duration_s: Some(5), ..any() }, vec![2, 1]),
        (Filter { min_duration_s: Some(6), status: Some(Status::Busy), ..any() }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(ids(&line, filter.clone()).await, expected, "{filter:?}");
    }
    let other = Scope::of(CompanyId(line.company.id.0 + 1));
    let theirs = calls::list(&line.app.ctx.db, other, any(), Page::default()).await.unwrap();
    assert!(theirs.rows.is_empty(), "another company sees nothing");
}

#[tokio::test]
async fn calls_are_found_by_what_is_typed() {
    let line = line_with_calls().await;
    edited(&line, 2, Edit { note: Some("100%_sure\\ it's Älva".to_owned()), ..Edit::default() })
        .await
        .unwrap();
    let cases: [(&str, &[i64]); 13] = [
        ("jose nandu", &[1]),
        ("JOSÉ", &[1]),
        ("sao paulo", &[1]),
        ("(818) 321-9876", &[1]),
        ("270 555-0123", &[2]),
        ("billboard", &[3, 2, 1]),
        ("2822733", &[3, 2, 1]),
        ("ALVA", &[2]),
        ("100%_s", &[2]),
        ("100%s", &[]),
        ("1_0", &[]),
        ("\\ it", &[2]),
        ("'; drop table calls; --", &[]),
    ];
    for (search, expected) in cases {
        let filter = Filter { search: Some(search.to_owned()), ..Filter::default() };
        assert_eq!(ids(&line, filter).await, expected, "{search}");
    }
}

#[tokio::test]
async fn what_people_add_is_shown_and_found() {
    let line = line_with_calls().await;
    let tags = ["vip", "  new ", "vip"].map(str::to_owned).to_vec();
    let edit = Edit {
        tags: Some(tags),
        note: Some("call back".to_owned()),
        value: Some(Some(12.5)),
        lead_status: Some("won".to_owned()),
        spam: Some(true),
    };
    assert!(edit.problems().is_empty());
    let view = edited(&line, 1, edit).await.unwrap();
    let shown = view.to_json(&Links::of(&line.app.ctx), line.app.ctx.clock.now());
    assert_eq!(shown["tags"], serde_json::json!(["new", "vip"]));
    let same = (&shown["note"], &shown["value"], &shown["lead_status"], &shown["spam"]);
    assert_eq!(same, (&"call back".into(), &12.5.into(), &"won".into(), &true.into()));
    let view = edited(&line, 1, Edit { value: Some(None), ..Edit::default() }).await.unwrap();
    assert_eq!((view.call.value, view.call.note.as_str(), view.tags.len()), (None, "call back", 2));
    edited(&line, 3, Edit { tags: Some(vec!["vip".to_owned()]), ..Edit::default() }).await.unwrap();
    let tagged = Filter { tag: Some("vip".to_owned()), ..Filter::default() };
    assert_eq!(ids(&line, tagged).await, [3, 1]);
    assert_eq!(ids(&line, Filter { lead_status: Some("won".to_owned()), ..Filter::default() }).await, [1]);
    assert!(edited(&line, 99, Edit::default()).await.is_none());
    let page = Page { limit: 2, ..Page::default() };
    let first = calls::list(&line.app.ctx.db, line.company.scope, Filter::default(), page).await.unwrap();
    assert_eq!(first.rows[0].tags, ["vip"]);
    let cursor = first.next.as_deref().and_then(parse_cursor).unwrap();
    assert_eq!(cursor.id, 2);
    let page = page.behind(cursor);
    let second = calls::list(&line.app.ctx.db, line.company.scope, Filter::default(), page).await.unwrap();
    assert_eq!((second.rows.len(), second.rows[0].tags.len(), second.next), (1, 2, None));
}

#[test]
fn what_cannot_be_stored_is_named() {
    let fields = |edit: Edit| edit.problems().into_iter().map(|(field, _)| field).collect::<Vec<_>>();
    let tags = |tag: &str, count| Edit { tags: Some(vec![tag.to_owned(); count]), ..Edit::default() };
    assert!(fields(tags("a", 50)).is_empty() && fields(tags(&"ü".repeat(64), 1)).is_empty());
    for bad in [tags("a", 51), tags(&"a".repeat(65), 1), tags(" ", 1), tags("a\nb", 1)] {
        assert_eq!(fields(bad), ["tags"]);
    }
    let bad = Edit {
        tags: None,
        note: Some("x".repeat(10_001)),
        value: Some(Some(f64::NAN)),
        lead_status: Some("x".repeat(65)),
        spam: None,
    };
    assert_eq!(fields(bad), ["note", "lead_status", "value"]);
    assert_eq!(fields(Edit { value: Some(Some(-1.0)), ..Edit::default() }), ["value"]);
    assert_eq!(fields(Edit { note: Some("a\0".to_owned()), ..Edit::default() }), ["note"]);
}
