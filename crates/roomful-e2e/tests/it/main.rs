//! Real sockets on loopback, free ports, server and clients as a user runs them.

mod calls;
mod command;
mod crowd;
mod deadlines;
mod dropping;
mod endings;
mod faults;
mod flags;
mod harness;
mod hostile;
mod links;
mod listeners;
mod messages;
mod moderation;
mod muting;
mod pace;
mod presence;
mod publishing;
mod quic;
mod reconnecting;
mod slots;
mod tokens;
#[path = "../wire/mod.rs"]
#[expect(dead_code, reason = "the contract suite uses the rest")]
mod wire;
