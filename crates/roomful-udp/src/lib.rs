//! A UDP socket that receives and sends many datagrams per system call: GRO and GSO where the kernel has them, the same
//! results without them elsewhere.
//!
//! It deliberately knows nothing of what the datagrams hold. Both shells that talk UDP, the SDK and the server, stand on it.

mod batch;
mod socket;

pub use batch::Batch;
pub use socket::{Arrival, Socket, local_addresses};

#[cfg(test)]
mod tests;
