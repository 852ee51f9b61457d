//! Where scenarios are played: what a server, fake or real, must offer them.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use roomful::{Room, RoomOptions};
use roomful_sfu::{ModerationRequest, SfuConfig};

use crate::{
    LinkConfig, TokenRequest,
    sdk::{FakeNetwork, FakeServer, FakeServerConfig},
};

/// What comes later.
pub type Wait<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to start servers.
pub trait Venue: fmt::Debug + Send + Sync {
    /// Starts a server with one room.
    fn open(&self, config: StageConfig) -> Wait<'_, Box<dyn Stage>>;
}

/// How the server of a scenario is set.
#[derive(Debug, Clone)]
pub struct StageConfig {
    /// Settings of the engine.
    pub sfu: SfuConfig,
    /// How many participants the room may have.
    pub max_participants: u32,
}

impl Default for StageConfig {
    fn default() -> Self {
        Self { sfu: SfuConfig::default(), max_participants: 100 }
    }
}

/// An access token and the refresh token that came with it.
#[derive(Debug, Clone)]
pub struct TokenPair {
    /// Opens the door.
    pub access: String,
    /// Gets newer access tokens.
    pub refresh: String,
}

/// A server with one room, as scenarios see it.
pub trait Stage: Send + Sync {
    /// Issues tokens.
    fn token(&self, request: TokenRequest) -> Wait<'_, TokenPair>;

    /// Gets a newer access token; none when it is refused.
    fn refresh<'a>(&'a self, refresh_token: &'a str, life: Duration) -> Wait<'a, Option<String>>;

    /// Returns options for the room.
    fn options(&self, token: String) -> RoomOptions;

    /// Makes a room that is not connected.
    fn room(&self, options: RoomOptions) -> Room;

    /// Makes a room that is not connected, whose signalling [`cut`](Self::cut) breaks.
    fn fragile_room(&self, options: RoomOptions) -> Wait<'_, Room>;

    /// Breaks the signalling of fragile rooms, and lets none be made.
    fn cut(&self);

    /// Undoes [`cut`](Self::cut).
    fn mend(&self);

    /// Passes nothing more on the signalling of fragile rooms, which stays open and says nothing.
    fn silence(&self);

    /// Loses this share of all media, both ways, 0 ..= 1.
    fn lose_media(&self, share: f64);

    /// Gives every participant another address, as a network that changes does.
    fn roam(&self);

    /// Carries out what a moderator wants.
    fn moderate(&self, request: ModerationRequest) -> Wait<'_, ()>;

    /// Deletes the room.
    fn delete_room(&self) -> Wait<'_, ()>;

    /// Ends the server without a word.
    fn kill(&self) -> Wait<'_, ()>;
}

/// Starts fake servers on tokio's clock, which should be paused.
#[derive(Debug, Clone, Copy, Default)]
pub struct FakeVenue {
    /// Decides ids, chances and pauses.
    pub seed: u64,
}

struct FakeStage {
    server: FakeServer,
    network: Arc<FakeNetwork>,
    fragile: Arc<FakeNetwork>,
}

/// A way of a few milliseconds, as in one town.
const LINK: Duration = Duration::from_millis(5);
const JITTER: Duration = Duration::from_millis(3);

impl Venue for FakeVenue {
    fn open(&self, config: StageConfig) -> Wait<'_, Box<dyn Stage>> {
        let StageConfig { sfu, max_participants } = config;
        let config = FakeServerConfig { seed: self.seed, max_participants, sfu };
        Box::pin(async move {
            let server = FakeServer::start(config);
            let link = LinkConfig { jitter: JITTER, ..LinkConfig::delayed(LINK) };
            let [network, fragile] = [(); 2].map(|()| server.network(link));
            Box::new(FakeStage { server, network, fragile }) as Box<dyn Stage>
        })
    }
}

impl Stage for FakeStage {
    fn token(&self, request: TokenRequest) -> Wait<'_, TokenPair> {
        Box::pin(async move {
            let tokens = self.server.tokens();
            let access = tokens.issue(self.server.room_id(), request);
            let refresh = tokens.refresh_token(&access, Duration::from_secs(3600)).expect("issued above");
            TokenPair { access, refresh }
        })
    }

    fn refresh<'a>(&'a self, refresh_token: &'a str, life: Duration) -> Wait<'a, Option<String>> {
        Box::pin(async move { self.server.tokens().refresh(refresh_token, life) })
    }

    fn options(&self, token: String) -> RoomOptions {
        RoomOptions::new("sim://server", self.server.room_id(), token)
    }

    fn room(&self, options: RoomOptions) -> Room {
        self.server.room_with(options, &self.network)
    }

    fn fragile_room(&self, options: RoomOptions) -> Wait<'_, Room> {
        Box::pin(async move { self.server.room_with(options, &self.fragile) })
    }

    fn cut(&self) {
        self.fragile.cut();
    }

    fn mend(&self) {
        self.fragile.mend();
    }

    fn silence(&self) {
        self.fragile.set_down(true);
    }

    fn lose_media(&self, share: f64) {
        for network in [&self.network, &self.fragile] {
            network.set_media_loss(share);
        }
    }

    fn roam(&self) {
        for network in [&self.network, &self.fragile] {
            network.roam();
        }
    }

    fn moderate(&self, request: ModerationRequest) -> Wait<'_, ()> {
        Box::pin(
            async move { self.server.moderate(request).await.expect("a moderator's wish is carried out") },
        )
    }

    fn delete_room(&self) -> Wait<'_, ()> {
        Box::pin(async move { self.server.delete_room() })
    }

    fn kill(&self) -> Wait<'_, ()> {
        Box::pin(async move {
            for network in [&self.network, &self.fragile] {
                network.cut();
            }
        })
    }
}
