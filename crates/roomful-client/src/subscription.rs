//! Streams of others: taken, changed, given back.

use std::collections::BTreeMap;

use roomful_protocol::{
    ErrorCode, LayerChangedNotice, RequestId, SlotBoundNotice, SlotMids, SubscribeRequest,
    UnsubscribeRequest, UpdateSubscriptionRequest, limits,
};
use roomful_state::{Action, Origin, Subscription, TrackId};
use roomful_types::{MediaKind, ParticipantId, Rid, StreamId, StreamKey};

use crate::{
    client::Client,
    command::{AddSubscription, CommandError, CommandId, NewTrack, Reply},
    media::MediaCommand,
    request::{Request, Undo},
};

type Name = (ParticipantId, StreamKey);

/// What is taken of others, and what is being done about it.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    taken: BTreeMap<Name, Taken>,
    waiting: Vec<Waiting>,
    updates: BTreeMap<RequestId, Update>,
    tracks_made: u64,
}

/// A subscription, from its request to the server to its end.
#[derive(Debug)]
struct Taken {
    stream_id: StreamId,
    slot: u16,
    /// Whether another one has the slot already, while this one ends.
    is_handed_over: bool,
    /// Whether another one ever had: its receivers are closed, so it can only end.
    was_handed_over: bool,
    /// Whether the server was asked to end it, and has not refused.
    is_asked: bool,
    mids: SlotMids,
    /// What is in force; while an update is under way, there are tracks for that too.
    wish: AddSubscription,
    tracks: BTreeMap<MediaKind, TrackId>,
    /// Where each track last began.
    bound: BTreeMap<MediaKind, (TrackId, SlotBoundNotice)>,
    /// The encoding in which the video comes.
    layer: Option<Rid>,
    /// Whether the server holds the video back because not everything gets through.
    is_starved: bool,
    progress: Progress,
}

impl Taken {
    /// Returns whether it ends as soon as the server has answered.
    const fn is_going(&self) -> bool {
        matches!(self.progress, Progress::Ending | Progress::Requested(_, None))
    }

    /// Returns whether its slot can be taken over.
    fn holds_what_is_given_back(&self) -> bool {
        self.progress == Progress::Ending && self.is_asked && !self.is_handed_over
    }

    /// Returns it as the application sees it.
    fn subscription(&self) -> Subscription {
        let AddSubscription { participant, key, audio, video, paused, preferred_layer, priority } =
            self.wish.clone();
        Subscription {
            participant_id: participant,
            key,
            audio,
            video,
            is_paused: paused || (self.is_starved && video),
            preferred_layer,
            priority,
            layer: self.layer,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Asked for, by a command that may have been withdrawn.
    Requested(RequestId, Option<CommandId>),
    /// Granted.
    Held,
    /// Given back. The slot is free when the server says so; who needs it before may be asked for on it all the same, because the server
    /// hears one after the other.
    Ending,
}

/// A subscription that waits for a slot or for the media path.
#[derive(Debug)]
struct Waiting {
    command: CommandId,
    wish: AddSubscription,
}

/// A change of what is taken.
#[derive(Debug)]
struct Update {
    command: Option<CommandId>,
    stream_id: StreamId,
    wish: AddSubscription,
}

impl Client {
    pub(crate) fn on_add_subscription(
        &mut self,
        command: CommandId,
        wish: AddSubscription,
    ) -> Result<(), CommandError> {
        let publisher = self.state.participant(wish.participant).ok_or(CommandError::UnknownParticipant)?;
        if publisher.origin == Origin::Local {
            return Err(CommandError::OwnStream);
        }
        if !publisher.streams.contains_key(&wish.key) {
            return Err(CommandError::UnknownStream);
        }
        let is_same =
            |other: &AddSubscription| (other.participant, &other.key) == (wish.participant, &wish.key);
        let taken = self.subscriptions.taken.get(&(wish.participant, wish.key.clone()));
        // One that is on its way out makes room in a moment.
        let is_taken = taken.is_some_and(|taken| !taken.is_going());
        if is_taken || self.subscriptions.waiting.iter().any(|waiting| is_same(&waiting.wish)) {
            return Err(CommandError::AlreadySubscribed);
        }
        let used = self.subscriptions.in_use();
        if used >= limits::SLOTS_MAX {
            return Err(CommandError::NoSlotFree(used));
        }
        self.subscriptions.waiting.push(Waiting { command, wish });
        self.advance();
        Ok(())
    }

    pub(crate) fn on_update_subscription(
        &mut self,
        command: CommandId,
        wish: AddSubscription,
    ) -> Result<(), CommandError> {
        let name = (wish.participant, wish.key.clone());
        let taken = self.subscriptions.taken.get(&name).filter(|taken| taken.progress == Progress::Held);
        let taken = taken.ok_or(CommandError::NotSubscribed)?;
        let (stream_id, mids, tracks) = (taken.stream_id, taken.mids, taken.tracks.clone());
        let new = MediaKind::ALL.into_iter().filter(|kind| wish.wants(*kind) && !tracks.contains_key(kind));
        // Before the server hears of it: media may overtake the answer.
        let opened: BTreeMap<MediaKind, TrackId> =
            new.map(|kind| (kind, self.open_receiver(kind, mids))).collect();
        if let Some(taken) = self.subscriptions.taken.get_mut(&name) {
            taken.tracks.extend(opened);
        }
        let request = self.request(Request::UpdateSubscription, |request| {
            let AddSubscription { participant, key, audio, video, paused, preferred_layer, priority } =
                wish.clone();
            UpdateSubscriptionRequest {
                request,
                participant_id: participant,
                key,
                audio,
                video,
                paused,
                preferred_layer,
                priority,
            }
            .into()
        });
        self.subscriptions.updates.insert(request, Update { command: Some(command), stream_id, wish });
        Ok(())
    }

    pub(crate) fn on_remove_subscription(
        &mut self,
        command: CommandId,
        name: Name,
    ) -> Result<(), CommandError> {
        let taken = self.subscriptions.taken.get(&name).filter(|taken| taken.progress == Progress::Held);
        taken.ok_or(CommandError::NotSubscribed)?;
        self.unsubscribe(Some(command), name);
        Ok(())
    }

    /// Asks the server for what has a slot now.
    pub(crate) fn advance_subscriptions(&mut self) {
        if !self.negotiation.is_connected() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.subscriptions.waiting).into_iter();
        for Waiting { command, wish } in waiting.by_ref() {
            let Some(stream) = self.state.participant_stream(wish.participant, &wish.key).map(|one| one.id)
            else {
                self.finish(Some(command), Err(CommandError::UnknownStream));
                continue;
            };
            if let Some(taken) = self.subscriptions.taken.get(&(wish.participant, wish.key.clone())) {
                match taken.is_going() {
                    true => self.subscriptions.waiting.push(Waiting { command, wish }),
                    // The server did not let it go.
                    false => self.finish(Some(command), Err(CommandError::AlreadySubscribed)),
                }
                continue;
            }
            let Some(slot) = self.negotiation.take_slot().or_else(|| self.take_over_slot()) else {
                self.negotiation.want_slots();
                self.subscriptions.waiting.push(Waiting { command, wish });
                break;
            };
            self.subscribe(command, wish, stream, slot);
        }
        self.subscriptions.waiting.extend(waiting);
    }

    pub(crate) fn on_subscribed(&mut self, request: RequestId, result: Result<Reply, ErrorCode>) {
        let is_this = |taken: &Taken| matches!(taken.progress, Progress::Requested(id, _) if id == request);
        let Some((name, taken)) = self.subscriptions.taken.iter_mut().find(|(_, taken)| is_this(taken))
        else {
            return;
        };
        let name = name.clone();
        let Progress::Requested(_, command) = taken.progress else { return };
        // The stream may be another one than at the time of the request, under the same name.
        let stream = self.state.participant_stream(name.0, &name.1).ok_or(CommandError::UnknownStream);
        let granted = result.map_err(CommandError::Refused).and(stream);
        match granted {
            Ok(stream) => taken.stream_id = stream.id,
            Err(error) => {
                self.drop_subscription(&name);
                self.finish(command, Err(error));
                return self.advance();
            }
        }
        if command.is_none() {
            return self.unsubscribe(None, name);
        }
        taken.progress = Progress::Held;
        let (is_held_back, stream_id) = (std::mem::take(&mut taken.is_starved), taken.stream_id);
        let track = |kind| taken.tracks.get(&kind).copied();
        let (audio_track, video_track) = (track(MediaKind::Audio), track(MediaKind::Video));
        let subscription = taken.subscription();
        self.apply(Action::SubscriptionStarted { subscription, audio_track, video_track });
        if is_held_back {
            // It was before it began, and is an event of its own all the same.
            self.on_layer_changed(&LayerChangedNotice { stream_id, rid: None });
        }
        self.finish(command, Ok(Reply::Subscribed { audio: audio_track, video: video_track }));
    }

    pub(crate) fn on_subscription_updated(&mut self, request: RequestId, result: Result<Reply, ErrorCode>) {
        let Some(update) = self.subscriptions.updates.remove(&request) else { return };
        let Update { command, stream_id, wish } = update;
        let name = (wish.participant, wish.key.clone());
        let taken = self.subscriptions.taken.get_mut(&name);
        let Some(taken) = taken.filter(|taken| taken.stream_id == stream_id) else {
            return self.finish(command, Err(CommandError::NotSubscribed));
        };
        if result.is_ok() {
            taken.wish = wish.clone();
        }
        let subscription = taken.subscription();
        let tracks = taken.tracks.clone();
        for track in self.subscriptions.take_unwanted_tracks(&name) {
            self.media(MediaCommand::CloseReceiver { track });
        }
        if let Err(code) = result {
            return self.finish(command, Err(CommandError::Refused(code)));
        }
        let track = |kind| tracks.get(&kind).copied().filter(|_| wish.wants(kind));
        let (audio_track, video_track) = (track(MediaKind::Audio), track(MediaKind::Video));
        self.apply(Action::SubscriptionReconfigured { subscription, audio_track, video_track });
        self.finish(command, Ok(Reply::Subscribed { audio: audio_track, video: video_track }));
    }

    /// The server gave the slot back, or there is nothing left to give back.
    pub(crate) fn on_unsubscribed(
        &mut self,
        command: Option<CommandId>,
        name: Name,
        stream_id: StreamId,
        result: Result<Reply, ErrorCode>,
    ) {
        // It may have ended with its stream meanwhile, and another one have begun.
        let is_this = |taken: &&mut Taken| taken.stream_id == stream_id;
        if let Some(taken) = self.subscriptions.taken.get_mut(&name).filter(is_this) {
            if let Err(code) = result
                && !is_over(code)
            {
                taken.is_asked = false;
                if taken.was_handed_over {
                    self.refused.push(Undo::Subscription(name, stream_id));
                    return self.finish(command, Err(CommandError::Refused(code)));
                }
                taken.progress = Progress::Held;
                self.finish(command, Err(CommandError::Refused(code)));
                if self.subscriptions.in_use() > limits::SLOTS_MAX
                    && let Some(Waiting { command, .. }) = self.subscriptions.waiting.pop()
                {
                    // There would have been no room for it.
                    self.finish(Some(command), Err(CommandError::NoSlotFree(limits::SLOTS_MAX)));
                }
                return self.advance();
            }
            self.apply(Action::SubscriptionEnded { participant: name.0, key: name.1.clone() });
            // One that was withdrawn before it was granted never was in the state.
            self.drop_subscription(&name);
        }
        self.finish(command, Ok(Reply::Done));
        self.advance();
    }

    pub(crate) fn on_slot_bound(&mut self, notice: SlotBoundNotice) {
        let is_this = |taken: &Taken| taken.slot == notice.slot && taken.stream_id == notice.stream_id;
        let mut all = self.subscriptions.taken.values_mut();
        let Some(taken) = all.find(|taken| is_this(taken)) else { return };
        let (stream, is_video) = (taken.stream_id, notice.kind == MediaKind::Video);
        if is_video {
            taken.layer = Some(notice.rid);
            taken.is_starved = false;
        }
        // A resume repeats what may be known.
        if let Some(track) = taken.tracks.get(&notice.kind).copied()
            && taken.bound.insert(notice.kind, (track, notice)) != Some((track, notice))
        {
            let SlotBoundNotice { codec, first_sequence, first_timestamp, .. } = notice;
            self.media(MediaCommand::BindReceiver { track, codec, first_sequence, first_timestamp });
        }
        if is_video {
            self.apply(Action::LayerChanged { stream, layer: Some(notice.rid) });
        }
    }

    /// The video of a subscription comes in another encoding, or in none for want of room.
    pub(crate) fn on_layer_changed(&mut self, notice: &LayerChangedNotice) {
        let LayerChangedNotice { stream_id: stream, rid: layer } = *notice;
        let mut all = self.subscriptions.taken.values_mut();
        let Some(taken) = all.find(|taken| taken.stream_id == stream) else { return };
        (taken.layer, taken.is_starved) = (layer, layer.is_none());
        self.apply(Action::LayerChanged { stream, layer });
    }

    /// Closes the tracks of a subscription that is over and frees its slot.
    pub(crate) fn drop_subscription(&mut self, name: &Name) {
        let Some(taken) = self.subscriptions.taken.remove(name) else { return };
        for track in taken.tracks.into_values() {
            self.media(MediaCommand::CloseReceiver { track });
        }
        if !taken.is_handed_over && !self.subscriptions.hand_back(taken.slot) {
            self.negotiation.release_slot(taken.slot);
        }
    }

    /// Takes the slot of one that was given back but not confirmed yet.
    fn take_over_slot(&mut self) -> Option<u16> {
        let ending = self.subscriptions.taken.values_mut().filter(|taken| taken.holds_what_is_given_back());
        let taken = ending.min_by_key(|taken| taken.slot)?;
        (taken.is_handed_over, taken.was_handed_over) = (true, true);
        let (slot, tracks) = (taken.slot, std::mem::take(&mut taken.tracks));
        for track in tracks.into_values() {
            self.media(MediaCommand::CloseReceiver { track });
        }
        Some(slot)
    }

    /// Gives up whatever waits for media.
    pub(crate) fn fail_waiting_subscriptions(&mut self, error: CommandError) {
        for waiting in std::mem::take(&mut self.subscriptions.waiting) {
            self.finish(Some(waiting.command), Err(error));
        }
    }

    /// Nobody waits for a command any more. Returns what to report, had somebody waited.
    pub(crate) fn abandon_subscription(&mut self, command: CommandId) -> Option<CommandError> {
        let subscriptions = &mut self.subscriptions;
        if let Some(index) = subscriptions.waiting.iter().position(|waiting| waiting.command == command) {
            subscriptions.waiting.remove(index);
            return Some(CommandError::MediaUnreachable);
        }
        for taken in subscriptions.taken.values_mut() {
            if let Progress::Requested(request, Some(waiting)) = taken.progress
                && waiting == command
            {
                taken.progress = Progress::Requested(request, None);
                return Some(CommandError::TimedOut);
            }
        }
        let mut updates = subscriptions.updates.values_mut();
        let update = updates.find(|update| update.command == Some(command))?;
        update.command = None;
        Some(CommandError::TimedOut)
    }

    fn subscribe(&mut self, command: CommandId, wish: AddSubscription, stream_id: StreamId, slot: u16) {
        let mids = self.negotiation.slots[usize::from(slot)].mids;
        let wanted = MediaKind::ALL.into_iter().filter(|kind| wish.wants(*kind));
        let tracks = wanted.map(|kind| (kind, self.open_receiver(kind, mids))).collect();
        let name = (wish.participant, wish.key.clone());
        let request = self.request(Request::Subscribe, |request| {
            let AddSubscription { participant, key, audio, video, paused, preferred_layer, priority } =
                wish.clone();
            SubscribeRequest {
                request,
                participant_id: participant,
                key,
                slot,
                audio,
                video,
                paused,
                preferred_layer,
                priority,
            }
            .into()
        });
        let taken = Taken {
            stream_id,
            slot,
            is_handed_over: false,
            was_handed_over: false,
            is_asked: false,
            mids,
            wish,
            tracks,
            bound: BTreeMap::new(),
            layer: None,
            is_starved: false,
            progress: Progress::Requested(request, Some(command)),
        };
        self.subscriptions.taken.insert(name, taken);
    }

    pub(crate) fn unsubscribe(&mut self, command: Option<CommandId>, name: Name) {
        let Some(taken) = self.subscriptions.taken.get_mut(&name) else { return };
        (taken.progress, taken.is_asked) = (Progress::Ending, true);
        let what = Request::Unsubscribe(command, name.clone(), taken.stream_id);
        let (participant_id, key) = name;
        self.request(what, |request| UnsubscribeRequest { request, participant_id, key }.into());
        // Whoever waits for a slot takes this one over.
        self.advance();
    }

    fn open_receiver(&mut self, kind: MediaKind, mids: SlotMids) -> TrackId {
        let track = TrackId(NewTrack::IDS + self.subscriptions.tracks_made);
        self.subscriptions.tracks_made += 1;
        self.media(MediaCommand::OpenReceiver { track, mid: mids.of(kind) });
        track
    }
}

impl Subscriptions {
    /// Returns whether the server was asked to end a subscription to this very stream.
    pub(crate) fn is_ending(&self, name: &Name, stream_id: StreamId) -> bool {
        let taken = self.taken.get(name);
        taken.is_some_and(|taken| taken.stream_id == stream_id && taken.progress == Progress::Ending)
    }

    /// Returns how many slots are needed when everything is done that was asked for.
    fn in_use(&self) -> usize {
        let staying = self.taken.values().filter(|taken| taken.progress != Progress::Ending);
        staying.count() + self.waiting.len()
    }

    /// The server did not end a subscription yet, because it was asked too often.
    pub(crate) fn on_end_refused(&mut self, name: &Name) {
        if let Some(taken) = self.taken.get_mut(name) {
            taken.is_asked = false;
        }
    }

    /// Gives a slot back to the one that it was taken over from, if that still ends.
    fn hand_back(&mut self, slot: u16) -> bool {
        let earlier = self.taken.values_mut().find(|one| one.is_handed_over && one.slot == slot);
        earlier.map(|one| one.is_handed_over = false).is_some()
    }

    /// Panics when more is taken, or waits, than may.
    pub(crate) fn check_invariants(&self) {
        assert!(self.in_use() <= limits::SLOTS_MAX, "subscriptions: {}", self.in_use());
        let mut slots = std::collections::BTreeSet::new();
        for taken in self.taken.values().filter(|taken| !taken.is_handed_over) {
            assert!(slots.insert(taken.slot), "a slot is one's");
        }
        assert!(
            self.updates.len() <= limits::ANSWERS_MAX,
            "updates of subscriptions: {}",
            self.updates.len()
        );
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.waiting.is_empty() && self.updates.is_empty()
    }

    /// Returns whether something waits for a slot or for the media path.
    pub(crate) const fn await_media(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes out the tracks of a subscription that neither it nor an update under way wants.
    fn take_unwanted_tracks(&mut self, name: &Name) -> Vec<TrackId> {
        let Some(taken) = self.taken.get_mut(name) else { return Vec::new() };
        let updates = self.updates.values().filter(|update| update.stream_id == taken.stream_id);
        let wishes: Vec<&AddSubscription> = updates.map(|update| &update.wish).chain([&taken.wish]).collect();
        let is_unwanted = |kind: &MediaKind, _: &mut TrackId| !wishes.iter().any(|wish| wish.wants(*kind));
        taken.tracks.extract_if(.., is_unwanted).map(|(_, track)| track).collect()
    }

    /// Forgets everything but which track ids were used.
    pub(crate) fn reset(&mut self) {
        *self = Self { tracks_made: self.tracks_made, ..Self::default() };
    }
}

/// Returns whether a refusal means that there is nothing to give back.
const fn is_over(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UnknownParticipant | ErrorCode::UnknownStream | ErrorCode::NotSubscribed)
}
