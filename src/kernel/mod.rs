//! What everything stands on and nothing here does I/O: time, chance, ids, phone numbers, list cursors,
//! which addresses may be dialled.

pub mod address;
pub mod clock;
pub mod id;
pub mod page;
pub mod phone;
pub mod secret;
pub mod seed;
