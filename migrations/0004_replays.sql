-- Sending a range of a webhook's finished deliveries again, bit by bit. The cursor is the last delivery that was
-- looked at, in the order (created_at, event_id); at to_at the range is through.
create table replays (
    id {{pk}},
    webhook_id bigint not null,
    company_id bigint not null,
    token_id bigint,
    from_at bigint not null,
    to_at bigint not null,
    states text not null,
    state text not null,
    cursor_at bigint not null,
    cursor_event_id bigint not null,
    queued bigint not null,
    created_at bigint not null,
    finished_at bigint
);
create index replays_by_webhook on replays (webhook_id, id);
create unique index replays_running on replays (webhook_id) where state = 'running';

-- How many of a webhook's deliveries were held for too long, or were too many, and when it last happened.
alter table webhooks add column expired bigint not null default 0;
alter table webhooks add column expired_at bigint;

-- Marks for the events from before there were any, one for each hour.
insert into event_marks (at, event_id)
    select max(occurred_at), max(id) from events group by occurred_at / 3600000000;
