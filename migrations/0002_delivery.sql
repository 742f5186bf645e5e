-- The tables of the delivery engine, rebuilt for speed: what is pending apart from what is finished, tables
-- that grow for ever cut into days (PostgreSQL), and as few indexes on the way of a delivery as its questions need.

alter table attempts rename to old_attempts;
alter table deliveries rename to old_deliveries;
alter table events rename to old_events;
drop index events_by_company;
drop index deliveries_by_webhook;
drop index deliveries_held;
drop index deliveries_due;

-- Append-only. data is stored once, as sent; uid is the part of a delivery's id that names the event.
create table events (
    id {{day_pk}},
    uid text not null,
    company_id bigint not null,
    type text not null,
    object text not null,
    data text not null,
    occurred_at bigint not null
    {{,primary_key_id_occurred_at}}
) {{by_day_occurred_at}};
create index events_by_uid on events (uid);
create index events_by_company on events (company_id, id);

-- What is still to be delivered, and nothing else. next_attempt_at says when by the clock, for deliveries of
-- the webhook's present activation; those of an earlier one were held and are due at once. created_at is the
-- event's occurred_at.
create table deliveries (
    webhook_id bigint not null,
    event_id bigint not null,
    company_id bigint not null,
    event_type text not null,
    activation bigint not null,
    attempts bigint not null,
    series_attempts bigint not null,
    series_started_at bigint,
    next_attempt_at bigint not null,
    replay_id bigint,
    created_at bigint not null,
    primary key (webhook_id, event_id)
) {{clustered}};
create index deliveries_due on deliveries (webhook_id, activation, next_attempt_at, event_id);
create index deliveries_by_replay on deliveries (replay_id) where replay_id is not null;

-- What is over: delivered, exhausted, cancelled or expired.
create table finished_deliveries (
    webhook_id bigint not null,
    event_id bigint not null,
    company_id bigint not null,
    event_type text not null,
    state text not null,
    attempts bigint not null,
    created_at bigint not null,
    finished_at bigint not null,
    primary key (webhook_id, created_at, event_id)
) {{by_day_created_at}};
create index finished_deliveries_by_type on finished_deliveries (webhook_id, event_type, created_at, event_id);
create index finished_deliveries_not_delivered on finished_deliveries (webhook_id, state, created_at, event_id)
    where state <> 'delivered';

create table attempts (
    webhook_id bigint not null,
    event_id bigint not null,
    number bigint not null,
    started_at bigint not null,
    duration_ms bigint not null,
    target text not null,
    request_headers text not null,
    status_code bigint,
    error text,
    error_detail text not null,
    response_body text not null,
    primary key (webhook_id, event_id, number {{,or_started_at}})
) {{by_day_started_at}};

{{default_days}}

insert into events (id, uid, company_id, type, object, data, occurred_at)
    select id, uid, company_id, type, object, data, occurred_at from old_events;
insert into deliveries (webhook_id, event_id, company_id, event_type, activation, attempts, series_attempts,
                        series_started_at, next_attempt_at, created_at)
    select d.webhook_id, d.event_id, d.company_id, d.event_type, d.activation, d.attempts, d.series_attempts,
           d.series_started_at, coalesce(d.next_attempt_at, d.created_at), e.occurred_at
    from old_deliveries d join old_events e on e.id = d.event_id where d.state = 'pending';
insert into finished_deliveries (webhook_id, event_id, company_id, event_type, state, attempts, created_at, finished_at)
    select d.webhook_id, d.event_id, d.company_id, d.event_type, d.state, d.attempts, e.occurred_at,
           coalesce(d.delivered_at, e.occurred_at)
    from old_deliveries d join old_events e on e.id = d.event_id where d.state <> 'pending';
insert into attempts (webhook_id, event_id, number, started_at, duration_ms, target, request_headers, status_code,
                      error, error_detail, response_body)
    select d.webhook_id, d.event_id, a.number, a.started_at, a.duration_ms, a.target, a.request_headers,
           a.status_code, a.error, a.error_detail, a.response_body
    from old_attempts a join old_deliveries d on d.id = a.delivery_id;
drop table old_attempts;
drop table old_deliveries;
drop table old_events;

{{continue_event_ids}}

-- Since when a webhook fails: two sends of one delivery failed, and none succeeded since. Null: it doesn't.
alter table webhooks add column failing_since bigint;

-- What came of a webhook's attempts, summed up by the minute (since 1970), so that nobody counts history.
create table webhook_minutes (
    webhook_id bigint not null,
    minute bigint not null,
    succeeded bigint not null,
    failed bigint not null,
    duration_ms bigint not null,
    duration_ms_max bigint not null,
    primary key (webhook_id, minute)
) {{clustered}};

-- Webhooks are dealt out by id modulo 256 to the processes on one PostgreSQL. epoch grows with each new owner
-- and fences off the one before. Times here are the database's own.
create table nodes (
    id bigint primary key,
    expires_at bigint not null
);
create table shards (
    id bigint primary key,
    node_id bigint,
    epoch bigint not null
);
insert into shards (id, epoch)
    with recursive n (i) as (select cast(0 as bigint) union all select i + 1 from n where i < 255)
    select i, 0 from n;

-- Which event was the newest at a time: how retention finds the old ones.
create table event_marks (
    at bigint primary key,
    event_id bigint not null
);
