-- Times are microseconds since 1970 in UTC. JSON is text and never queried inside. A row with deleted_at
-- or released_at stays for the history that points at it.

create table companies (
    id {{pk}},
    name text not null,
    time_zone text not null,
    country text not null,
    site_key text not null unique,
    billing_day bigint not null,
    created_at bigint not null,
    deleted_at bigint
);

create table users (
    id {{pk}},
    company_id bigint references companies (id),
    email text not null unique,
    password_hash text not null,
    created_at bigint not null
);

-- A browser in which a user has logged in. hash is of the token in its cookie.
create table logins (
    id {{pk}},
    user_id bigint not null references users (id),
    hash {{blob}} not null unique,
    created_at bigint not null,
    expires_at bigint not null
);
create index logins_by_user on logins (user_id, id);

create table tokens (
    id {{pk}},
    company_id bigint references companies (id),
    name text not null,
    hash {{blob}} not null unique,
    can_write boolean not null,
    created_at bigint not null,
    revoked_at bigint
);

-- A POST that was answered once is answered the same again for 24 hours. answer is sealed: it may hold a secret.
create table idempotency_keys (
    token_id bigint not null references tokens (id),
    key text not null,
    request_hash {{blob}} not null,
    status bigint,
    answer {{blob}},
    created_at bigint not null,
    primary key (token_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- credentials is sealed JSON; a deleted account's is empty.
create table carriers (
    id {{pk}},
    company_id bigint not null references companies (id),
    kind text not null,
    account_sid text not null,
    credentials {{blob}} not null,
    base_url text not null,
    hook_token text not null unique,
    created_at bigint not null,
    deleted_at bigint
);
create index carriers_by_company on carriers (company_id, id);
create unique index carriers_in_use on carriers (company_id, kind, account_sid) where deleted_at is null;

-- Numbers that are being bought: a row stands from before the carrier is asked until a tracker has the
-- number or it was given back, so that no number is paid for that nobody knows of.
create table purchases (
    id {{pk}},
    company_id bigint not null references companies (id),
    carrier_id bigint not null references carriers (id),
    number text not null unique,
    attempts bigint not null,
    -- When it is to be looked at by the job that gives numbers back.
    due_at bigint not null
);
create index purchases_due on purchases (due_at);

create table trackers (
    id {{pk}},
    company_id bigint not null references companies (id),
    name text not null,
    tracker_type text not null,
    number_type text not null,
    destination text not null,
    status boolean not null,
    recording_enabled boolean not null,
    recording_message text not null,
    whisper_enabled boolean not null,
    whisper_message text not null,
    voicemail_enabled boolean not null,
    voicemail_greeting text not null,
    transcription_enabled boolean not null,
    ring_timeout_s bigint not null,
    swap_target text not null,
    campaign_source text not null,
    campaign_search_from text not null,
    campaign_search_for text not null,
    campaign_landing_page text not null,
    campaign_referral text not null,
    campaign_campaign_parameters text not null,
    number_pool_size bigint,
    created_at bigint not null,
    deleted_at bigint
);
create index trackers_by_company on trackers (company_id, id);
create index trackers_by_destination on trackers (destination) where deleted_at is null;

create table tracking_numbers (
    id {{pk}},
    company_id bigint not null references companies (id),
    tracker_id bigint not null references trackers (id),
    carrier_id bigint not null references carriers (id),
    carrier_number_id text not null,
    number text not null,
    number_type text not null,
    status boolean not null,
    created_at bigint not null,
    released_at bigint,
    -- When the carrier is to be told next that we gave the number back; null once it knows.
    release_due_at bigint,
    release_attempts bigint not null
);
create index tracking_numbers_to_release on tracking_numbers (release_due_at) where release_due_at is not null;
create unique index tracking_numbers_in_use on tracking_numbers (carrier_id, number) where released_at is null;
create index tracking_numbers_by_number on tracking_numbers (number, id);
create index tracking_numbers_by_tracker on tracking_numbers (tracker_id, id);
create index tracking_numbers_by_company on tracking_numbers (company_id, id);

create table blocked_callers (
    id {{pk}},
    company_id bigint not null references companies (id),
    number text not null,
    note text not null,
    created_at bigint not null,
    unique (company_id, number)
);

-- The facts of a call (treatment to end_duration_s; calls/state.rs says what they mean) and the status that
-- follows from them. source_* are a snapshot: later edits of a tracker don't rewrite history. checked_at is
-- when the call was last heard of, recordings_due_at when the carrier is to be asked for recordings that it
-- should have told of by then.
create table calls (
    id {{pk}},
    company_id bigint not null references companies (id),
    tracker_id bigint not null references trackers (id),
    number_id bigint not null references tracking_numbers (id),
    carrier_id bigint not null references carriers (id),
    carrier_call_id text not null,
    tracking_number text not null,
    caller_number text not null,
    caller_name text not null,
    caller_city text not null,
    caller_state text not null,
    caller_zip text not null,
    caller_country text not null,
    forwarded_from text not null,
    attestation text not null,
    is_first_time boolean not null,
    source_channel text not null,
    source_referrer text not null,
    source_keyword text not null,
    landing_page text not null,
    pages_visited text not null,
    gclid text not null,
    visitor_ip text not null,
    status text not null,
    started_at bigint not null,
    call_duration bigint not null,
    treatment text not null,
    leg_answered boolean not null,
    leg_outcome text,
    whisper_started boolean not null,
    dial_outcome text,
    dial_bridged boolean,
    dial_duration_s bigint,
    voicemail_s bigint,
    end_outcome text,
    end_duration_s bigint,
    ended_at bigint,
    finish_due_at bigint,
    finished_at bigint,
    checked_at bigint not null,
    recordings_due_at bigint,
    -- The one that the call's object shows. No foreign key: recordings point here.
    recording_id bigint,
    note text not null,
    value double precision,
    lead_status text not null,
    spam boolean not null,
    search_text text not null,
    unique (carrier_id, carrier_call_id)
);
create index calls_by_company on calls (company_id, id);
create index calls_by_start on calls (company_id, started_at);
create index calls_by_caller on calls (company_id, caller_number, id);
create index calls_by_end on calls (company_id, ended_at);
create index calls_to_finish on calls (finish_due_at) where finish_due_at is not null;
create index calls_open on calls (checked_at) where finished_at is null;
create index calls_without_recording on calls (recordings_due_at) where recordings_due_at is not null;

create table call_tags (
    call_id bigint not null references calls (id),
    tag text not null,
    primary key (call_id, tag)
);
create index call_tags_by_tag on call_tags (tag, call_id);

create table recordings (
    id {{pk}},
    company_id bigint not null references companies (id),
    call_id bigint not null references calls (id),
    carrier_id bigint not null references carriers (id),
    carrier_recording_id text not null,
    kind text not null,
    state text not null,
    media_url text not null,
    duration_s bigint not null,
    content_type text not null,
    path text not null,
    bytes bigint not null,
    fetch_attempts bigint not null,
    fetch_due_at bigint,
    failure text not null,
    delete_due_at bigint,
    delete_attempts bigint not null,
    announced_at bigint,
    created_at bigint not null,
    stored_at bigint,
    unique (carrier_id, carrier_recording_id)
);
create index recordings_by_call on recordings (call_id, id);
create index recordings_to_fetch on recordings (fetch_due_at) where fetch_due_at is not null;
create index recordings_to_delete on recordings (delete_due_at) where delete_due_at is not null;

create table voicemails (
    id {{pk}},
    company_id bigint not null references companies (id),
    call_id bigint not null references calls (id),
    tracker_id bigint not null references trackers (id),
    recording_id bigint not null unique references recordings (id),
    transcription text not null,
    transcription_status text not null,
    transcription_due_at bigint,
    announced_at bigint,
    created_at bigint not null
);
create index voicemails_by_company on voicemails (company_id, id);
create index voicemails_to_announce on voicemails (transcription_due_at) where announced_at is null;

-- A message is the carrier's own by carrier_message_id. An outgoing one has none until the carrier has
-- accepted it, which is when it counts: accepted_at. An incoming one counts from the start.
create table messages (
    id {{pk}},
    company_id bigint not null references companies (id),
    tracker_id bigint not null references trackers (id),
    number_id bigint not null references tracking_numbers (id),
    carrier_id bigint not null references carriers (id),
    carrier_message_id text,
    direction text not null,
    from_number text not null,
    to_number text not null,
    body text not null,
    media text not null,
    segments bigint not null,
    status text not null,
    error text not null,
    error_code bigint,
    created_at bigint not null,
    accepted_at bigint,
    unique (carrier_id, carrier_message_id)
);
create index messages_by_company on messages (company_id, id);
create index messages_by_sender on messages (company_id, from_number, id);
create index messages_by_acceptance on messages (company_id, accepted_at);
create index messages_unsettled on messages (created_at) where status = 'queued' and accepted_at is null;

-- Who asked not to be texted.
create table opt_outs (
    company_id bigint not null references companies (id),
    number text not null,
    created_at bigint not null,
    primary key (company_id, number)
);

create table usage_periods (
    id {{pk}},
    company_id bigint not null references companies (id),
    start_date text not null,
    end_date text not null,
    -- The moments at which those dates began in the company's time zone of then.
    started_at bigint not null,
    ended_at bigint not null,
    local_numbers bigint not null,
    tollfree_numbers bigint not null,
    local_minutes bigint not null,
    tollfree_minutes bigint not null,
    sms_messages bigint not null,
    created_at bigint not null,
    unique (company_id, start_date)
);

-- Append-only. data is stored once, as sent; uid is the part of a delivery's id that names the event.
create table events (
    id {{pk}},
    uid text not null unique,
    company_id bigint not null references companies (id),
    type text not null,
    object text not null,
    data text not null,
    occurred_at bigint not null
);
create index events_by_company on events (company_id, id);

-- activation counts how often the webhook became active: a pending delivery of an earlier one was held
-- and is due at once, so becoming active again touches this row only.
create table webhooks (
    id {{pk}},
    company_id bigint not null references companies (id),
    target text not null,
    events text not null,
    description text not null,
    headers text not null,
    accept_any_2xx boolean not null,
    rate_per_s double precision,
    status text not null,
    status_reason text not null,
    status_at bigint not null,
    verified_target text not null,
    activation bigint not null,
    revision bigint not null,
    secret {{blob}} not null,
    previous_secret {{blob}},
    previous_until bigint,
    created_at bigint not null,
    deleted_at bigint
);
create index webhooks_by_company on webhooks (company_id, id);

create table deliveries (
    id {{pk}},
    company_id bigint not null,
    webhook_id bigint not null references webhooks (id),
    event_id bigint not null references events (id),
    event_type text not null,
    state text not null,
    attempts bigint not null,
    series_attempts bigint not null,
    series_started_at bigint,
    activation bigint not null,
    next_attempt_at bigint,
    created_at bigint not null,
    delivered_at bigint,
    unique (event_id, webhook_id)
);
create index deliveries_by_webhook on deliveries (webhook_id, id);
create index deliveries_held on deliveries (webhook_id, id) where state = 'pending';
create index deliveries_due on deliveries (webhook_id, activation, next_attempt_at, id) where state = 'pending';

create table attempts (
    delivery_id bigint not null references deliveries (id),
    number bigint not null,
    started_at bigint not null,
    duration_ms bigint not null,
    target text not null,
    request_headers text not null,
    status_code bigint,
    error text,
    error_detail text not null,
    response_body text not null,
    primary key (delivery_id, number)
);

-- One row that is written to see whether anything can be.
create table readiness (
    id bigint primary key,
    checked_at bigint not null
);
