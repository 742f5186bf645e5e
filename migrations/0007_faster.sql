-- The attempts of one event lie together, those of the newest at the end: an event for a thousand webhooks then writes to
-- a few pages and not to a thousand. Nothing asks for a webhook's attempts but those of one delivery.
{{attempts_by_event}}

-- The list of what is pending, in its order.
create index deliveries_by_time on deliveries (webhook_id, created_at, event_id);

-- With the type: what is sought of both a state and a type is found without looking at the rows.
drop index finished_deliveries_not_delivered;
create index finished_deliveries_not_delivered on finished_deliveries
    (webhook_id, state, created_at, event_id, event_type) where state <> 'delivered';
