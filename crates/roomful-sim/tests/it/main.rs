//! Rooms of the SDK against the fake server, on a paused clock.

mod faults;
mod sdk;
