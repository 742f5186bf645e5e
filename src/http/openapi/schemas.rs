//! The objects of the API in JSON Schema (2020-12): the same that webhooks carry as `data`. The
//! integration tests hold every answer of the server against these, and refuse keys that aren't here.

mod visits;

mod install;

use serde_json::{Map, Value as Json, json};

use self::visits::attributed;

use crate::alerts::{Kind, MailStatus};
use crate::calls::state::Status;
use crate::carriers::provision::orders::{OrderKind, OrderState};
use crate::events::EventType;
use crate::kernel::phone::NumberType;
use crate::trackers::pool::Exhausted;
use crate::trackers::{CAMPAIGN_SOURCES, TrackerType};
use crate::visits::source::Channel;
use crate::webhooks::DeliveryState;
use crate::webhooks::replays::{ReplayState, STATES};

/// All objects by name.
pub fn objects() -> Map<String, Json> {
    let all = [
        ("Company", company()),
        ("InstallReport", install::report()),
        ("Carrier", carrier()),
        ("AvailableNumber", available_number()),
        ("Tracker", tracker()),
        ("NumberOrder", number_order()),
        ("BlockedCaller", blocked_caller()),
        ("Call", call()),
        ("Message", message()),
        ("Touch", visits::touch()),
        ("Session", visits::session(&[])),
        ("SessionExplained", visits::session(&visits::explained())),
        ("CallAttribution", visits::call_attribution()),
        ("PoolPlan", visits::pool_plan()),
        ("Script", visits::script()),
        ("Voicemail", voicemail()),
        ("Report", report()),
        ("Usage", usage()),
        ("Event", event_row()),
        ("Webhook", webhook(&[])),
        ("WebhookWithSecret", webhook(&[("secret", secret())])),
        ("WebhookSecret", object("", &[("secret", secret())])),
        ("Verification", verification()),
        ("TestResult", test_result()),
        ("Delivery", delivery(&[])),
        ("DeliveryWithAttempts", delivery(&[("attempt_log", list(reference("Attempt"), "Oldest first."))])),
        ("Attempt", attempt()),
        ("Alert", alert()),
        ("WebhookMinute", webhook_minute()),
        ("Replay", replay()),
        ("Problem", problem()),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// Title and explanation of a type of event.
pub fn event(event: EventType) -> (&'static str, &'static str) {
    match event {
        EventType::CallReceived => (
            "A call came in",
            "It is still in progress: `status` is `ringing`, durations are 0, `recording` is null.",
        ),
        EventType::CallFinished => ("A call ended", "`status` is final, `call_duration` in whole seconds."),
        EventType::CallRecordingAvailable => {
            ("A call's recording can be downloaded", "`recording` is a URL that works without a token.")
        }
        EventType::MessageReceived => ("A text came in", "`direction` is `incoming`."),
        EventType::MessageSent => ("A text went out", "`direction` is `outgoing`."),
        EventType::TrackerCreated => ("A tracker was created", ""),
        EventType::TrackerUpdated => ("A tracker changed", "Any of its settings or numbers."),
        EventType::UsageCreated => ("A billing period closed", "Its usage was computed."),
        EventType::VoicemailReceived => (
            "A caller left a voicemail",
            "Sent when the transcription is there, or has failed or is off (`transcription` is \"\" then).",
        ),
    }
}

/// The body of a request to a webhook: exactly these five keys.
pub fn envelope(event: EventType) -> Json {
    envelope_of(event.as_str(), event.object(), reference(data_name(event)))
}

/// Type and body of a verification, which is no event.
pub fn verification_envelope() -> (&'static str, Json) {
    let kind = "webhook.verification";
    let data = object("", &[("webhook_id", id("")), ("company_id", id(""))]);
    (kind, envelope_of(kind, "webhook", data))
}

fn envelope_of(kind: &str, noun: &str, data: Json) -> Json {
    let webhook = object("", &[("id", id("")), ("target", text("As configured."))]);
    object(
        "",
        &[
            ("type", json!({ "const": kind })),
            ("object", json!({ "const": noun })),
            ("data", data),
            ("timestamp", envelope_time()),
            ("webhook", webhook),
        ],
    )
}

fn data_name(event: EventType) -> &'static str {
    match event.object() {
        "call" => "Call",
        "message" => "Message",
        "tracker" => "Tracker",
        "usage" => "Usage",
        _ => "Voicemail",
    }
}

fn company() -> Json {
    object(
        "A tenant.",
        &[
            ("id", id("")),
            ("name", text("")),
            ("time_zone", text("An IANA time zone.")),
            ("country", text("ISO 3166-1 alpha-2.")),
            ("site_key", text("Public: names the company to the script on its web site.")),
            ("billing_day", integer("The day of the month on which a billing period starts.")),
            (
                "source_days",
                integer("A visit without a source of its own is credited to one that is so old at most."),
            ),
            ("created_at", time("")),
        ],
    )
}

fn call() -> Json {
    let properties = [call_properties(), attributed()].concat();
    object(
        "A call to a tracking number. The source is that of the moment of the call: later changes of the tracker \
         don't rewrite it.",
        &properties,
    )
}

fn call_properties() -> Vec<(&'static str, Json)> {
    vec![
        ("id", id("")),
        ("company_id", id("")),
        ("company_name", text("")),
        ("tracker_id", id("")),
        ("tracker_name", text("")),
        ("tracking_number", text("The number that was called, in E.164.")),
        ("timestamp", time("When the call came in.")),
        (
            "status",
            one_of(&Status::ALL.map(Status::as_str), "`answered`: someone at the destination picked up."),
        ),
        ("call_duration", integer("Whole seconds.")),
        ("recording", nullable_text("A URL that works without a token, while it lasts.")),
        ("recording_duration", integer("Whole seconds.")),
        ("caller_number", text("In E.164; \"\" if it was withheld.")),
        ("caller_name", text("")),
        ("caller_city", text("")),
        ("caller_state", text("")),
        ("caller_zip", text("")),
        ("caller_country", text("ISO 3166-1 alpha-2, or \"\".")),
        ("is_first_time", boolean("The first call ever from this number to this company.")),
        ("source_channel", one_of(&Channel::ALL.map(Channel::as_str), "")),
        ("source_referrer", text("")),
        ("source_keyword", text("")),
        ("landing_page", text("")),
        ("pages_visited", list(text(""), "")),
        ("gclid", text("")),
        ("visitor_ip", text("")),
        ("direction", one_of(&["inbound"], "")),
        ("number_type", number_type()),
        ("forwarded_from", text("")),
        ("attestation", text("How far the carrier vouches for the caller's number (STIR/SHAKEN).")),
        ("ended_at", nullable(time(""))),
        ("tags", list(text(""), "In alphabetical order.")),
        ("note", text("")),
        ("value", nullable(number("In the company's currency."))),
        ("lead_status", text("A word of the company's own.")),
        ("spam", boolean("")),
    ]
}

fn message() -> Json {
    let properties = [message_properties(), attributed()].concat();
    object("A text. What it is credited to is empty if we wrote it.", &properties)
}

fn message_properties() -> Vec<(&'static str, Json)> {
    vec![
        ("id", id("")),
        ("company_id", id("")),
        ("company_name", text("")),
        ("tracker_id", id("")),
        ("tracker_name", text("")),
        ("direction", one_of(&["incoming", "outgoing"], "")),
        ("from_number", text("In E.164.")),
        ("to_number", text("In E.164.")),
        ("body", text("")),
        ("timestamp", time("")),
        ("status", text("`received`, or how far an outgoing message has come.")),
        ("error", text("Why it failed, in words; \"\" if it didn't or the carrier only gave a code.")),
        ("error_code", nullable(integer("The carrier's number for that."))),
        ("media", list(media(), "")),
        ("segments", integer("What the carrier charges it as.")),
    ]
}

fn tracker() -> Json {
    let number = object("", &[("number", text("In E.164.")), ("status", boolean("Whether it takes calls."))]);
    object(
        "What a tracking number stands for, and where its calls go.",
        &[
            ("id", id("")),
            ("company_id", id("")),
            ("company_name", text("")),
            ("name", text("")),
            ("tracker_type", one_of(&TrackerType::ALL.map(TrackerType::as_str), "")),
            ("number_type", number_type()),
            ("destination", text("Where calls go, in E.164.")),
            ("status", boolean("Whether calls are forwarded.")),
            ("phone_numbers", list(number, "")),
            ("number_pool_size", nullable(integer("Numbers of a pool; null for other trackers."))),
            ("recording_enabled", boolean("")),
            ("recording_message", text("What the caller hears if the call is recorded.")),
            ("whisper_enabled", boolean("")),
            ("whisper_message", text("What the destination hears before it is connected.")),
            ("swap_target", text("The number on the web site that is replaced.")),
            ("campaign_source", one_of(&CAMPAIGN_SOURCES, "Which visitors see the number.")),
            ("campaign_search_from", text("")),
            ("campaign_search_for", text("")),
            ("campaign_landing_page", text("")),
            ("campaign_referral", text("")),
            ("campaign_campaign_parameters", text("")),
            ("voicemail_enabled", boolean("")),
            ("voicemail_greeting", text("")),
            ("transcription_enabled", boolean("")),
            ("ring_timeout_s", integer("")),
            (
                "pool_hold_minutes",
                integer("A number is its visitor's for so long after the last sign of life."),
            ),
            ("pool_grace_minutes", integer("And so much longer.")),
            ("pool_cooldown_minutes", integer("Then nobody gets the number for so long.")),
            ("pool_exhausted", one_of(&Exhausted::ALL.map(Exhausted::as_str), "If no number is free.")),
            ("pool_fallback_number", text("In E.164, or \"\".")),
            ("created_at", time("")),
        ],
    )
}

fn number_order() -> Json {
    let states = "`done`: the pool has all numbers. `failed`, `cancelled`: it has none of them, and what was bought goes \
                  back to the carrier.";
    object(
        "Numbers for a pool that are bought bit by bit: all of them, or none.",
        &[
            ("id", id("")),
            ("company_id", id("")),
            ("tracker_id", nullable(id("Null until the tracker is made."))),
            ("tracker_name", text("When it was ordered.")),
            (
                "kind",
                one_of(
                    &OrderKind::ALL.map(OrderKind::as_str),
                    "`create`: for a new tracker, which is made when all numbers are there. `grow`: more for a tracker.",
                ),
            ),
            ("wanted", integer("Numbers that are to be bought.")),
            ("bought", integer("Numbers that have been bought.")),
            ("state", one_of(&OrderState::ALL.map(OrderState::as_str), states)),
            ("error", text("Why it ended without the numbers, or what stands in its way now; else \"\".")),
            ("created_at", time("")),
            ("finished_at", nullable(time("When it ended."))),
        ],
    )
}

fn carrier() -> Json {
    object(
        "An account at a carrier. Its credentials are never shown.",
        &[
            ("id", id("")),
            ("company_id", id("")),
            ("kind", text("")),
            ("account_sid", text("")),
            ("base_url", text("Where the carrier's API is.")),
            ("hook_url", text("What the carrier calls for a number that is configured by hand.")),
            ("created_at", time("")),
        ],
    )
}

fn available_number() -> Json {
    object(
        "A number that can be bought now.",
        &[
            ("number", text("In E.164.")),
            ("number_type", number_type()),
            ("city", text("")),
            ("state", text("")),
            ("zip", text("")),
            ("country", text("")),
            ("sms", boolean("Whether it can send and receive texts.")),
        ],
    )
}

fn blocked_caller() -> Json {
    object(
        "A number whose calls are refused.",
        &[("id", id("")), ("number", text("In E.164.")), ("note", text("")), ("created_at", time(""))],
    )
}

fn media() -> Json {
    object("", &[("url", text("The carrier's.")), ("content_type", text(""))])
}

fn webhook(more: &[(&str, Json)]) -> Json {
    let types = EventType::ALL.map(EventType::as_str);
    let events = json!({ "anyOf": [{ "const": "all" }, list(one_of(&types, ""), "")] });
    let statuses = ["unverified", "active", "paused", "deactivated"];
    let own = [
        ("id", id("")),
        ("company_id", id("")),
        ("target", text("As typed.")),
        ("events", events),
        ("description", text("")),
        ("headers", json!({ "type": "object", "additionalProperties": { "type": "string" } })),
        ("accept_any_2xx", boolean("")),
        ("rate_per_s", nullable(number("Requests per second at most."))),
        ("status", one_of(&statuses, "Only `active` ones are delivered to; for others, events are held.")),
        ("status_reason", text("Why it has this status, in words.")),
        ("status_at", time("")),
        (
            "failing_since",
            nullable(time("Since when retries fail without a success in between; null: they don't.")),
        ),
        ("expired", integer("Its deliveries, ever, that were held for too long or were too many.")),
        ("expired_at", nullable(time("When one of them last expired."))),
        ("created_at", time("")),
    ];
    object("Where events are sent to.", &[&own, more].concat())
}

fn secret() -> Json {
    text("`whsec_…`, for any Standard Webhooks library. Shown this once.")
}

fn verification() -> Json {
    object("", &[("status", json!({ "const": "active" })), ("attempt", reference("TestResult"))])
}

fn test_result() -> Json {
    let mut own = outcome();
    own.insert(0, ("success", boolean("Whether the target took it.")));
    object("What came of one request.", &own)
}

fn outcome() -> Vec<(&'static str, Json)> {
    let errors = ["dns", "connect", "tls", "timeout", "reset", "blocked", "protocol", "too_large"];
    let error = json!({ "anyOf": [one_of(&errors, ""), { "type": "null" }] });
    vec![
        ("started_at", time("")),
        ("duration_ms", integer("")),
        ("status_code", nullable(integer(""))),
        ("error", error),
        ("error_detail", text("In words.")),
        ("response_body", text("Its beginning: 4 KiB at most.")),
    ]
}

fn attempt() -> Json {
    let mut own = outcome();
    own.insert(0, ("number", integer("")));
    own.extend([
        ("target", text("")),
        ("request_headers", json!({ "type": "object", "additionalProperties": { "type": "string" } })),
        ("request_body", text("")),
    ]);
    object("One try.", &own)
}

fn delivery(more: &[(&str, Json)]) -> Json {
    let states = DeliveryState::ALL.map(DeliveryState::as_str);
    let own = [
        ("id", text("`msg_…`: what the receiver sees as `webhook-id`.")),
        ("event_type", text("")),
        ("event_id", id("")),
        ("state", one_of(&states, "")),
        ("attempts", integer("Their number.")),
        ("next_attempt_at", nullable(time(""))),
        ("created_at", time("")),
        ("delivered_at", nullable(time(""))),
    ];
    object("An event on its way to a webhook.", &[&own, more].concat())
}

fn alert() -> Json {
    let mail = "`none`: it isn't mailed, for want of a mail server or of users. `sent`: the mail server took it for all \
                users. `failed`: it was given up, for one user at least.";
    object(
        "What a company's people were told about a webhook.",
        &[
            ("id", id("")),
            ("company_id", id("")),
            ("kind", one_of(&Kind::ALL.map(Kind::as_str), "")),
            ("webhook_id", id("")),
            ("message", text("For people. Not markup: it may repeat what a receiver said.")),
            ("created_at", time("")),
            ("acknowledged_at", nullable(time("When somebody said that they have seen it."))),
            ("mail_status", one_of(&MailStatus::ALL.map(MailStatus::as_str), mail)),
            ("mail_attempts", integer("Tries so far.")),
            ("mail_due_at", nullable(time("When the next try is due."))),
            ("mail_failure", text("Why the last try didn't reach everybody, in words; \"\" if it did.")),
        ],
    )
}

fn webhook_minute() -> Json {
    object(
        "What the attempts that began in a minute came to.",
        &[
            ("minute", time("Its beginning.")),
            ("succeeded", integer("")),
            ("failed", integer("")),
            ("duration_ms_mean", integer("Of all of them, rounded.")),
            ("duration_ms_max", integer("")),
        ],
    )
}

fn replay() -> Json {
    object(
        "A range of deliveries that is sent again.",
        &[
            ("id", id("")),
            ("webhook_id", id("")),
            ("from", time("")),
            ("to", time("Not included.")),
            (
                "states",
                list(one_of(&STATES.map(DeliveryState::as_str), ""), "Of the deliveries that it takes."),
            ),
            (
                "state",
                one_of(
                    &ReplayState::ALL.map(ReplayState::as_str),
                    "`waiting`: until the webhook is active. `done`: nothing of it is pending any more.",
                ),
            ),
            ("progress", number("How much of the range in time has been queued: 0 to 1.")),
            ("queued", integer("Deliveries that were made pending again so far.")),
            ("pending", integer("Those of them that are still to be delivered.")),
            ("created_by", text("The name of the token that asked for it.")),
            ("created_at", time("")),
            ("finished_at", nullable(time("When it was done or cancelled."))),
        ],
    )
}

fn number_type() -> Json {
    one_of(&[NumberType::Local.as_str(), NumberType::Tollfree.as_str()], "")
}

fn report() -> Json {
    let line = object(
        "",
        &[
            ("name", text("What the calls have in common; \"\" where that isn't known.")),
            ("tracker_id", json!({ "type": ["integer", "null"], "description": "Of a report on trackers." })),
            ("calls", integer("")),
            ("answered", integer("")),
            ("missed", integer("All that weren't answered.")),
            ("first_time", integer("Calls that were their caller's first.")),
            ("duration_s", integer("Of all together.")),
        ],
    );
    object(
        "How many calls there were.",
        &[
            ("from", text("The first day.")),
            ("to", text("The last day.")),
            ("data", json!({ "type": "array", "items": line })),
        ],
    )
}

fn usage() -> Json {
    object(
        "What a billing period came to.",
        &[
            ("id", id("")),
            ("company_id", id("")),
            ("company_name", text("")),
            ("start_date", date("")),
            ("end_date", date("The first day of the next period.")),
            ("local_numbers", integer("")),
            ("tollfree_numbers", integer("")),
            ("local_minutes", integer("")),
            ("tollfree_minutes", integer("")),
            ("sms_messages", integer("")),
            ("timestamp", time("When it was computed.")),
        ],
    )
}

fn voicemail() -> Json {
    object(
        "What a caller left.",
        &[
            ("id", id("")),
            ("company_id", id("")),
            ("call_id", id("")),
            ("tracker_id", id("")),
            ("tracker_name", text("")),
            ("tracking_number", text("")),
            ("caller_number", text("")),
            ("recording", nullable_text("A URL that works without a token, while it lasts.")),
            ("recording_duration", integer("Whole seconds.")),
            ("transcription", text("\"\" if it failed or is off.")),
            ("company_name", text("")),
            ("caller_name", text("")),
            ("timestamp", time("")),
            ("transcription_status", text("What became of the transcription.")),
        ],
    )
}

fn event_row() -> Json {
    let types = EventType::ALL.map(EventType::as_str);
    let data = ["Call", "Message", "Tracker", "Usage", "Voicemail"].map(reference);
    object(
        "An entry of the log.",
        &[
            ("id", id("")),
            ("uid", text("The part of `webhook-id` that names the event: `msg_<uid>_<webhook's id>`.")),
            ("type", one_of(&types, "")),
            ("object", one_of(&["call", "message", "tracker", "usage", "voicemail"], "The kind of `data`.")),
            ("data", json!({ "anyOf": data, "description": "The object as it was at that moment." })),
            ("timestamp", envelope_time()),
        ],
    )
}

fn problem() -> Json {
    let error = object(
        "",
        &[
            ("field", text("A key of the body as a path, a parameter, or a header.")),
            ("message", text("Reads on from the field's name.")),
        ],
    );
    let mut schema = object(
        "What went wrong (RFC 9457).",
        &[
            ("type", text("Stable: branch on it.")),
            ("title", text("The same for all of this type.")),
            ("status", integer("")),
            ("detail", text("About this very request, for a person.")),
        ],
    );
    schema["properties"]["errors"] = list(error, "All fields that are wrong, if it is about fields.");
    schema
}

/// An object that always has all of these keys.
fn object(about: &str, properties: &[(&str, Json)]) -> Json {
    let names: Vec<_> = properties.iter().map(|(name, _)| *name).collect();
    let properties: Map<_, _> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    described(json!({ "type": "object", "properties": properties, "required": names }), about)
}

fn described(mut schema: Json, about: &str) -> Json {
    if !about.is_empty() {
        schema["description"] = about.into();
    }
    schema
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn id(about: &str) -> Json {
    described(json!({ "type": "integer", "format": "int64" }), about)
}

fn integer(about: &str) -> Json {
    described(json!({ "type": "integer" }), about)
}

fn number(about: &str) -> Json {
    described(json!({ "type": "number" }), about)
}

fn text(about: &str) -> Json {
    described(json!({ "type": "string" }), about)
}

fn boolean(about: &str) -> Json {
    described(json!({ "type": "boolean" }), about)
}

fn nullable(mut schema: Json) -> Json {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

fn nullable_text(about: &str) -> Json {
    nullable(text(about))
}

fn list(items: Json, about: &str) -> Json {
    described(json!({ "type": "array", "items": items }), about)
}

fn one_of(words: &[&str], about: &str) -> Json {
    described(json!({ "type": "string", "enum": words }), about)
}

fn time(about: &str) -> Json {
    described(json!({ "type": "string", "format": "date-time" }), about)
}

fn date(about: &str) -> Json {
    described(json!({ "type": "string", "format": "date" }), about)
}

fn envelope_time() -> Json {
    let pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}$";
    described(
        json!({ "type": "string", "pattern": pattern }),
        "When it happened: UTC, milliseconds, no zone. Unchanged on every retry.",
    )
}
