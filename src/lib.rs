//! Call Tracker: which ad, keyword and page made each call. The modules stand in ladder order: each
//! imports from those below it only (`tests/it/ladder.rs` holds them to it).

pub mod app;
pub mod cli;
mod demo;
mod listen;

pub mod http;
pub mod jobs;

pub mod carriers;
pub mod install_check;

pub mod usage;
pub mod voicemails;
pub mod webhooks;

pub mod calls;
pub mod messages;

pub mod flows;
pub mod recordings;
pub mod reports;
pub mod visits;

pub mod alerts;
pub mod trackers;

pub mod audit;
pub mod auth;
pub mod events;
pub mod users;

pub mod ctx;

pub mod companies;

pub mod config;
pub mod db;
pub mod metrics;
pub mod outbound;

pub mod kernel;
