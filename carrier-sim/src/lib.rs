//! A simulated phone carrier: the outside world of a call tracker's demo and end-to-end tests, in a process of its own.
//!
//! It speaks to the customer's server as Twilio does, over real HTTP: a REST API ([`rest`]), signed webhooks
//! ([`webhooks`], [`callbacks`]), TwiML ([`twiml`], [`interpreter`]). Who calls, who answers and what goes wrong is told
//! to a second port ([`control`]). The interpreter reaches the telephone network only through [`legs`], of which
//! [`sim_legs`] is the simulated one.
//!
//! It shares no code with any product on purpose: it is the other side.

pub mod account;
mod args;
pub mod callbacks;
pub mod calls;
pub mod clock;
mod connection_overrides;
pub mod control;
mod dial;
pub mod faults;
pub mod interpreter;
pub mod legs;
pub mod media;
pub mod messages;
mod prompts;
pub mod recorder;
pub mod records;
pub mod rest;
pub mod scenario;
mod server;
pub mod sid;
pub mod signature;
pub mod sim_legs;
pub mod state;
pub mod stock;
pub mod trace;
pub mod twiml;
mod twiml_attributes;
pub mod twiml_messaging;
pub mod webhooks;
mod xml;

pub use args::{Args, DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN, SCALE_MAX};
pub use server::{Running, run, start};
