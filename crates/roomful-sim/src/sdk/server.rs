//! The fake server as rooms of the SDK see it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use roomful::{Room, RoomOptions};
use roomful_sfu::{ModerationError, ModerationRequest, SfuConfig};
use roomful_types::RoomId;
use tokio::sync::{mpsc, oneshot};

use super::{
    FakeNetwork,
    hub::{Hub, NetworkId, Told},
};
use crate::{Faults, LinkConfig, Media, ServerMachine, TokenRequest, Tokens};

/// A room server on tokio's clock: the engine of the real one, one media shard, and emulated networks to them. It ends when it and
/// all of its networks are dropped.
#[derive(Debug, Clone)]
pub struct FakeServer {
    hub: mpsc::UnboundedSender<Told>,
    tokens: Tokens,
    room: RoomId,
    seed: u64,
    sessions: Arc<AtomicU64>,
    networks: Arc<AtomicU32>,
}

/// Settings of a fake server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FakeServerConfig {
    /// Decides ids, chances and pauses. Default 0.
    pub seed: u64,
    /// How many participants the room may have. Default 100.
    pub max_participants: u32,
    /// Settings of the engine.
    pub sfu: SfuConfig,
}

impl Default for FakeServerConfig {
    fn default() -> Self {
        Self { seed: 0, max_participants: 100, sfu: SfuConfig::default() }
    }
}

impl FakeServer {
    /// Starts a server with one room, as a task of the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(config: FakeServerConfig) -> Self {
        let FakeServerConfig { seed, max_participants, sfu } = config;
        let now = tokio::time::Instant::now().into_std();
        let tokens = Tokens::new(now);
        let room = RoomId::from_random([1; 16]);
        tokens.put_room(room, max_participants);
        let machine = ServerMachine::new(sfu, Media::real(seed, now), tokens.clone(), seed, now);
        let (hub, told) = mpsc::unbounded_channel();
        tokio::spawn(Hub::new(machine, told, seed).run());
        let (sessions, networks) = (Arc::default(), Arc::default());
        Self { hub, tokens, room, seed, sessions, networks }
    }

    /// Makes a network to the server, the same in both directions.
    #[must_use]
    pub fn network(&self, link: LinkConfig) -> Arc<FakeNetwork> {
        let id = NetworkId(self.networks.fetch_add(1, Ordering::Relaxed));
        Arc::new(FakeNetwork::new(id, self.hub.clone(), self.sessions.clone(), link))
    }

    /// Returns the room's id.
    #[must_use]
    pub const fn room_id(&self) -> RoomId {
        self.room
    }

    /// Returns the office that issues its tokens.
    #[must_use]
    pub const fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Returns options for the room, with a token for this identity and messages enabled.
    #[must_use]
    pub fn options(&self, identity: &str) -> RoomOptions {
        let request = TokenRequest { identity: Some(identity.to_owned()), ..TokenRequest::default() };
        self.options_with(request)
    }

    /// Returns options for the room, with a token as asked for and messages enabled.
    #[must_use]
    pub fn options_with(&self, request: TokenRequest) -> RoomOptions {
        let mut options = RoomOptions::new("sim://server", self.room, self.tokens.issue(self.room, request));
        options.enable_messages = true;
        options
    }

    /// Makes a room for this identity, not connected yet.
    #[must_use]
    pub fn room(&self, identity: &str, network: &Arc<FakeNetwork>) -> Room {
        self.room_with(self.options(identity), network)
    }

    /// Makes a room with these options, not connected yet.
    #[must_use]
    pub fn room_with(&self, options: RoomOptions, network: &Arc<FakeNetwork>) -> Room {
        let seed = self.seed ^ self.sessions.fetch_add(1, Ordering::Relaxed);
        Room::with_network(options, network.clone(), seed)
    }

    /// Lets the server do these things wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        let _ = self.hub.send(Told::Faults(Box::new(faults)));
    }

    /// Carries out what a moderator wants.
    ///
    /// # Errors
    /// The engine's; [`ModerationError::UnknownSession`] when nobody is in the room.
    pub async fn moderate(&self, request: ModerationRequest) -> Result<(), ModerationError> {
        let (reply, result) = oneshot::channel();
        let _ = self.hub.send(Told::Moderate(self.room, request, reply));
        result.await.unwrap_or(Err(ModerationError::UnknownSession))
    }

    /// Deletes the room; everybody leaves.
    pub fn delete_room(&self) {
        let _ = self.hub.send(Told::DeleteRoom(self.room));
    }

    /// Waits on the virtual clock.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
