-- What is credited to a visit keeps it.
create index messages_by_session on messages (session_id) where session_id is not null;

-- How far the visits have been looked through for those that are too old, and since when. One row.
create table visit_sweeps (
    id bigint primary key,
    session_id bigint not null,
    begun_at bigint not null
);
insert into visit_sweeps (id, session_id, begun_at) values (1, 0, 0);
