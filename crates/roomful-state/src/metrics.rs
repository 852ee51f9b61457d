//! How well networks do, as a room's application sees it.

use std::collections::BTreeMap;

use roomful_types::{MediaKind, ParticipantId, StreamKey};

/// The participants that a report is about.
pub type NetworkMetrics = BTreeMap<ParticipantId, ParticipantMetrics>;

/// How one participant's network does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantMetrics {
    /// The worst of its directions, by what was measured over the last interval.
    pub connection_quality: Quality,
    /// The streams that it sends and takes, when the report was asked to tell.
    pub streams: Option<BTreeMap<(ParticipantId, StreamKey), StreamMetrics>>,
}

/// How the tracks of one stream do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamMetrics {
    /// Its audio, when there is any on the way.
    pub audio: Option<TrackMetrics>,
    /// Its video, when there is any on the way.
    pub video: Option<TrackMetrics>,
}

impl StreamMetrics {
    /// Returns the place of one kind.
    pub const fn of_mut(&mut self, kind: MediaKind) -> &mut Option<TrackMetrics> {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }
}

/// How one track does on its way between a participant and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackMetrics {
    /// Which way it goes, seen from the participant.
    pub direction: Direction,
    /// How well it does.
    pub quality: Quality,
}

/// Which way media goes, seen from the participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the server.
    Outbound,
    /// From the server.
    Inbound,
}

/// How well something does. `docs/network-metrics.md` has the formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Nothing gets through.
    Broken,
    /// Hardly of use.
    Bad,
    /// Impaired for most.
    Poor,
    /// Impaired for some.
    Fair,
    /// Slightly impaired.
    Good,
    /// Not impaired.
    Excellent,
}

impl Quality {
    /// All six, worst first; the index of each is its number in the Room contract.
    pub const ALL: [Self; 6] = [Self::Broken, Self::Bad, Self::Poor, Self::Fair, Self::Good, Self::Excellent];
}
