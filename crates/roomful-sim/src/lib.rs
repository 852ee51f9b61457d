//! Whole rooms on virtual time: the real engines, emulated networks, faults, and checks of everything that is seen.
//!
//! * [`World`]: a room of engines that does what a seed says, checked at every step.
//! * [`ServerMachine`]: the real deciding engine and one media shard behind a shell of faults; no second implementation of a server.
//! * With the feature `sdk`: `sdk::FakeServer`, for programs that use the SDK, and `contract`, the scenarios of the Room contract.
//!
//! It deliberately opens no socket and reads no clock.

#[cfg(feature = "sdk")]
pub mod contract;
mod faults;
mod link;
mod media;
mod nat;
mod ordered;
#[cfg(feature = "sdk")]
pub mod sdk;
mod server;
mod timeline;
mod tokens;
mod world;

pub use faults::{Answer, Faults, Script};
pub use link::{Link, LinkConfig};
pub use media::{Media, MediaInput, MediaOutput};
pub use nat::{Nat, NatConfig, NatFilter};
pub use server::{Input, Output, ServerMachine};
pub use timeline::Timeline;
pub use tokens::{TokenRequest, Tokens};
pub use world::{MediaMode, Parameters, Report, World};
