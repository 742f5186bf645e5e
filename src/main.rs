//! The program: one binary for everything. See `cli` for its commands.
fn main() {}
