-- Visits of web sites, the numbers that their visitors see, and what that says about calls and messages.

-- How a number pool gives out its numbers. pool_exhausted: reuse, fallback_number or no_swap.
alter table trackers add column pool_hold_minutes bigint not null default 30;
alter table trackers add column pool_grace_minutes bigint not null default 5;
alter table trackers add column pool_cooldown_minutes bigint not null default 10;
alter table trackers add column pool_exhausted text not null default 'reuse';
alter table trackers add column pool_fallback_number text not null default '';

-- For how many days a source counts for later visits that have none of their own.
alter table companies add column source_days bigint not null default 30;

-- The newest lease of a pool's number, and when another visitor may have it.
alter table tracking_numbers add column lease_id bigint;
alter table tracking_numbers add column free_at bigint not null default 0;
create index tracking_numbers_to_lease on tracking_numbers (tracker_id, free_at, id) where released_at is null;

-- first_touch is JSON: the source of the first visit.
create table visitors (
    id {{pk}},
    company_id bigint not null references companies (id),
    created_at bigint not null,
    first_touch text not null
);

-- One visit. touch is JSON: the source that it is credited to; touched_at is when that source was new, which is
-- before the visit began if the visit has none of its own. decisions is JSON: what was shown, and why.
create table sessions (
    id {{pk}},
    company_id bigint not null references companies (id),
    visitor_id bigint not null references visitors (id),
    started_at bigint not null,
    seen_at bigint not null,
    source_channel text not null,
    touch text not null,
    touched_at bigint not null,
    landing_page text not null,
    ip text not null,
    device text not null,
    decisions text not null
);
create index sessions_by_visitor on sessions (visitor_id, id);
create index sessions_by_company on sessions (company_id, id);

create table page_views (
    id {{pk}},
    session_id bigint not null,
    viewed_at bigint not null,
    url text not null,
    title text not null
);
create index page_views_by_session on page_views (session_id, id);

-- Who had a pool's number when: history, never overwritten but for its end. seen_at is the last sign of life of
-- the visitor, live_until how long the number is theirs after that. ended_at is when somebody else got it;
-- reused: this visitor got it from somebody who still had it.
create table leases (
    id {{pk}},
    company_id bigint not null references companies (id),
    tracker_id bigint not null references trackers (id),
    number_id bigint not null references tracking_numbers (id),
    session_id bigint not null,
    visitor_id bigint not null,
    started_at bigint not null,
    seen_at bigint not null,
    live_until bigint not null,
    ended_at bigint,
    reused boolean not null
);
create unique index leases_held on leases (number_id) where ended_at is null;
create index leases_by_number on leases (number_id, id);
create index leases_by_visitor on leases (visitor_id, tracker_id, id);
create index leases_by_session on leases (session_id) where ended_at is null;
create index leases_by_tracker on leases (tracker_id, id);

-- What was asked of a pool by the hour (since 1970), so that nobody counts history.
create table pool_hours (
    tracker_id bigint not null,
    hour bigint not null,
    asked bigint not null,
    reused bigint not null,
    refused bigint not null,
    primary key (tracker_id, hour)
) {{clustered}};

-- What led to the first contact of a number with the company, as JSON.
create table contacts (
    company_id bigint not null references companies (id),
    number text not null,
    lead_touch text not null,
    created_at bigint not null,
    primary key (company_id, number)
) {{clustered}};

-- The visit that a call or a message is credited to, how sure that is, and a snapshot of it as JSON ("" if none is
-- known).
alter table calls add column session_id bigint;
alter table calls add column attribution_confidence double precision;
alter table calls add column attribution text not null default '';
create index calls_by_session on calls (session_id) where session_id is not null;
alter table messages add column session_id bigint;
alter table messages add column attribution_confidence double precision;
alter table messages add column attribution text not null default '';
