//! Whole rooms on virtual time.

#[cfg(feature = "sdk")]
pub mod contract;
mod faults;
mod link;
mod media;
#[cfg(feature = "sdk")]
pub mod sdk;
mod server;
mod timeline;
mod tokens;

pub use faults::{Answer, Faults, Script};
pub use link::{Link, LinkConfig};
pub use media::{Media, MediaInput, MediaOutput};
pub use server::{Input, Output, ServerMachine};
pub use timeline::Timeline;
pub use tokens::{TokenRequest, Tokens};
