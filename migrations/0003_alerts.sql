-- What a company's people are told. The first alert of a mail carries what mailing needs; mail_in leads from
-- each alert that a mail tells of to that first one, which leads to itself, and is null until there is a mail.
-- uid is the part of the mail's Message-ID that names it. company_id has no foreign key: an alert is made
-- where its webhook is locked, and mustn't wait there for the company's row.
create table alerts (
    id {{pk}},
    uid text not null unique,
    company_id bigint not null,
    kind text not null,
    webhook_id bigint not null references webhooks (id),
    message text not null,
    created_at bigint not null,
    acknowledged_at bigint,
    -- When it is to be mailed, or its mail to be tried again; null if it isn't.
    mail_due_at bigint,
    mail_attempts bigint not null,
    -- Why the last try failed, or for whom it did for good; "" if it didn't.
    mail_failure text not null,
    mail_in bigint,
    mail_began_at bigint,
    -- JSON: whom the mail has reached by now, and whom it never will; "" until the first try.
    mail_progress text not null
);
create index alerts_by_company on alerts (company_id, id);
create index alerts_by_mail on alerts (mail_in, id) where mail_in is not null;
create index alerts_to_mail on alerts (mail_due_at) where mail_due_at is not null;
