//! What crosses HTTP or the database: the real router on a real socket, a real database, a clock that
//! stands still. SQLite unless TEST_DATABASE_URL names a PostgreSQL server.

#![allow(clippy::unwrap_used, reason = "a test that can't go on panics; helpers are part of tests")]

mod support;

mod alerts_mail;
mod api_alerts;
mod api_auth;
mod api_bodies;
mod api_calls;
mod api_companies;
mod api_events;
mod api_idempotency;
mod api_lists;
mod api_messages;
mod api_openapi;
mod api_rate;
mod api_trackers;
mod api_webhooks;
mod attribution;
mod calls_hooks;
mod calls_list;
mod calls_order;
mod carrier_sim;
mod clock_set_back;
mod crash;
mod demo;
mod dni;
mod dni_browser;
mod dni_browser_script;
mod dni_hostile;
mod events;
mod holding;
mod install_check;
mod ladder;
mod leases;
mod listen;
mod main_job;
mod messages;
mod nodes;
mod number_orders;
mod outbound;
mod outbound_hostile;
mod outbound_ssrf;
mod outbound_tls;
mod program;
mod provision;
mod reconcile;
mod recordings;
mod replays;
mod reports;
mod retention;
mod ui_calls;
mod ui_login;
mod ui_looks;
mod ui_messages;
mod ui_pages;
mod ui_settings;
mod ui_trackers;
mod ui_users;
mod ui_webhooks;
mod usage;
mod verifiers;
mod visits_retention;
mod webhooks;
