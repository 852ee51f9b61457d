//! One's own streams: published, changed, taken back.

use std::collections::{BTreeMap, BTreeSet};

use roomful_protocol::{
    ErrorCode, PublishRequest, PublishedTrack, RequestId, SourcePausedNotice, StreamInfo, UnpublishRequest,
    UpdateStreamRequest, limits,
};
use roomful_state::{Action, TrackId};
use roomful_types::{MediaKind, Mid, Rid, StreamId, StreamKey};

use crate::{
    client::Client,
    command::{AddStream, CommandError, CommandId, NewTrack, Reply, TrackUpdate, UpdateStream},
    media::MediaCommand,
    request::{Request, Undo},
};

/// Streams of one's own, and what is being done to them.
#[derive(Debug, Default)]
pub(crate) struct Publications {
    streams: BTreeMap<StreamKey, Publication>,
    changes: Vec<Change>,
    /// Streams whose key or tracks are still another's, which is on its way out.
    waiting: Vec<(CommandId, AddStream)>,
}

/// A stream, from the wish to publish it to its end.
#[derive(Debug, Default)]
struct Publication {
    stream_id: Option<StreamId>,
    tracks: BTreeMap<MediaKind, Sent>,
    /// What somebody takes; the rest is paused.
    taken: BTreeSet<(MediaKind, Rid)>,
    /// Whether the server was asked to take it back; until then nothing more is sent.
    is_ending: bool,
}

/// A track that a stream has.
#[derive(Debug, Clone, Copy)]
struct Sent {
    track: NewTrack,
    is_active: bool,
}

/// A publication or an update under way.
#[derive(Debug)]
struct Change {
    /// Who waits for it; nobody, once the command was withdrawn or ran out of time.
    command: Option<CommandId>,
    key: StreamKey,
    is_new_stream: bool,
    enabled: BTreeMap<MediaKind, bool>,
    tracks: Vec<Incoming>,
    request: Option<RequestId>,
}

/// A track on its way into a stream.
#[derive(Debug)]
struct Incoming {
    kind: MediaKind,
    track: NewTrack,
    /// The track whose section it got, known when it has one.
    replaces: Option<TrackId>,
    mid: Option<Mid>,
    first_timestamp: Option<u32>,
}

impl Incoming {
    const fn new(kind: MediaKind, track: NewTrack) -> Self {
        Self { kind, track, replaces: None, mid: None, first_timestamp: None }
    }
}

impl Publication {
    /// Returns which encodings of a track nobody takes.
    fn pauses(&self, kind: MediaKind, track: NewTrack) -> Vec<(Rid, bool)> {
        track.encodings().iter().map(|rid| (*rid, !self.taken.contains(&(kind, *rid)))).collect()
    }
}

impl Publications {
    /// Returns whether the server was asked to take a stream back.
    pub(crate) fn is_ending(&self, key: &StreamKey) -> bool {
        self.streams.get(key).is_some_and(|publication| publication.is_ending)
    }

    /// Panics when more waits than may.
    pub(crate) fn check_invariants(&self) {
        let waiting = self.changes.len() + self.waiting.len();
        assert!(waiting <= limits::ANSWERS_MAX, "changes of publications: {waiting}");
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.changes.is_empty() && self.waiting.is_empty()
    }

    /// Returns whether a stream is on its way out.
    fn is_going(&self, key: &StreamKey) -> bool {
        let is_withdrawn =
            |change: &Change| change.is_new_stream && change.command.is_none() && change.key == *key;
        self.streams.get(key).is_some_and(|stream| stream.is_ending) || self.changes.iter().any(is_withdrawn)
    }

    /// Returns whether something waits for sections or for the media path.
    pub(crate) fn await_media(&self) -> bool {
        self.changes.iter().any(Change::awaits_media)
    }
}

impl Change {
    fn awaits_media(&self) -> bool {
        self.tracks.iter().any(|incoming| incoming.first_timestamp.is_none())
    }

    fn published(&self, kind: MediaKind) -> Option<PublishedTrack> {
        let incoming = self.tracks.iter().find(|incoming| incoming.kind == kind)?;
        let (mid, first_timestamp) = (incoming.mid?, incoming.first_timestamp?);
        let NewTrack { codec, simulcast, .. } = incoming.track;
        Some(PublishedTrack { mid, codec, first_timestamp, simulcast })
    }
}

impl Client {
    pub(crate) fn on_add_stream(&mut self, command: CommandId, add: AddStream) -> Result<(), CommandError> {
        let waiting = self.publications.waiting.iter().map(|(_, waiting)| waiting);
        for other in waiting {
            if other.key == add.key {
                return Err(CommandError::KeyInUse);
            }
            if other.tracks().any(|(_, one)| add.tracks().any(|(_, track)| track.track == one.track)) {
                return Err(CommandError::TrackInUse);
            }
        }
        match self.is_free(&add)? {
            true => self.begin_stream(command, add),
            // One that is on its way out makes room in a moment.
            false => self.publications.waiting.push((command, add)),
        }
        Ok(())
    }

    /// Returns whether a stream can begin at once; an error when it cannot begin at all.
    fn is_free(&self, add: &AddStream) -> Result<bool, CommandError> {
        let is_going = |key: &StreamKey| self.publications.is_going(key);
        let is_coming = |change: &Change| change.is_new_stream && change.key == add.key;
        let is_key_used = self.publications.streams.contains_key(&add.key)
            || self.publications.changes.iter().any(is_coming);
        if is_key_used && !is_going(&add.key) {
            return Err(CommandError::KeyInUse);
        }
        let mut is_free = !is_key_used;
        for (kind, track) in add.tracks() {
            self.check_track(kind, track, is_going)?;
            is_free &= self.check_track(kind, track, |_| false).is_ok();
        }
        check_distinct(add.tracks().map(|(_, track)| track))?;
        Ok(is_free)
    }

    fn begin_stream(&mut self, command: CommandId, add: AddStream) {
        let tracks: Vec<Incoming> = add.tracks().map(|(kind, track)| Incoming::new(kind, track)).collect();
        self.publications.streams.insert(add.key.clone(), Publication::default());
        self.publications.changes.push(Change {
            command: Some(command),
            key: add.key,
            is_new_stream: true,
            enabled: tracks.iter().map(|incoming| (incoming.kind, true)).collect(),
            tracks,
            request: None,
        });
        self.advance();
    }

    /// Begins the streams that others have made room for.
    fn begin_waiting(&mut self) {
        for (command, add) in std::mem::take(&mut self.publications.waiting) {
            match self.is_free(&add) {
                Ok(true) => self.begin_stream(command, add),
                Ok(false) => self.publications.waiting.push((command, add)),
                // The server did not let it go.
                Err(error) => self.finish(Some(command), Err(error)),
            }
        }
    }

    pub(crate) fn on_update_stream(
        &mut self,
        command: CommandId,
        update: UpdateStream,
    ) -> Result<(), CommandError> {
        let publication = self.publications.streams.get(&update.key);
        let publication = publication.filter(|publication| publication.stream_id.is_some());
        let current = publication.ok_or(CommandError::UnknownStream)?.tracks.clone();
        let mut enabled = BTreeMap::new();
        let mut tracks = Vec::new();
        for (kind, wish) in [(MediaKind::Audio, update.audio), (MediaKind::Video, update.video)] {
            let sent = current.get(&kind).map(|sent| sent.track.track);
            match wish {
                TrackUpdate::Keep => {}
                TrackUpdate::Mute => {
                    enabled.insert(kind, false);
                }
                TrackUpdate::Replace(track) => {
                    enabled.insert(kind, true);
                    if sent != Some(track.track) {
                        self.check_track(kind, track, |_| false)?;
                        tracks.push(Incoming::new(kind, track));
                    } else {
                        self.check_track(kind, track, |key| *key == update.key)?;
                    }
                }
            }
        }
        check_distinct(tracks.iter().map(|incoming| incoming.track))?;
        for (kind, _) in enabled.iter().filter(|(_, enabled)| !**enabled) {
            // Before the server hears of it: muting must not depend on a round trip.
            self.set_active(&update.key, *kind, false);
        }
        self.publications.changes.push(Change {
            command: Some(command),
            key: update.key,
            is_new_stream: false,
            enabled,
            tracks,
            request: None,
        });
        self.advance();
        Ok(())
    }

    pub(crate) fn on_remove_stream(
        &mut self,
        command: CommandId,
        key: StreamKey,
    ) -> Result<(), CommandError> {
        let publication = self.publications.streams.get(&key).ok_or(CommandError::UnknownStream)?;
        if publication.stream_id.is_none() {
            return Err(CommandError::UnknownStream);
        }
        self.unpublish(Some(command), key);
        Ok(())
    }

    /// Sends what became ready: opens tracks when there are sections, asks the server when all tracks are open.
    pub(crate) fn advance_publications(&mut self) {
        self.begin_waiting();
        let mut changes = std::mem::take(&mut self.publications.changes);
        let mut busy = BTreeSet::new();
        for change in &mut changes {
            // A stream's changes one after the other: each builds on what the one before leaves.
            if !busy.insert(change.key.clone()) || change.request.is_some() {
                continue;
            }
            for incoming in change.tracks.iter_mut().filter(|incoming| incoming.mid.is_none()) {
                if !self.negotiation.is_connected() {
                    continue;
                }
                let NewTrack { track, codec, simulcast } = incoming.track;
                let publication = self.publications.streams.get(&change.key);
                let sent = publication.and_then(|publication| publication.tracks.get(&incoming.kind));
                incoming.replaces = sent.map(|sent| sent.track.track);
                let handed = incoming.replaces.and_then(|from| self.negotiation.hand_over(from, track));
                let free = || self.negotiation.take_sender(incoming.kind, track);
                incoming.mid = handed.or_else(free);
                if let Some(mid) = incoming.mid {
                    let stream = change.key.clone();
                    self.media(MediaCommand::OpenSender { track, mid, codec, stream, simulcast });
                }
            }
            if !change.awaits_media() {
                self.send_change(change);
            }
        }
        self.publications.changes = changes;
    }

    pub(crate) fn on_sender_opened(&mut self, track: TrackId, first_timestamp: u32) {
        let mut incoming = self.publications.changes.iter_mut().flat_map(|change| &mut change.tracks);
        let is_this = |incoming: &&mut Incoming| incoming.track.track == track && incoming.mid.is_some();
        if let Some(incoming) = incoming.find(is_this) {
            incoming.first_timestamp = Some(first_timestamp);
            self.advance();
        }
    }

    /// Takes the answer to a publication or an update.
    pub(crate) fn on_change_answered(&mut self, request: RequestId, result: Result<Reply, ErrorCode>) {
        let is_this = |change: &Change| change.request == Some(request);
        let Some(index) = self.publications.changes.iter().position(is_this) else { return };
        let change = self.publications.changes.remove(index);
        let is_there = self.publications.streams.contains_key(&change.key);
        match result {
            Ok(_) if change.is_new_stream && change.command.is_none() => {
                for incoming in &change.tracks {
                    self.close_sender(incoming.track.track);
                }
                self.unpublish(None, change.key);
            }
            Ok(reply) if is_there => {
                self.commit(&change);
                self.finish(change.command, Ok(reply));
            }
            Ok(_) => {
                self.undo(&change);
                self.finish(change.command, Err(CommandError::UnknownStream));
            }
            Err(code) => {
                self.undo(&change);
                if code == ErrorCode::RateLimited {
                    // Whoever wanted to be silent is: what others are told must follow.
                    let muted = change.enabled.iter().filter(|(_, enabled)| !**enabled);
                    let muted = muted.map(|(kind, _)| Undo::Track(change.key.clone(), *kind));
                    self.refused.extend(muted);
                }
                self.finish(change.command, Err(CommandError::Refused(code)));
            }
        }
        self.advance();
    }

    /// Tells once more that a track is muted, unless it is not any more.
    pub(crate) fn mute_again(&mut self, key: StreamKey, kind: MediaKind) {
        let publication = self.publications.streams.get(&key);
        let sent = publication.and_then(|publication| publication.tracks.get(&kind));
        let is_unmuted_next = self
            .publications
            .changes
            .iter()
            .any(|next| next.key == key && next.enabled.get(&kind) == Some(&true));
        if is_unmuted_next {
            // That may come to nothing, too.
            return self.refused.push(Undo::Track(key, kind));
        }
        if sent.is_some_and(|sent| !sent.is_active) {
            let (command, tracks, request) = (None, Vec::new(), None);
            let enabled = BTreeMap::from([(kind, false)]);
            self.publications.changes.push(Change {
                command,
                key,
                is_new_stream: false,
                enabled,
                tracks,
                request,
            });
            self.advance();
        }
    }

    /// Takes the answer to the wish to take a stream back. That it is gone was told by a notice.
    pub(crate) fn on_unpublish_answered(
        &mut self,
        command: Option<CommandId>,
        key: &StreamKey,
        result: Result<Reply, ErrorCode>,
    ) {
        if let Err(code) = result
            && code != ErrorCode::UnknownStream
            && let Some(publication) = self.publications.streams.get_mut(key)
        {
            publication.is_ending = false;
            for (kind, sent) in publication.tracks.clone() {
                self.set_active(key, kind, sent.is_active);
            }
        }
        self.finish(command, result.map_err(CommandError::Refused));
        self.advance();
    }

    /// Enters one's own new stream into the state, with its tracks.
    pub(crate) fn local_tracks(&mut self, info: &StreamInfo) -> (Option<TrackId>, Option<TrackId>) {
        let Some(publication) = self.publications.streams.get_mut(&info.key) else { return (None, None) };
        publication.stream_id = Some(info.id);
        let change =
            self.publications.changes.iter().find(|change| change.is_new_stream && change.key == info.key);
        let track = |kind| {
            let mut tracks = change.iter().flat_map(|change| &change.tracks);
            tracks.find(|incoming| incoming.kind == kind).map(|incoming| incoming.track.track)
        };
        (track(MediaKind::Audio), track(MediaKind::Video))
    }

    pub(crate) fn on_source_paused(&mut self, notice: &SourcePausedNotice) {
        let mut streams = self.publications.streams.values_mut();
        let stream = streams.find(|stream| stream.stream_id == Some(notice.stream_id));
        let Some(publication) = stream else { return };
        let SourcePausedNotice { kind, rid, paused, .. } = *notice;
        match paused {
            true => publication.taken.remove(&(kind, rid)),
            false => publication.taken.insert((kind, rid)),
        };
        if let Some(sent) = publication.tracks.get(&kind).filter(|sent| sent.track.encodings().contains(&rid))
        {
            let track = sent.track.track;
            self.media(MediaCommand::SetPaused { track, rid, paused });
        }
    }

    /// Forgets a stream of one's own that ended.
    pub(crate) fn on_own_stream_ended(&mut self, id: StreamId) {
        let mut streams = self.publications.streams.iter();
        let Some((key, _)) = streams.find(|(_, stream)| stream.stream_id == Some(id)) else { return };
        let key = key.clone();
        let publication = self.publications.streams.remove(&key).unwrap_or_default();
        for sent in publication.tracks.values() {
            self.close_sender(sent.track.track);
        }
    }

    /// Gives up whatever waits for media.
    pub(crate) fn fail_waiting_publications(&mut self, error: CommandError) {
        let (waiting, rest): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut self.publications.changes).into_iter().partition(Change::awaits_media);
        self.publications.changes = rest;
        for change in waiting {
            self.undo(&change);
            self.finish(change.command, Err(error));
        }
    }

    /// Nobody waits for a command any more. Returns what to report, had somebody waited.
    pub(crate) fn abandon_change(&mut self, command: CommandId) -> Option<CommandError> {
        if let Some(index) = self.publications.waiting.iter().position(|(waiting, _)| *waiting == command) {
            self.publications.waiting.remove(index);
            return Some(CommandError::TimedOut);
        }
        let is_this = |change: &Change| change.command == Some(command);
        let index = self.publications.changes.iter().position(is_this)?;
        let change = &mut self.publications.changes[index];
        if change.request.is_some() {
            change.command = None;
            return Some(CommandError::TimedOut);
        }
        let mut change = self.publications.changes.remove(index);
        self.undo(&change);
        // Whoever wanted to be silent is: what others are told must follow, even if nobody waits for it.
        change.enabled.retain(|_, enabled| !*enabled);
        if !change.enabled.is_empty() {
            change.command = None;
            change.tracks.clear();
            self.publications.changes.insert(index, change);
        }
        self.advance();
        Some(CommandError::MediaUnreachable)
    }

    fn send_change(&mut self, change: &mut Change) {
        let (key, audio, video) =
            (change.key.clone(), change.published(MediaKind::Audio), change.published(MediaKind::Video));
        let enabled = |kind| change.enabled.get(&kind).copied();
        let (audio_enabled, video_enabled) = (enabled(MediaKind::Audio), enabled(MediaKind::Video));
        let request = self.request(Request::Change, |request| match change.is_new_stream {
            true => PublishRequest { request, key, audio, video }.into(),
            false => UpdateStreamRequest { request, key, audio_enabled, video_enabled, audio, video }.into(),
        });
        change.request = Some(request);
    }

    /// Makes a change that the server accepted one's own.
    fn commit(&mut self, change: &Change) {
        for incoming in &change.tracks {
            let Some(publication) = self.publications.streams.get_mut(&change.key) else { break };
            if !incoming.track.simulcast {
                // Of encodings that are not offered nobody hears any more.
                let is_offered = |(kind, rid): &(MediaKind, Rid)| *kind != incoming.kind || *rid == Rid::High;
                publication.taken.retain(is_offered);
            }
            publication.tracks.insert(incoming.kind, Sent { track: incoming.track, is_active: false });
            let (stream, kind, track) = (publication.stream_id, incoming.kind, incoming.track.track);
            for (rid, paused) in publication.pauses(kind, incoming.track) {
                self.media(MediaCommand::SetPaused { track, rid, paused });
            }
            if let Some(replaced) = incoming.replaces {
                self.close_sender(replaced);
            }
            if let Some(stream) = stream.filter(|_| !change.is_new_stream) {
                self.apply(Action::TrackReplaced { stream, kind, track });
            }
        }
        for (kind, enabled) in &change.enabled {
            let is_muted_next = self.publications.changes.iter().any(|next| {
                // What was muted meanwhile must not be heard for the time of a round trip.
                next.key == change.key && next.enabled.get(kind) == Some(&false)
            });
            self.set_active(&change.key, *kind, *enabled && !is_muted_next);
        }
    }

    /// Puts back what a change that came to nothing had begun. A track muted on the way stays silent.
    fn undo(&mut self, change: &Change) {
        for incoming in change.tracks.iter().filter(|incoming| incoming.mid.is_some()) {
            let publication = self.publications.streams.get(&change.key);
            let sent = publication.and_then(|publication| publication.tracks.get(&incoming.kind)).copied();
            let new = incoming.track.track;
            let mid = sent.and_then(|sent| self.negotiation.hand_over(new, sent.track.track));
            self.close_sender(new);
            if let (Some(Sent { track: old, is_active }), Some(mid)) = (sent, mid) {
                let NewTrack { track, codec, simulcast } = old;
                let stream = change.key.clone();
                let pauses = self.publications.streams.get(&stream).map(|one| one.pauses(incoming.kind, old));
                self.media(MediaCommand::OpenSender { track, mid, codec, stream, simulcast });
                for (rid, paused) in pauses.unwrap_or_default() {
                    self.media(MediaCommand::SetPaused { track, rid, paused });
                }
                self.set_active(&change.key, incoming.kind, is_active);
            }
        }
        if change.is_new_stream {
            self.publications.streams.remove(&change.key);
        }
    }

    pub(crate) fn unpublish(&mut self, command: Option<CommandId>, key: StreamKey) {
        if let Some(publication) = self.publications.streams.get_mut(&key) {
            publication.is_ending = true;
            for sent in publication.tracks.clone().into_values() {
                self.media(MediaCommand::SetActive { track: sent.track.track, active: false });
            }
        }
        let what = Request::Unpublish(command, key.clone());
        self.request(what, |request| UnpublishRequest { request, key }.into());
    }

    fn set_active(&mut self, key: &StreamKey, kind: MediaKind, active: bool) {
        let Some(publication) = self.publications.streams.get_mut(key) else { return };
        if let Some(sent) = publication.tracks.get_mut(&kind) {
            sent.is_active = active;
            let (track, active) = (sent.track.track, active && !publication.is_ending);
            self.media(MediaCommand::SetActive { track, active });
        }
    }

    fn close_sender(&mut self, track: TrackId) {
        self.negotiation.release_sender(track);
        self.media(MediaCommand::CloseSender { track });
    }

    /// Checks that a track is of the kind that it is given as, and in no stream but those that do not matter.
    fn check_track(
        &self,
        kind: MediaKind,
        track: NewTrack,
        matters_not: impl Fn(&StreamKey) -> bool,
    ) -> Result<(), CommandError> {
        if track.codec.kind() != kind {
            return Err(CommandError::WrongKind);
        }
        let streams = self.publications.streams.iter().filter(|(key, _)| !matters_not(key));
        let mut sent = streams.flat_map(|(_, stream)| stream.tracks.values()).map(|sent| sent.track.track);
        let changes = self.publications.changes.iter();
        let coming = changes.filter(|change| !change.is_new_stream || !matters_not(&change.key));
        let mut coming = coming.flat_map(|change| &change.tracks);
        let is_used = sent.any(|id| id == track.track) || coming.any(|one| one.track.track == track.track);
        if is_used { Err(CommandError::TrackInUse) } else { Ok(()) }
    }
}

/// Checks that no track is given twice.
fn check_distinct(tracks: impl Iterator<Item = NewTrack>) -> Result<(), CommandError> {
    let mut seen = BTreeSet::new();
    let is_distinct = tracks.map(|track| track.track).all(|track| seen.insert(track));
    if is_distinct { Ok(()) } else { Err(CommandError::TrackInUse) }
}
