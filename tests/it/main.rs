//! What crosses the database or HTTP. One binary, because linking is what takes the time.

mod messages;
mod provision;
mod usage;

mod support {
    pub mod carrier;
    pub mod world;
}
