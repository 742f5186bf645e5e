//! Call Tracker: which ad, keyword and page made each call. The modules stand in ladder order: each
//! imports from those below it only (`tests/ladder.rs` holds them to it).

pub mod voicemails {
    //! Voicemails (to be filled).
    pub mod update;
}
pub mod webhooks;

pub mod calls;

pub mod flows;
pub mod recordings;

pub mod trackers;

pub mod auth;
pub mod events;
pub mod users;

pub mod companies;
pub mod ctx;

pub mod config;
pub mod db;
pub mod metrics;
pub mod outbound;

pub mod kernel;
