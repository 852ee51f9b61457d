//! The roomful room server: HTTP, WebSocket and UDP around the pure engines of `roomful-sfu`.
//!
//! [`Server::start`] brings everything up in the current tokio runtime, in one process and with nothing else to install. It is
//! three parts that talk over channels: the REST interface, the *control* task that owns the deciding engine, and the *shard*, a
//! thread with a UDP socket that owns the peers and the forwarding engine. It deliberately decides nothing itself.
//!
//! ```
//! use roomful_server::{Server, ServerConfig};
//!
//! # async fn run() -> Result<(), roomful_server::StartError> {
//! let config = ServerConfig::loopback("a-key-for-trying-out-only-0123456789");
//! let server = Server::start(config).await?;
//! println!("REST and signalling on http://{}", server.http_address());
//! server.stop().await;
//! # Ok(()) }
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
//! # runtime.expect("a runtime").block_on(run()).expect("loopback has free ports");
//! ```

mod admission;
mod clock;
mod config;
mod control;
mod error;
mod http;
mod live;
mod outgoing;
mod rest;
mod server;
mod shard;
mod signal;
mod store;
mod token;

/// What the fuzzer calls. Not for others.
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod fuzz {
    /// Returns whether a token would open a door; the key that signs is nobody's.
    #[must_use]
    pub fn accepts_token(token: &str) -> bool {
        let tokens = crate::token::TokenAuthority::new("fuzzing-only-0123456789abcdef0123456789");
        let now = 1_800_000_000_000;
        tokens.verify_access(token, now).is_ok() || tokens.verify_refresh(token, now).is_ok()
    }
}

pub use config::{InvalidConfig, QuicIdentity, ServerConfig};
pub use roomful_sfu::DuplicateIdentity;
pub use roomful_shard::ShardStats;
pub use server::{Server, StartError};
