//! One media shard of a room server as a pure machine: the peers of its clients, and the routes between them.
//!
//! Datagrams and [`MediaCommand`](roomful_sfu::MediaCommand)s go in; datagrams and [`MediaNotice`](roomful_sfu::MediaNotice)s
//! come out. It deliberately owns no socket, clock or thread: the server runs one in a thread of its own, the simulator on
//! virtual time, and both run the same code.
//!
//! One turn: [`Shard::handle_datagram`] for everything that has arrived, [`Shard::handle_timeout`] once, then
//! [`Shard::poll_output`] until it answers [`Output::Wait`].

mod peers;
mod shard;

pub use roomful_media::{Datagram, Datagrams};
pub use shard::{DATAGRAM_MAX, Output, Shard, ShardStats};

#[cfg(test)]
mod tests;
