//! What happens in the demo, over and over: each kind of call, texts both ways, a month's end. Nothing is
//! told to the product but through the doors that the world uses.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::client::Client;
use super::visitors::{self, PEOPLE};
use super::{Company, say};
use crate::kernel::clock::Micros;

/// Where the sample company's calls go. Numbers 555-0100 to 555-0199 are kept for fiction.
pub(super) const DESTINATION: &str = "+18125550101";
/// A caller whom the sample company has blocked.
pub(super) const BLOCKED: &str = "+16065550166";
/// Between two happenings.
const PAUSE: Duration = Duration::from_secs(2);

/// One thing that happens.
enum Happening {
    Call(&'static str, Json),
    TextIn(&'static str),
    TextOut(&'static str),
    /// People come to the web site and call, of whom this one is the first.
    Visits(usize),
    MonthEnd,
}

fn happenings() -> Vec<Happening> {
    use Happening::{Call, MonthEnd, TextIn, TextOut, Visits};
    let answers = json!({"outcome": "answer", "answer_after_s": 6, "talk_s": 40, "hangs_up_first": false});
    let rings_out = json!({"outcome": "no_answer"});
    vec![
        Call(
            "is answered and recorded",
            json!({"from": "+15025550142", "destination": answers,
                   "caller": {"city": "LOUISVILLE", "state": "KY", "zip": "40202", "country": "US", "name": "DANA REED"}}),
        ),
        Visits(0),
        TextIn("Do you also fix water heaters? 🚿"),
        Call(
            "is missed and leaves a voicemail",
            json!({"from": "+18595550187", "destination": rings_out,
                   "voicemail": {"says": "Hi, my basement is flooding, please call me back.", "seconds": 12, "finish": "hangup"}}),
        ),
        TextOut("Yes, we do. When would suit you?"),
        Call(
            "finds the line busy",
            json!({"from": "+16155550119", "destination": {"outcome": "busy"},
                   "voicemail": {"says": "", "seconds": 0, "finish": "hangup"}, "hangup_after_s": 12}),
        ),
        Call(
            "hangs up while it rings",
            json!({"from": "anonymous", "destination": rings_out, "hangup_after_s": 9}),
        ),
        Visits(3),
        Call("is blocked", json!({"from": BLOCKED})),
        MonthEnd,
    ]
}

/// Goes on until it is dropped.
///
/// # Errors
/// The product or the carrier didn't do its part: the demo is no place to hide that.
pub(super) async fn run(
    api: &Client,
    carrier: &Client,
    company: &Company,
    calendar: &AtomicI64,
) -> anyhow::Result<()> {
    let mut credits = Credits::default();
    loop {
        for happening in happenings() {
            match happening {
                Happening::Call(what, mut scenario) => {
                    scenario["to"] = json!(company.tracking_number);
                    call(api, carrier, company, what, scenario).await?;
                }
                Happening::Visits(first) => visits(api, carrier, company, first, &mut credits).await?,
                Happening::TextIn(body) => {
                    say(&format!("\ntext from +15025550142: {body}"));
                    let text = json!({"from": "+15025550142", "to": company.tracking_number, "body": body});
                    carrier.post("sim/messages", &text).await?;
                }
                Happening::TextOut(body) => {
                    say(&format!("\ntext to +15025550142: {body}"));
                    let text =
                        json!({"tracker_id": company.tracker_id, "to_number": "+15025550142", "body": body});
                    api.post(&company.path("messages"), &text).await?;
                }
                Happening::MonthEnd => month_end(calendar),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn call(
    api: &Client,
    carrier: &Client,
    company: &Company,
    what: &str,
    scenario: Json,
) -> anyhow::Result<Json> {
    say(&format!("\ncall from {}: it {what}", scenario["from"].as_str().unwrap_or("?")));
    let begun = carrier.post("sim/calls", &scenario).await?;
    let sid = begun["call_sid"].as_str().unwrap_or_default();
    carrier.get(&format!("sim/calls/{sid}?wait=1")).await?;
    let call = finished(api, company).await?;
    say(&format!(
        "  call     {} {} after {} s, source {}",
        call["id"],
        call["status"].as_str().unwrap_or("?"),
        call["call_duration"],
        call["source_channel"].as_str().unwrap_or("?"),
    ));
    Ok(call)
}

/// How many calls of visitors there were, and how many of them were credited to the visit that they came from.
#[derive(Default)]
struct Credits {
    calls: usize,
    right: usize,
}

/// People who come at the same time.
const VISITORS: usize = 3;

/// Some come to the site, then each calls the number that they saw there.
async fn visits(
    api: &Client,
    carrier: &Client,
    company: &Company,
    first: usize,
    credits: &mut Credits,
) -> anyhow::Result<()> {
    let people = &PEOPLE[first..first + VISITORS];
    let mut came = Vec::new();
    for (nth, person) in people.iter().enumerate() {
        let visit = visitors::visit(&company.site, person, credits.calls + nth + 1).await?;
        say(&format!("\nvisitor by {}: sees {}", person.came_by, visit.number));
        came.push((person, visit));
    }
    // Pages of a visit are written each second.
    tokio::time::sleep(PAUSE).await;
    // Not in the order in which they came.
    for (person, visit) in came.iter().rev() {
        let scenario = json!({"from": person.from, "to": visit.number,
            "destination": {"outcome": "answer", "answer_after_s": 3, "talk_s": 20, "hangs_up_first": false}});
        let call =
            call(api, carrier, company, &format!("is the visitor by {}", person.came_by), scenario).await?;
        let right = visitors::is_right(&call, person, visit);
        credits.calls += 1;
        credits.right += usize::from(right);
        say(&format!(
            "  credited to {} ({}), {} pages, confidence {}: {}; {} of {} right so far",
            call["source_channel"].as_str().unwrap_or("?"),
            call["source"].as_str().unwrap_or("?"),
            call["pages_visited"].as_array().map_or(0, Vec::len),
            call["attribution_confidence"],
            if right { "right" } else { "WRONG" },
            credits.right,
            credits.calls,
        ));
    }
    Ok(())
}

/// The latest call once it is over for us too: a caller who left no message is waited for a while.
async fn finished(api: &Client, company: &Company) -> anyhow::Result<Json> {
    loop {
        let latest = api.get(&company.path("calls?limit=1")).await?;
        let call = &latest["data"][0];
        if !["ringing", "in_progress"].contains(&call["status"].as_str().unwrap_or_default()) {
            return Ok(call.clone());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Turns the calendar by which billing periods are closed to the middle of the next month: the month that
/// is over then is computed from the calls there were.
fn month_end(calendar: &AtomicI64) {
    let present = Micros(calendar.load(Ordering::SeqCst)).timestamp().to_zoned(jiff::tz::TimeZone::UTC);
    let Ok(next) = present.last_of_month().and_then(|day| day.checked_add(jiff::Span::new().days(2))) else {
        return;
    };
    say(&format!("\nthe calendar turns: {} is over", present.strftime("%B %Y")));
    calendar.store(next.timestamp().as_microsecond(), Ordering::SeqCst);
}
