//! The protocol from outside: its laws, and the vectors that other implementations check themselves against.

mod laws;
mod samples;
mod vectors;
