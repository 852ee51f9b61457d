//! A participant's media: faked, or real over the emulated network.

mod faked;
mod real;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use roomful_client::{MediaCommand, MediaNotice, MediaTransport};
use roomful_sfu::SourcePacket;
use roomful_state::TrackId;
use roomful_types::{MediaKind, Mid, Rid};

use super::{frames::Tag, parameters::MediaMode};
pub(super) use faked::FakedTransport;
pub(super) use real::RealTransport;

/// The media of one participant.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) way: Way,
    tags: BTreeMap<TrackId, Tag>,
    /// Kinds whose frames are being sent.
    running: BTreeSet<MediaKind>,
    /// Kinds whose frames are to be sent from now on.
    starting: VecDeque<MediaKind>,
}

/// How it reaches the server.
#[derive(Debug)]
pub(super) enum Way {
    Faked(Box<FakedTransport>),
    Real(Box<RealTransport>),
}

impl Transport {
    /// Makes the media of a participant who sends from `address`.
    pub(super) fn new(mode: MediaMode, address: SocketAddr, now: Instant) -> Self {
        let way = match mode {
            MediaMode::Faked => Way::Faked(Box::default()),
            MediaMode::Real => Way::Real(Box::new(RealTransport::new(address, now))),
        };
        Self { way, tags: BTreeMap::new(), running: BTreeSet::new(), starting: VecDeque::new() }
    }

    /// Says whose frames a track has.
    pub(super) fn tag(&mut self, track: TrackId, tag: Tag) {
        self.tags.insert(track, tag);
    }

    /// Returns the kinds whose frames are to be sent from now on.
    pub(super) fn take_starting(&mut self) -> Option<MediaKind> {
        self.starting.pop_front()
    }

    pub(super) fn stopped(&mut self, kind: MediaKind) {
        self.running.remove(&kind);
    }

    pub(super) fn has_senders(&self, kind: MediaKind) -> bool {
        match &self.way {
            Way::Faked(faked) => faked.has_senders(kind),
            Way::Real(real) => real.has_senders(kind),
        }
    }

    /// Sends the frames of one kind that are due now; faked ones are returned.
    pub(super) fn send_frames(&mut self, kind: MediaKind, now: Instant) -> Vec<(Mid, Rid, SourcePacket)> {
        match &mut self.way {
            Way::Faked(faked) => faked.frames(kind, &self.tags),
            Way::Real(real) => {
                real.send_frames(kind, &self.tags, now);
                Vec::new()
            }
        }
    }

    /// Returns when to let time pass.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.way {
            Way::Faked(_) => None,
            Way::Real(real) => real.deadline(),
        }
    }
}

impl MediaTransport for Transport {
    fn handle_command(&mut self, command: MediaCommand, now: Instant) {
        if let MediaCommand::OpenSender { codec, .. } = &command
            && self.running.insert(codec.kind())
        {
            self.starting.push_back(codec.kind());
        }
        match &mut self.way {
            Way::Faked(faked) => faked.handle_command(command, now),
            Way::Real(real) => real.handle_command(command, now),
        }
    }

    fn poll_notice(&mut self) -> Option<MediaNotice> {
        match &mut self.way {
            Way::Faked(faked) => faked.poll_notice(),
            Way::Real(real) => real.poll_notice(),
        }
    }
}
