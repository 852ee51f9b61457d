//! What one participant saw, and whether it may.

#![expect(clippy::wildcard_enum_match_arm, reason = "an observer looks at a few of many events")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use roomful_client::{Command, CommandId};
use roomful_state::{Event, EventKind, State, Stream, TrackId};
use roomful_types::{DisconnectReason, MediaKind, ParticipantId, StreamKey};

use super::{frames::Owner, model::Model};

type Name = (ParticipantId, StreamKey);

/// The observer of one participant.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// By when each call must have an answer.
    pending: BTreeMap<CommandId, Instant>,
    withdrawn: BTreeSet<CommandId>,
    /// The room as the events alone tell it.
    participants: BTreeSet<ParticipantId>,
    streams: BTreeMap<Name, Flags>,
    subscriptions: BTreeSet<Name>,
    leaving: Option<ParticipantId>,
    is_lost: bool,
    messages: Vec<String>,
    /// Where somebody is heard, and since when.
    speaking: BTreeMap<(ParticipantId, Option<StreamKey>), Instant>,
    dominant: Option<ParticipantId>,
    /// Whose frames came on a track first: all others must be the same one's.
    owners: BTreeMap<TrackId, Owner>,
    latest: BTreeMap<(Name, MediaKind), Instant>,
}

/// Whether sound and picture are enabled and censored.
type Flags = [(bool, bool); 2];

fn flags(stream: &Stream) -> Flags {
    MediaKind::ALL.map(|kind| (stream.is_enabled(kind), stream.is_censored(kind)))
}

fn streams(state: &State) -> BTreeMap<Name, Flags> {
    state.streams().map(|one| ((one.participant_id, one.key.clone()), flags(one))).collect()
}

/// How long somebody is heard at once when nothing goes wrong: what frames have of speech, and what ends and ways take.
const SPEECH_MAX: Duration = Duration::from_secs(5);

/// What a call may take beyond its deadline: an answer that is there at the deadline counts.
const SLACK: Duration = Duration::from_secs(1);

impl Watch {
    pub(super) fn on_command(&mut self, id: CommandId, command: &Command, now: Instant) {
        let timeout = match command {
            Command::Connect(_) => Duration::from_secs(30),
            Command::Disconnect => Duration::from_secs(2),
            Command::AddStream(_)
            | Command::UpdateStream(_)
            | Command::RemoveStream(_)
            | Command::AddSubscription(_)
            | Command::UpdateSubscription(_)
            | Command::RemoveSubscription(..)
            | Command::SendMessage(_)
            | Command::UpdateToken(_)
            | Command::EnableMetrics(_)
            | Command::DisableMetrics(_) => Duration::from_secs(10),
        };
        self.pending.insert(id, now + timeout + SLACK);
    }

    pub(super) fn on_done(&mut self, id: CommandId, now: Instant) {
        assert!(!self.withdrawn.contains(&id), "a call is answered that was withdrawn");
        let until = self.pending.remove(&id).expect("a call is answered once");
        assert!(now <= until, "a call is answered after its deadline");
    }

    /// Notes that nobody waits for a call any more; false when it has its answer already.
    pub(super) fn withdraw(&mut self, id: CommandId) -> bool {
        self.pending.remove(&id).is_some() && self.withdrawn.insert(id)
    }

    pub(super) fn on_event(&mut self, event: &Event, now: Instant) {
        event.state.check_invariants();
        self.check_leaving(&event.kind);
        let is_new = match &event.kind {
            EventKind::Connected => {
                self.learn(&event.state);
                true
            }
            EventKind::Disconnected { .. } => {
                self.participants.clear();
                self.streams.clear();
                self.subscriptions.clear();
                self.messages.clear();
                self.speaking.clear();
                self.dominant = None;
                self.owners.clear();
                self.latest.clear();
                self.is_lost = false;
                true
            }
            EventKind::ParticipantJoined { participant } => self.participants.insert(*participant),
            EventKind::ParticipantLeft { participant } => self.participants.remove(participant),
            EventKind::StreamPublished { participant, key } => {
                let stream = event.state.participant_stream(*participant, key).expect("is in the state");
                self.streams.insert((*participant, key.clone()), flags(stream)).is_none()
            }
            EventKind::StreamUnpublished { participant, key } => {
                let is_heard = self.speaking.contains_key(&(*participant, Some(key.clone())));
                assert!(!is_heard, "what ended is heard");
                self.streams.remove(&(*participant, key.clone())).is_some()
            }
            EventKind::SubscriptionStarted { participant, key } => {
                self.subscriptions.insert((*participant, key.clone()))
            }
            EventKind::SubscriptionEnded { participant, key } => {
                self.subscriptions.remove(&(*participant, key.clone()))
            }
            EventKind::MessageReceived { message, .. } => {
                self.messages.push(message.payload.to_string());
                true
            }
            EventKind::TrackEnabled { participant, key, kind } => {
                self.told(participant, key, *kind, |flags| !std::mem::replace(&mut flags.0, true))
            }
            EventKind::TrackDisabled { participant, key, kind } => {
                self.told(participant, key, *kind, |flags| std::mem::replace(&mut flags.0, false))
            }
            EventKind::TrackCensored { participant, key, kind } => {
                self.told(participant, key, *kind, |flags| !std::mem::replace(&mut flags.1, true))
            }
            EventKind::TrackUncensored { participant, key, kind } => {
                self.told(participant, key, *kind, |flags| std::mem::replace(&mut flags.1, false))
            }
            EventKind::AudioActivity { participant, key } => {
                self.speaking.insert((*participant, key.clone()), now).is_none()
            }
            EventKind::AudioActivityEnded { participant, key } => {
                self.speaking.remove(&(*participant, key.clone())).is_some()
            }
            EventKind::DominantSpeakerChanged { participant } => {
                std::mem::replace(&mut self.dominant, *participant) != *participant
            }
            EventKind::Reconnecting => !std::mem::replace(&mut self.is_lost, true),
            EventKind::Reconnected => std::mem::replace(&mut self.is_lost, false),
            _ => true,
        };
        assert!(is_new, "{} twice, or of nothing: {:?}", event.name(), event.kind);
        if !matches!(event.kind, EventKind::StateChanged | EventKind::ParticipantLeaving { .. }) {
            self.compare(&event.state);
        }
    }

    /// A flag of a track is told. Returns whether that is news.
    fn told(
        &mut self,
        participant: &ParticipantId,
        key: &StreamKey,
        kind: MediaKind,
        change: impl FnOnce(&mut (bool, bool)) -> bool,
    ) -> bool {
        self.streams
            .get_mut(&(*participant, key.clone()))
            .is_some_and(|flags| change(&mut flags[usize::from(kind == MediaKind::Video)]))
    }

    /// A leave is one block: leaving, what ends with it, left.
    fn check_leaving(&mut self, kind: &EventKind) {
        let Some(leaving) = self.leaving else {
            match kind {
                EventKind::ParticipantLeaving { participant, .. }
                    if self.participants.contains(participant) =>
                {
                    self.leaving = Some(*participant);
                }
                EventKind::ParticipantLeft { .. }
                | EventKind::Disconnected { reason: DisconnectReason::Kicked } => {
                    panic!("{kind:?} without a leaving")
                }
                _ => {}
            }
            return;
        };
        match kind {
            EventKind::ParticipantLeft { participant } => {
                assert_eq!(*participant, leaving);
                self.leaving = None;
            }
            EventKind::StreamUnpublished { participant, .. }
            | EventKind::SubscriptionEnded { participant, .. } => assert_eq!(*participant, leaving),
            EventKind::StateChanged
            | EventKind::AudioActivityEnded { .. }
            | EventKind::DominantSpeakerChanged { .. } => {}
            // A kick of oneself.
            EventKind::Disconnected { .. } => self.leaving = None,
            other => panic!("{other:?} within a leave"),
        }
    }

    fn learn(&mut self, state: &State) {
        self.participants = state.participants().map(|one| one.id).collect();
        self.streams = streams(state);
        self.subscriptions = state.subscriptions().map(|one| (one.participant_id, one.key.clone())).collect();
    }

    /// The state that came with an event is what the events so far say.
    fn compare(&self, state: &State) {
        assert_eq!(self.participants, state.participants().map(|one| one.id).collect());
        assert_eq!(self.streams, streams(state));
        let taken = state.subscriptions().map(|one| (one.participant_id, one.key.clone()));
        assert_eq!(self.subscriptions, taken.collect());
    }

    /// A frame is shown on a track.
    pub(super) fn on_frame(&mut self, track: TrackId, owner: &Owner, now: Instant) {
        let known = self.owners.entry(track).or_insert_with(|| owner.clone());
        assert_eq!(known, owner, "a frame under another stream's name");
        self.latest.insert(((owner.publisher, owner.key.clone()), owner.kind), now);
    }

    /// A track is that of a subscription.
    pub(super) fn on_subscribed(&mut self, track: TrackId, name: &Name, kind: MediaKind) {
        let (publisher, key) = name.clone();
        let owner = Owner { publisher, key, kind };
        let known = self.owners.entry(track).or_insert_with(|| owner.clone());
        assert_eq!(*known, owner, "a frame under another stream's name");
    }

    /// Checks that nobody is heard for longer than anybody speaks.
    pub(super) fn check_speaking(&self, now: Instant) {
        for (who, since) in &self.speaking {
            assert!(now <= *since + SPEECH_MAX, "{who:?} is heard for {:?}", now - *since);
        }
    }

    pub(super) fn begin_recovery(&mut self) {
        self.latest.clear();
    }

    /// Checks that no call waits for longer than it may.
    pub(super) fn check_commands(&self, now: Instant) {
        for (id, until) in &self.pending {
            assert!(now <= *until, "{id:?} has no answer");
        }
    }

    /// Checks that what policy grants has come.
    pub(super) fn check_frames(&self, model: &Model, state: &State, since: Instant) {
        for one in state.subscriptions() {
            for (kind, wanted) in [(MediaKind::Audio, one.audio), (MediaKind::Video, one.video)] {
                let name = (one.participant_id, one.key.clone());
                if !wanted || one.is_paused || !model.flows(one.participant_id, &one.key, kind) {
                    continue;
                }
                let latest = self.latest.get(&(name.clone(), kind));
                assert!(
                    latest.is_some_and(|at| *at >= since),
                    "no {kind} of {name:?} after the network healed"
                );
            }
        }
    }

    /// Checks that every message came once and in order; whoever is there to the end got all.
    ///
    /// * `is_ordered`: whether the transport kept the order. One that does not loses what was overtaken; nothing comes twice all the same.
    pub(super) fn check_messages(&self, expected: Option<&Vec<String>>, is_there: bool, is_ordered: bool) {
        let Some(expected) = expected else { return };
        if !is_ordered {
            let all: BTreeSet<&String> = self.messages.iter().collect();
            assert_eq!(all.len(), self.messages.len(), "a message comes twice: {:?}", self.messages);
            return assert!(all.into_iter().all(|one| expected.contains(one)), "a message that nobody sent");
        }
        assert!(
            expected.starts_with(&self.messages),
            "messages as sent: {:?} of {expected:?}",
            self.messages
        );
        assert!(
            !is_there || self.messages.len() == expected.len(),
            "messages are missing: {:?} of {expected:?}",
            self.messages
        );
    }
}
