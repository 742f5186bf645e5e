-- Texts as conversations: one with each other party by each tracker.
create index messages_by_thread on messages
    (tracker_id, (case when direction = 'incoming' then from_number else to_number end), id);

-- Links on which people choose a password and become users. hash is of the token in the link; a row goes when it is used.
create table invitations (
    id {{pk}},
    company_id bigint references companies (id),
    email text not null,
    can_write boolean not null,
    hash {{blob}} not null unique,
    created_at bigint not null,
    expires_at bigint not null
);
create index invitations_by_company on invitations (company_id, id);

-- What was changed through the API and the pages, by whom. The texts are JSON without secrets, "" where there is nothing.
create table audit_log (
    id {{pk}},
    company_id bigint references companies (id),
    created_at bigint not null,
    actor text not null,
    operation text not null,
    path text not null,
    body text not null,
    before text not null,
    after text not null
);
create index audit_log_by_company on audit_log (company_id, id);
create index audit_log_by_age on audit_log (created_at);

create index tokens_by_company on tokens (company_id, id);
create index users_by_company on users (company_id, id);
