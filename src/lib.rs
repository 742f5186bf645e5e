//! Call Tracker: which ad, keyword and page made each call. The modules stand in ladder order: each
//! imports from those below it only (`tests/ladder.rs` holds them to it).

pub mod http;

pub mod calls {
    //! Calls (to be filled).
    pub mod update;
}
pub mod flows;

pub mod auth;
pub mod events;

pub mod companies;
pub mod ctx;

pub mod config;
pub mod db;

pub mod kernel;
