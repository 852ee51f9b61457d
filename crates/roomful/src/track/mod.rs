//! Tracks: where encoded frames go into a room and come out of it.

mod local;
mod remote;

pub(crate) use local::{Attachment, Wake};
pub use local::{Frame, LocalTrack, TrackRequest, TrackWriter, VideoTrackOptions};
pub(crate) use remote::{Feed, Pushed};
pub use remote::{RemoteFrame, RemoteTrack, TrackReport};

/// What a stream is published with.
#[derive(Debug, Clone, Default)]
pub struct Tracks {
    /// Its audio, if any.
    pub audio: Option<LocalTrack>,
    /// Its video, if any.
    pub video: Option<LocalTrack>,
}

/// What becomes of the tracks of a stream.
#[derive(Debug, Clone, Default)]
pub struct TracksUpdate {
    /// What becomes of its audio.
    pub audio: TrackUpdate,
    /// What becomes of its video.
    pub video: TrackUpdate,
}

/// What becomes of one track.
#[derive(Debug, Clone, Default)]
pub enum TrackUpdate {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is muted: nothing is sent, subscriptions stay.
    Mute,
    /// This one is sent from now on. Giving the track that is there already unmutes it.
    Replace(LocalTrack),
}

/// What a subscription brings.
#[derive(Debug, Default)]
pub struct RemoteTracks {
    /// The audio, if it was asked for.
    pub audio: Option<RemoteTrack>,
    /// The video, if it was asked for.
    pub video: Option<RemoteTrack>,
}
