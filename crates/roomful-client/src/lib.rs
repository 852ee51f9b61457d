//! A client of a room as a pure engine.
//!
//! Commands of the application, signals of the server and notices of the media transport go in; signals, media commands,
//! events and the results of commands come out. The native SDK runs it; nothing in it keeps a browser or a simulator from doing so.
//! It deliberately owns no socket, clock, task or random source and touches no media: a shell moves its outputs.
//!
//! After each input, call [`Client::poll_output`] until it answers [`Output::Wait`]:
//!
//! ```
//! use std::time::Instant;
//! use roomful_client::{Client, ClientConfig, Command, CommandId, Connect, Input, Output};
//! use roomful_types::RoomId;
//!
//! let now = Instant::now();
//! let mut client = Client::new(ClientConfig::default(), RoomId::from_random([7; 16]), 42, now);
//! let connect = Connect { token: "from the application".into(), context: None, enable_messages: true };
//! client.handle_input(Input::Command(CommandId(1), Command::Connect(connect)), now);
//! let mut outputs = Vec::new();
//! loop {
//!     match client.poll_output() {
//!         Output::Wait { .. } => break,
//!         output => outputs.push(output),
//!     }
//! }
//! assert!(outputs.iter().any(|output| matches!(output, Output::OpenSignal)));
//! ```

mod client;
mod command;
mod config;
mod link;
mod media;
mod negotiation;
mod publication;
mod report;
mod request;
mod subscription;
mod token;

pub use client::{Client, Input, Output, WaitReason};
pub use command::{
    AddStream, AddSubscription, Command, CommandError, CommandId, Connect, EnableMetrics, NewTrack, Reply,
    SendMessage, TrackUpdate, UpdateStream,
};
pub use config::ClientConfig;
pub use media::{MediaCommand, MediaNotice, MediaTransport};

#[cfg(test)]
mod tests;
