//! Taking everything that others publish in a room, now and later.

use std::{collections::BTreeSet, time::Duration};

use roomful::{
    Error, ErrorKind, Event, EventKind, Origin, ParticipantId, RemoteTracks, Room, State, Status, StreamId,
    StreamKey, SubscriptionConfig,
};
use tokio::{task::JoinSet, time::sleep};

use crate::{failure::Failure, format};

/// Subscribes to everything.
#[derive(Debug)]
pub(crate) struct Follower {
    room: Room,
    /// Streams that were asked for and still exist.
    asked: BTreeSet<StreamId>,
    /// Subscriptions that are being made.
    pending: JoinSet<Asked>,
    /// Streams that could not be taken at first, told of once.
    told: BTreeSet<StreamId>,
}

/// What became of a stream that was asked for.
#[derive(Debug)]
pub(crate) enum Followed {
    /// A subscription to it was granted.
    Taken(Taken),
    /// It cannot be taken, or not yet; this says why.
    Refused(String),
}

/// A subscription that was granted.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The stream.
    pub(crate) stream: StreamId,
    /// The publisher's identity, or its id.
    pub(crate) from: String,
    /// The stream's name.
    pub(crate) key: StreamKey,
    /// What it brings.
    pub(crate) tracks: RemoteTracks,
}

/// What became of asking for a stream.
#[derive(Debug)]
struct Asked {
    wish: Wish,
    result: Result<RemoteTracks, Error>,
}

#[derive(Debug, Clone)]
struct Wish {
    stream: StreamId,
    participant: ParticipantId,
    key: StreamKey,
}

impl Follower {
    /// Follows a room that is joined.
    pub(crate) fn new(room: Room) -> Self {
        let mut follower =
            Self { room, asked: BTreeSet::new(), pending: JoinSet::new(), told: BTreeSet::new() };
        follower.look(&follower.room.state());
        follower
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// When there is nothing more to follow: the room is left or lost.
    pub(crate) fn on_event(&mut self, event: Option<Event>) -> Result<(), Failure> {
        let event = event.ok_or_else(|| Failure::work("the room is gone; run the command again"))?;
        if let EventKind::Disconnected { reason } = event.kind {
            return Err(Failure::disconnected(reason));
        }
        if matches!(
            event.kind,
            EventKind::Connected | EventKind::StreamPublished { .. } | EventKind::Lagged { .. }
        ) {
            self.look(&event.state);
        }
        Ok(())
    }

    /// Waits for what comes of asking. May be dropped at any time without losing anything.
    pub(crate) async fn next(&mut self) -> Followed {
        loop {
            match self.pending.join_next().await {
                Some(Ok(Asked { wish, result: Ok(tracks) })) => {
                    let from = format::participant(&self.room.state(), wish.participant);
                    let taken = Taken { stream: wish.stream, from, key: wish.key, tracks };
                    return Followed::Taken(taken);
                }
                Some(Ok(Asked { wish, result: Err(error) })) => {
                    if let Some(why) = self.on_error(wish, error) {
                        return Followed::Refused(why);
                    }
                }
                Some(Err(error)) => tracing::error!(%error, "a subscription came to no end"),
                None => std::future::pending().await,
            }
        }
    }

    /// Asks for every stream that has not been asked for.
    fn look(&mut self, state: &State) {
        self.asked.retain(|id| state.stream(*id).is_some());
        self.told.retain(|id| state.stream(*id).is_some());
        for stream in state.streams().filter(|stream| stream.origin == Origin::Remote) {
            if self.asked.insert(stream.id) {
                let wish =
                    Wish { stream: stream.id, participant: stream.participant_id, key: stream.key.clone() };
                self.ask(wish, Duration::ZERO);
            }
        }
    }

    fn ask(&mut self, wish: Wish, delay: Duration) {
        let room = self.room.clone();
        self.pending.spawn(async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let config = SubscriptionConfig::default();
            let result = room.add_subscription(wish.participant, &wish.key, config).await;
            Asked { wish, result }
        });
    }

    /// A stream that is gone is nobody's fault; others are told of, and tried again if that may help.
    fn on_error(&mut self, wish: Wish, error: Error) -> Option<String> {
        let state = self.room.state();
        let is_there = state.status() == Status::Connected && state.stream(wish.stream).is_some();
        if !is_there || error.kind() == ErrorKind::InvalidArgument {
            return None;
        }
        let next = if error.is_retryable() { "; trying again" } else { "" };
        let why = self.told.insert(wish.stream).then(|| {
            let from = format::participant(&state, wish.participant);
            let key = format::printable(wish.key.as_str());
            format!("cannot take {key} of {from}: {error}{next}")
        });
        if error.is_retryable() {
            self.ask(wish, RETRY_DELAY);
        }
        why
    }
}

/// Long enough for others to leave, short enough for somebody who watches.
const RETRY_DELAY: Duration = Duration::from_secs(2);
