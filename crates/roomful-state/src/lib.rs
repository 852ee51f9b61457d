//! A room as one client sees it: an immutable snapshot, the actions that change it, and the events that tell of it.
//!
//! [`apply`] is total: any action is legal in any state, and a stale one changes nothing. It deliberately knows neither
//! the protocol that brings the news nor the media that flows, and it has no clock.
//!
//! ```
//! use roomful_state::{Action, State, Status, apply};
//!
//! let mut state = State::new();
//! let before = state.clone();
//! let mut events = Vec::new();
//! apply(&mut state, Action::Connecting, &mut events);
//! assert_eq!((before.status(), state.status()), (Status::Initialized, Status::Connecting));
//! assert_eq!(events[0].name(), "state_changed");
//! ```

mod action;
mod event;
mod ids;
mod metrics;
mod reducer;
mod state;

pub use action::Action;
pub use event::{Event, EventKind, Fault, LeaveReason, Message, MessageKind};
pub use ids::StreamIds;
pub use metrics::{Direction, NetworkMetrics, ParticipantMetrics, Quality, StreamMetrics, TrackMetrics};
pub use reducer::apply;
pub use state::{Connection, Origin, Participant, State, Status, Stream, Subscription, TrackId};

#[cfg(test)]
mod tests;
