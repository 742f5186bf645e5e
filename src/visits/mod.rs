//! Visits of companies' web sites: where a visitor came from, which numbers they see, and whose call it is when
//! one of those numbers is called.
//!
//! [`begin`](session::begin) takes a page view in, in one transaction, and says which numbers to show; signs of life
//! and further pages are gathered in memory and written each second ([`beats`]). [`attribute`] finds out whose call
//! it was. What is decided without a database stands in files of its own: [`source`], [`rules`], [`confidence`].
//!
//! Not here: numbers and their leases (`trackers::pool`), what comes over HTTP (`http::dni`).

pub mod agent;
pub mod attribute;
pub mod beats;
pub mod confidence;
pub mod debug;
pub mod explain;
mod referrers;
pub mod retention;
pub mod rules;
pub mod session;
pub mod sites;
pub mod source;
pub mod token;
mod touch;

pub use self::attribute::{Attribution, attribute};
pub use self::touch::Touch;
