-- Numbers that are bought bit by bit, because they are more than a request can buy: a new pool's (kind create;
-- settings is its JSON, tracker_id is null until it is made) or more for a pool (grow; settings is ''). error is why it
-- failed, or what stands in its way now; failing_since and failures are since the last number that was bought; due_at
-- is when it goes on.
create table number_orders (
    id {{pk}},
    company_id bigint not null references companies (id),
    carrier_id bigint not null references carriers (id),
    kind text not null,
    tracker_id bigint references trackers (id),
    tracker_name text not null,
    settings text not null,
    area_code text not null,
    wanted bigint not null,
    bought bigint not null,
    state text not null,
    error text not null,
    failing_since bigint,
    failures bigint not null,
    due_at bigint not null,
    created_at bigint not null,
    finished_at bigint
);
create index number_orders_by_company on number_orders (company_id, id);
create index number_orders_due on number_orders (due_at, id) where state = 'buying';
create unique index number_orders_growing on number_orders (tracker_id) where state = 'buying';

-- The order that a number is bought for, and the carrier's id of the number once it is ours. Until the order ends
-- nobody gives the number back: due_at is the end of time.
alter table purchases add column order_id bigint references number_orders (id);
alter table purchases add column carrier_number_id text;
create index purchases_by_order on purchases (order_id) where order_id is not null;
