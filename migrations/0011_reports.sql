-- Calls summed up by the day, in the company's time zone when they were counted; days are those since 1970. kind says what
-- name is: a source, a keyword, the page that was landed on, or nothing in particular.
create table call_days (
    company_id bigint not null,
    kind text not null,
    day bigint not null,
    tracker_id bigint not null,
    channel text not null,
    name text not null,
    calls bigint not null,
    answered bigint not null,
    missed bigint not null,
    first_time bigint not null,
    duration_s bigint not null,
    primary key (company_id, kind, day, tracker_id, channel, name)
) {{clustered}};

-- Where the call stands in those sums, and that this is to be looked at: when it is finished, and when it turns out to be
-- spam, or not.
alter table calls add column counted_day bigint;
-- Who sent the visitor: written when the call is counted.
alter table calls add column source_name text not null default '';
alter table calls add column count_due boolean not null default true;
create index calls_to_count on calls (id) where count_due and finished_at is not null;
create index calls_missed on calls (company_id, id) where status in ('no_answer', 'busy', 'failed', 'canceled', 'voicemail');
