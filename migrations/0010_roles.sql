-- What a user may do: look only, or change things, too.
alter table users add column can_write boolean not null default true;
