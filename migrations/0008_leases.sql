-- The page that a visit began with stands in its row: one row and one index entry less for each visit. What was
-- viewed later is in page_views, as before.
alter table sessions add column landing_title text not null default '';
update sessions set landing_title = coalesce(
    (select title from page_views p where p.session_id = sessions.id order by p.id limit 1), '');
delete from page_views where id in (select min(id) from page_views group by session_id);

-- Who had a number since when: its leases that have ended, by their end. The one that hasn't is in leases_held.
-- Nobody asks for those of a tracker but by its numbers.
drop index leases_by_tracker;
drop index leases_by_number;
create index leases_by_number on leases (number_id, ended_at) where ended_at is not null;
