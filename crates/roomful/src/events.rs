//! Telling the application: listeners called in order, and streams of events.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt};
use parking_lot::{Mutex, ReentrantMutex};
use roomful_state::{Event, EventKind, State};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

/// Events that a slow reader of [`Room::events`](crate::Room::events) may be behind. Joining a room of a thousand makes
/// none; a thousand people joining makes two thousand.
const EVENTS_MAX: usize = 4096;

/// Which events a listener is called for; see [`EventKind`] for what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is documented at the event of the same name")]
pub enum EventName {
    StateChanged,
    Connected,
    Disconnected,
    ParticipantJoined,
    ParticipantLeaving,
    ParticipantLeft,
    StreamPublished,
    StreamUnpublished,
    TrackEnabled,
    TrackDisabled,
    SubscriptionStarted,
    SubscriptionReconfigured,
    SubscriptionEnded,
    MessageReceived,
    TrackCensored,
    TrackUncensored,
    AudioActivity,
    AudioActivityEnded,
    DominantSpeakerChanged,
    SubscriptionPaused,
    SubscriptionResumed,
    NetworkMetricsReport,
    LayerChanged,
    StreamQualityChanged,
    Error,
    Reconnecting,
    Reconnected,
    TokenExpiring,
    Lagged,
}

impl EventName {
    /// Returns the name of an event; none for one that this version does not know.
    #[must_use]
    pub const fn of(kind: &EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::StateChanged => Self::StateChanged,
            EventKind::Connected => Self::Connected,
            EventKind::Disconnected { .. } => Self::Disconnected,
            EventKind::ParticipantJoined { .. } => Self::ParticipantJoined,
            EventKind::ParticipantLeaving { .. } => Self::ParticipantLeaving,
            EventKind::ParticipantLeft { .. } => Self::ParticipantLeft,
            EventKind::StreamPublished { .. } => Self::StreamPublished,
            EventKind::StreamUnpublished { .. } => Self::StreamUnpublished,
            EventKind::TrackEnabled { .. } => Self::TrackEnabled,
            EventKind::TrackDisabled { .. } => Self::TrackDisabled,
            EventKind::SubscriptionStarted { .. } => Self::SubscriptionStarted,
            EventKind::SubscriptionReconfigured { .. } => Self::SubscriptionReconfigured,
            EventKind::SubscriptionEnded { .. } => Self::SubscriptionEnded,
            EventKind::MessageReceived { .. } => Self::MessageReceived,
            EventKind::TrackCensored { .. } => Self::TrackCensored,
            EventKind::TrackUncensored { .. } => Self::TrackUncensored,
            EventKind::AudioActivity { .. } => Self::AudioActivity,
            EventKind::AudioActivityEnded { .. } => Self::AudioActivityEnded,
            EventKind::DominantSpeakerChanged { .. } => Self::DominantSpeakerChanged,
            EventKind::SubscriptionPaused { .. } => Self::SubscriptionPaused,
            EventKind::SubscriptionResumed { .. } => Self::SubscriptionResumed,
            EventKind::NetworkMetricsReport { .. } => Self::NetworkMetricsReport,
            EventKind::LayerChanged { .. } => Self::LayerChanged,
            EventKind::StreamQualityChanged { .. } => Self::StreamQualityChanged,
            EventKind::Error { .. } => Self::Error,
            EventKind::Reconnecting => Self::Reconnecting,
            EventKind::Reconnected => Self::Reconnected,
            EventKind::TokenExpiring { .. } => Self::TokenExpiring,
            EventKind::Lagged { .. } => Self::Lagged,
            _ => return None,
        })
    }
}

/// Everybody who wants to hear.
pub(crate) struct Hub {
    listeners: Mutex<Vec<Arc<Listener>>>,
    last_listener: AtomicU64,
    sender: broadcast::Sender<Event>,
    /// The room after the latest event.
    state: Mutex<State>,
}

struct Listener {
    id: u64,
    name: EventName,
    is_subscribed: AtomicBool,
    /// Held during a call, so that unsubscribing waits for a call under way elsewhere. From within the call it does not.
    handler: ReentrantMutex<Handler>,
}

type Handler = Box<dyn Fn(&Event) + Send + Sync>;

impl Hub {
    pub(crate) fn new() -> Arc<Self> {
        let (sender, _) = broadcast::channel(EVENTS_MAX);
        Arc::new(Self {
            listeners: Mutex::default(),
            last_listener: AtomicU64::new(0),
            sender,
            state: Mutex::new(State::new()),
        })
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }

    pub(crate) fn listen(
        self: &Arc<Self>,
        name: EventName,
        handler: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Unsubscribe {
        let id = self.last_listener.fetch_add(1, Ordering::Relaxed);
        let handler = ReentrantMutex::new(Box::new(handler) as Handler);
        let listener = Arc::new(Listener { id, name, is_subscribed: AtomicBool::new(true), handler });
        self.listeners.lock().push(listener.clone());
        Unsubscribe { hub: Arc::downgrade(self), listener }
    }

    pub(crate) fn events(self: &Arc<Self>) -> Events {
        Events { stream: BroadcastStream::new(self.sender.subscribe()), hub: Arc::downgrade(self) }
    }

    /// Tells everybody, listeners first, in the order of their subscription.
    pub(crate) fn tell(&self, event: Event) {
        *self.state.lock() = event.state.clone();
        // Copied out: a listener may subscribe another one.
        let listeners = self.listeners.lock().clone();
        for listener in listeners.iter().filter(|one| EventName::of(&event.kind) == Some(one.name)) {
            let handler = listener.handler.lock();
            if listener.is_subscribed.load(Ordering::Acquire)
                && catch_unwind(AssertUnwindSafe(|| handler(&event))).is_err()
            {
                tracing::error!(event = event.name(), "a listener panicked");
            }
        }
        // Fails when nobody reads, which is nobody's loss.
        let _ = self.sender.send(event);
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("listeners", &self.listeners.lock().len()).finish_non_exhaustive()
    }
}

/// Ends the calls of one listener. Dropping it leaves the listener in place.
#[must_use = "a listener without its handle can never be unsubscribed; bind it to `_` if that is meant"]
pub struct Unsubscribe {
    hub: Weak<Hub>,
    listener: Arc<Listener>,
}

impl Unsubscribe {
    /// Ends the calls: once this returns, none begins any more, and none is under way on another thread.
    pub fn unsubscribe(self) {
        self.listener.is_subscribed.store(false, Ordering::Release);
        drop(self.listener.handler.lock());
        if let Some(hub) = self.hub.upgrade() {
            hub.listeners.lock().retain(|one| one.id != self.listener.id);
        }
    }
}

impl fmt::Debug for Unsubscribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unsubscribe").field(&self.listener.name).finish()
    }
}

/// All events of a room from the moment of asking, as a stream. It ends with the room.
///
/// A reader that is more than 4,096 events behind is told so by [`EventKind::Lagged`], which carries the state as it is
/// then, and goes on with the oldest event that is left.
#[derive(Debug)]
pub struct Events {
    stream: BroadcastStream<Event>,
    hub: Weak<Hub>,
}

impl Events {
    /// Waits for the next event; `None` when the room is gone. May be dropped at any time without losing an event.
    pub async fn recv(&mut self) -> Option<Event> {
        self.next().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.stream.poll_next_unpin(context).map(|item| match item? {
            Ok(event) => Some(event),
            Err(BroadcastStreamRecvError::Lagged(missed)) => {
                let state = self.hub.upgrade()?.state();
                Some(Event { kind: EventKind::Lagged { missed }, state })
            }
        })
    }
}
