//! Visits and what they say of calls, in JSON Schema.

use serde_json::{Value as Json, json};

use super::{boolean, id, integer, list, nullable, number, object, text, time};

/// What calls and messages say of the visit that they are credited to.
pub(super) fn attributed() -> Vec<(&'static str, Json)> {
    vec![
        (
            "attribution_confidence",
            nullable(number(
                "How likely it is, 0 to 1, that it is this visit's; null if the number is nobody's.",
            )),
        ),
        ("attribution_why", text("For people.")),
        ("candidates", list(candidate(&[]), "The visits that it may have come from, the likeliest first.")),
        ("visitor_id", nullable(id(""))),
        ("session_id", nullable(id(""))),
        ("device", text("`desktop`, `mobile`, `tablet`, `unknown`, or \"\".")),
        ("source", text("Such as `google`; a host for referrals.")),
        ("utm_source", text("")),
        ("utm_medium", text("")),
        ("utm_campaign", text("")),
        ("utm_term", text("")),
        ("utm_content", text("")),
        ("utm_id", text("")),
        ("click_ids", click_ids()),
        ("first_touch", nullable(touch())),
        ("lead_touch", nullable(touch())),
        ("last_touch", nullable(touch())),
    ]
}

fn click_ids() -> Json {
    json!({ "type": "object", "additionalProperties": { "type": "string" },
            "description": "By name, such as `gclid`, `msclkid`, `fbclid`." })
}

fn candidate(more: &[(&str, Json)]) -> Json {
    let mut properties = vec![
        ("session_id", id("")),
        ("visitor_id", id("")),
        ("confidence", number("0 to 1.")),
        ("started_at", time("Since when the visitor had the number.")),
        ("seen_at", time("The visitor's last sign of life before the call.")),
    ];
    properties.extend_from_slice(more);
    object("", &properties)
}

pub(super) fn touch() -> Json {
    object(
        "What led to a visit.",
        &[
            ("at", time("")),
            ("source_channel", text("")),
            ("source", text("")),
            ("source_keyword", text("")),
            ("source_referrer", text("")),
            ("landing_page", text("")),
            ("utm_source", text("")),
            ("utm_medium", text("")),
            ("utm_campaign", text("")),
            ("utm_term", text("")),
            ("utm_content", text("")),
            ("utm_id", text("")),
            ("click_ids", click_ids()),
        ],
    )
}

pub(super) fn session(more: &[(&str, Json)]) -> Json {
    let tried = object(
        "",
        &[
            ("tracker_id", id("")),
            ("tracker_name", text("")),
            ("rule", text("Such as `campaign/search`.")),
            ("matched", boolean("")),
            ("why", text("")),
        ],
    );
    let decision = object(
        "",
        &[
            ("target", text("The number on the page.")),
            ("number", text("What is shown in its place; \"\" if it stays.")),
            ("outcome", text("`campaign`, how a pool's number was come by, `fallback`, or `unmatched`.")),
            ("tracker_id", nullable(id(""))),
            ("tracker_name", text("")),
            ("why", text("")),
            ("lease_id", nullable(id(""))),
            ("tried", list(tried, "In the order in which they were tried, up to the one that won.")),
        ],
    );
    let mut properties = vec![
        ("id", id("")),
        ("visitor_id", id("")),
        ("started_at", time("")),
        ("seen_at", time("The last sign of life.")),
        ("landing_page", text("")),
        ("visitor_ip", text("")),
        ("device", text("")),
        ("touch", touch()),
        ("first_touch", touch()),
        ("decisions", list(decision, "For each number on the site that is replaced.")),
    ];
    properties.extend_from_slice(more);
    object("A visit of the company's web site.", &properties)
}

pub(super) fn explained() -> Vec<(&'static str, Json)> {
    let page = object("", &[("at", time("")), ("url", text("")), ("title", text(""))]);
    let lease = object(
        "",
        &[
            ("id", id("")),
            ("number", text("")),
            ("started_at", time("")),
            ("seen_at", time("")),
            ("live_until", time("")),
            ("ended_at", nullable(time("When somebody else got the number."))),
            ("reused", boolean("It was somebody else's until then.")),
        ],
    );
    vec![("pages", list(page, "Oldest first.")), ("leases", list(lease, "Numbers that the visit had."))]
}

pub(super) fn call_attribution() -> Json {
    let visit = nullable(session(&explained()));
    object(
        "",
        &[
            ("call_id", id("")),
            ("tracker_id", id("")),
            ("tracker_name", text("")),
            ("tracking_number", text("")),
            ("confidence", nullable(number("0 to 1."))),
            ("why", text("")),
            ("session_id", nullable(id(""))),
            ("candidates", list(candidate(&[("session", visit)]), "The likeliest first.")),
        ],
    )
}

pub(super) fn pool_plan() -> Json {
    let expected = object(
        "In the busiest hour, as shares of 1.",
        &[
            ("blocking", number("Visits that find no number free, by Erlang's formula.")),
            ("taken_over", number("Visits that take a number over, where the pool reuses numbers.")),
            ("ambiguous_calls", number("Calls that may be somebody else's then, at most.")),
        ],
    );
    let measured = object(
        "",
        &[
            ("visits", integer("That asked for a number.")),
            ("taken_over", integer("")),
            ("refused", integer("")),
            (
                "hours",
                integer("That were measured: since the pool was first asked, without the present one."),
            ),
            ("busiest_hour", nullable(integer("Of the day, 0 to 23, in the company's time zone."))),
            ("busiest_on", text("`working_days` (Monday to Friday) or `weekends`: which have more visits.")),
            ("days_averaged", integer("On so many of these days that hour was measured.")),
            ("visits_in_busiest_hour", number("On average.")),
            ("mean_occupancy_s", integer("From when a visit gets a number until somebody else may.")),
            ("offered_load", number("In erlangs, in the busiest hour.")),
        ],
    );
    object(
        "How many numbers a pool needs.",
        &[
            ("tracker_id", id("")),
            ("target_blocking", number("")),
            ("days", integer("")),
            ("numbers", integer("That the pool has.")),
            ("recommended", integer("")),
            ("buy", integer("")),
            ("release", integer("")),
            ("is_reliable", boolean("False: there was too little traffic to say.")),
            ("measured", measured),
            ("expected", expected.clone()),
            ("expected_if_followed", expected),
        ],
    )
}

pub(super) fn script() -> Json {
    object(
        "What to put on the company's site.",
        &[
            ("url", text("")),
            ("html", text("Always the newest script.")),
            ("versioned_url", text("Never changes.")),
            ("integrity", text("")),
            ("versioned_html", text("Always this script, checked by the browser.")),
            (
                "debug",
                text("A parameter for a page's URL: shows what was decided and why. It works for a day."),
            ),
            ("test", text("A parameter for a page's URL: shows numbers that are nobody's, and takes none.")),
        ],
    )
}
