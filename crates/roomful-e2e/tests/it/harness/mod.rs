//! A server, clients in it, and publishers that know what they wrote.

pub(crate) mod player;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod tap;

use std::{fmt::Debug, path::Path, time::Duration};

use roomful::{
    Event, EventKind, Events, ParticipantId, RemoteTrack, RemoteTracks, Room, RoomId, RoomOptions, StreamKey,
    SubscriptionConfig, file::Clip,
};
use roomful_server::{Server, ServerConfig};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

pub(crate) use player::{Player, assert_identical, assert_of, missing, read};
use proxy::Proxy;

/// No wait in these tests is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const API_KEY: &str = "end-to-end-tests-only-0123456789abcdef";

/// A server of its own for one test.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) room: RoomId,
    /// Between clients and the media port, in the worlds that have one.
    pub(crate) proxy: Option<Proxy>,
    http: reqwest::Client,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        // RUST_LOG makes a failing test talk.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let mut config = ServerConfig::loopback(API_KEY);
        change(&mut config);
        let server = Server::start(config).await.expect("loopback has free ports");
        // Connections kept for later would look like leaks.
        let http =
            reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("nothing can be missing");
        let mut world = Self { server, room: RoomId::from_random([0; 16]), proxy: None, http };
        world.room = world.create_room("test").await;
        world
    }

    /// Starts a server whose media goes through a proxy that treats each datagram as `link` says.
    pub(crate) async fn start_behind(link: impl proxy::Link) -> Self {
        let proxy = Proxy::bind(link).await;
        let mut world = Self::start_with(|config| config.advertised = vec![proxy.address()]).await;
        proxy.lead_to(world.server.media_address());
        world.proxy = Some(proxy);
        world
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.http_address())
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call("POST", path, Some(API_KEY), body).await
    }

    /// Calls the REST interface; the body of the reply is null when there is none.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        api_key: Option<&str>,
        body: &Value,
    ) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, self.url() + path);
        if let Some(key) = api_key {
            request = request.bearer_auth(key);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let response = within(request.send()).await.expect("the server runs");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    pub(crate) async fn create_room(&self, name: &str) -> RoomId {
        let (status, body) = self.post("/v2/rooms", &json!({ "unique_name": name })).await;
        assert_eq!(status, 201, "{body}");
        body["data"]["id"].as_str().and_then(|id| id.parse().ok()).expect("a room has an id")
    }

    pub(crate) async fn token(&self, room: RoomId, body: Value) -> String {
        let (status, body) =
            self.post(&format!("/v2/rooms/{room}/actions/generate_join_client_token"), &body).await;
        assert_eq!(status, 201, "{body}");
        body["data"]["token"].as_str().expect("a token").to_owned()
    }

    /// Makes a client's room that is not connected yet.
    pub(crate) async fn client(&self, identity: &str) -> Room {
        self.client_with(identity, |_| {}).await
    }

    pub(crate) async fn client_with(&self, identity: &str, change: impl FnOnce(&mut RoomOptions)) -> Room {
        let token = self.token(self.room, json!({ "identity": identity })).await;
        let mut options = RoomOptions::new(self.url(), self.room, token);
        options.enable_messages = true;
        change(&mut options);
        Room::new(options)
    }

    pub(crate) async fn join_with(&self, identity: &str, change: impl FnOnce(&mut RoomOptions)) -> Room {
        let room = self.client_with(identity, change).await;
        within(room.connect()).await.expect("joins");
        room
    }

    pub(crate) async fn join(&self, identity: &str) -> Room {
        let room = self.client(identity).await;
        within(room.connect()).await.expect("joins");
        room
    }
}

/// Waits, but not for ever.
#[track_caller]
pub(crate) fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move { timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("took too long: {place}")) }
}

/// Waits for the first event that `find` finds something in.
pub(crate) async fn wait_for<T>(events: &mut Events, mut find: impl FnMut(&Event) -> Option<T>) -> T {
    within(async {
        loop {
            let event = events.recv().await.expect("the room lives");
            if let Some(found) = find(&event) {
                return found;
            }
        }
    })
    .await
}

/// Waits until a condition holds that nothing announces.
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    })
}

/// Checks that a value does not change. That nothing comes can only be seen by waiting.
#[track_caller]
pub(crate) fn stands_still<T: PartialEq + Debug>(value: impl Fn() -> T) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let before = value();
        let end = Instant::now() + Duration::from_millis(400);
        while Instant::now() < end {
            sleep(Duration::from_millis(20)).await;
            assert_eq!(value(), before, "must stand still: {place}");
        }
    }
}

/// Collects the names of events, without `state_changed`, up to and including `last`.
pub(crate) async fn names_until(events: &mut Events, last: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    wait_for(events, |event| {
        if event.kind != EventKind::StateChanged {
            names.push(event.name());
        }
        (event.name() == last).then_some(())
    })
    .await;
    names
}

pub(crate) fn own_id(room: &Room) -> ParticipantId {
    room.state().local_participant_id().expect("joined")
}

pub(crate) fn key(text: &str) -> StreamKey {
    StreamKey::new(text).expect("short")
}

pub(crate) fn fixture(name: &str) -> Clip {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../roomful-cli/fixtures");
    Clip::open(folder.join(name)).expect("fixtures are committed")
}

/// Waits until everybody knows of everybody: who is in the room hears of a newcomer a moment after it is in.
#[track_caller]
pub(crate) fn meet(rooms: &[&Room]) -> impl Future<Output = ()> {
    eventually(|| rooms.iter().all(|room| room.state().participants().len() == rooms.len()))
}

/// Waits until a room knows of a stream: others hear of it a moment after its publisher.
#[track_caller]
pub(crate) fn hears_of(room: &Room, publisher: ParticipantId, key: &StreamKey) -> impl Future<Output = ()> {
    eventually(move || room.participant_stream(publisher, key).is_some())
}

/// Subscribes to both kinds.
#[track_caller]
pub(crate) fn subscribe(
    subscriber: &Room,
    publisher: &Room,
    key: &StreamKey,
) -> impl Future<Output = (RemoteTrack, RemoteTrack)> {
    subscribe_to(subscriber, own_id(publisher), key)
}

/// Subscribes to both kinds.
#[track_caller]
pub(crate) fn subscribe_to(
    subscriber: &Room,
    publisher: ParticipantId,
    key: &StreamKey,
) -> impl Future<Output = (RemoteTrack, RemoteTrack)> {
    let hearing = hears_of(subscriber, publisher, key);
    let adding = within(subscriber.add_subscription(publisher, key, SubscriptionConfig::default()));
    async move {
        hearing.await;
        let RemoteTracks { audio, video } = adding.await.expect("subscribes");
        (audio.expect("asked for"), video.expect("asked for"))
    }
}
