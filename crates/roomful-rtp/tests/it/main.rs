//! Laws of the public API.

mod rewriting;
mod round_trip;
