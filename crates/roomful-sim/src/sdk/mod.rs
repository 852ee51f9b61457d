//! Rooms of the SDK against a fake server, on tokio's clock. With the clock paused, a stay of minutes takes milliseconds.
//!
//! ```
//! use std::time::Duration;
//! use roomful_sim::{LinkConfig, sdk::{FakeServer, FakeServerConfig}};
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
//! runtime.expect("a runtime").block_on(async {
//!     let server = FakeServer::start(FakeServerConfig::default());
//!     let network = server.network(LinkConfig { loss: 0.2, ..LinkConfig::delayed(Duration::from_millis(40)) });
//!     let room = server.room("alice", &network);
//!     room.connect().await.expect("joins");
//!     assert_eq!(room.state().participants().len(), 1);
//! });
//! ```

mod hub;
mod network;
mod server;

pub use network::FakeNetwork;
pub use server::{FakeServer, FakeServerConfig};
