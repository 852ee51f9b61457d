//! Real-time video rooms for native Rust programs: bots, recorders, robots, agents and applications.
//!
//! A [`Room`] is joined with a client token. In it, this program is one participant among others: it publishes *streams*, each
//! with an audio track, a video track or both, and subscribes to streams of others. Tracks carry **encoded frames**; the room does
//! not encode or decode. The room tells what happens by [events](Room::events), each with an immutable [`State`].
//!
//! It deliberately captures, encodes, decodes and plays nothing, and it starts nothing that the caller did not start:
//! [`Room::new`] does no I/O, [`Room::connect`] starts one task on the caller's tokio runtime, and [`Room::disconnect`], or dropping
//! the last handle, ends it.
//!
//! ```no_run
//! use roomful::{Room, RoomOptions, SubscriptionConfig};
//!
//! # async fn example(room_id: roomful::RoomId, client_token: String) -> Result<(), roomful::Error> {
//! let room = Room::new(RoomOptions::new("http://127.0.0.1:7070", room_id, client_token));
//! room.connect().await?;
//! for stream in room.state().streams() {
//!     let tracks = room.add_subscription(stream.participant_id, &stream.key, SubscriptionConfig::default()).await?;
//!     if let Some(mut video) = tracks.video {
//!         tokio::spawn(async move {
//!             while let Some(frame) = video.recv().await {
//!                 println!("{} bytes at {:?}", frame.data.len(), frame.media_time);
//!             }
//!         });
//!     }
//! }
//! # Ok(()) }
//! ```

mod clock;
mod driver;
mod error;
mod events;
pub mod file;
pub mod network;
mod options;
mod room;
mod signal;
mod stats;
mod track;
mod transport;

pub use error::{Error, ErrorKind};
pub use events::{EventName, Events, Unsubscribe};
pub use options::{NetworkMetricsOptions, RoomOptions, SubscriptionConfig};
pub use room::Room;
pub use roomful_media::PeerStats;
pub use roomful_state::{
    Connection, Direction, Event, EventKind, Fault, LeaveReason, Message, MessageKind, NetworkMetrics,
    Origin, Participant, ParticipantMetrics, Quality, State, Status, Stream, StreamIds, StreamMetrics,
    Subscription, TrackId, TrackMetrics,
};
pub use roomful_types::{
    AudioLevel, Bitrate, Codec, DisconnectReason, Fingerprint, InvalidId, MediaKind, ParticipantId, Rid,
    RoomId, StreamId, StreamKey,
};
pub use stats::{
    InboundAudioStats, InboundVideoStats, OutboundAudioStats, OutboundVideoStats, Receivers, Senders,
    WebRtcStats,
};
pub use track::{
    Frame, LocalTrack, RemoteFrame, RemoteTrack, RemoteTracks, TrackReport, TrackRequest, TrackUpdate,
    TrackWriter, Tracks, TracksUpdate, VideoTrackOptions,
};

/// The README's example, compiled with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
