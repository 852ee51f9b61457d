//! The real server as a stage for scenarios.

use std::{fmt, sync::Mutex, time::Duration};

use roomful::{Room, RoomId, RoomOptions};
use roomful_server::{Server, ServerConfig};
use roomful_sfu::{ModerationRequest, Selection};
use roomful_sim::{
    TokenRequest,
    contract::{Stage, StageConfig, TokenPair, Venue, Wait},
};
use serde_json::{Value, json};

use crate::wire::{tcp::TcpWire, udp::UdpWire};

const API_KEY: &str = "contract-suite-only-0123456789abcdef";

/// How clients talk to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Quic,
}

/// Starts real servers on loopback.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RealVenue {
    pub(crate) transport: Transport,
}

struct RealStage {
    transport: Transport,
    server: Mutex<Option<Server>>,
    http_address: String,
    quic_address: String,
    fingerprint: roomful::Fingerprint,
    room: RoomId,
    http: reqwest::Client,
    signal: Signal,
    media: UdpWire,
}

/// What fragile rooms connect through.
enum Signal {
    Tcp(TcpWire),
    Udp(UdpWire),
}

impl Venue for RealVenue {
    fn open(&self, config: StageConfig) -> Wait<'_, Box<dyn Stage>> {
        let transport = self.transport;
        Box::pin(async move { Box::new(RealStage::start(transport, config).await) as Box<dyn Stage> })
    }
}

impl RealStage {
    async fn start(transport: Transport, stage: StageConfig) -> Self {
        let media = UdpWire::bind().await;
        let mut config = ServerConfig::loopback(API_KEY);
        config.sfu = stage.sfu;
        config.max_participants = stage.max_participants;
        config.advertised = vec![media.address()];
        let server = Server::start(config).await.expect("loopback has free ports");
        media.lead_to(server.media_address());
        let (quic, fingerprint) = server.quic().expect("loopback servers have it");
        let signal = match transport {
            Transport::WebSocket => Signal::Tcp(TcpWire::to(server.http_address()).await),
            Transport::Quic => {
                let wire = UdpWire::bind().await;
                wire.lead_to(quic);
                Signal::Udp(wire)
            }
        };
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("nothing is missing");
        let mut stage = Self {
            transport,
            http_address: format!("http://{}", server.http_address()),
            quic_address: format!("quic://{quic}"),
            server: Mutex::new(Some(server)),
            fingerprint,
            room: RoomId::from_random([0; 16]),
            http,
            signal,
            media,
        };
        let body = stage.post("/v2/rooms", json!({ "unique_name": "contract" })).await.expect("is created");
        stage.room = body["data"]["id"].as_str().and_then(|id| id.parse().ok()).expect("a room has an id");
        stage
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.http_address)).bearer_auth(API_KEY);
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.expect("the server runs");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: Value) -> Option<Value> {
        let (status, body) = self.call("POST", path, body).await;
        (200..300).contains(&status).then_some(body)
    }

    async fn session(&self) -> String {
        let (_, body) = self.call("GET", &format!("/v2/rooms/{}", self.room), Value::Null).await;
        body["data"]["active_session_id"].as_str().expect("somebody is in the room").to_owned()
    }
}

impl Stage for RealStage {
    fn token(&self, request: TokenRequest) -> Wait<'_, TokenPair> {
        Box::pin(async move {
            let TokenRequest { identity, context, permissions, life, .. } = request;
            let body = json!({
                "identity": identity,
                "context": context,
                "token_ttl_secs": life.as_secs(),
                "permissions": {
                    "publish": permissions.publish,
                    "subscribe": permissions.subscribe,
                    "message": permissions.message,
                },
            });
            let path = format!("/v2/rooms/{}/actions/generate_join_client_token", self.room);
            let body = self.post(&path, body).await.expect("is issued");
            let text = |name: &str| body["data"][name].as_str().expect("a pair").to_owned();
            TokenPair { access: text("token"), refresh: text("refresh_token") }
        })
    }

    fn refresh<'a>(&'a self, refresh_token: &'a str, life: Duration) -> Wait<'a, Option<String>> {
        Box::pin(async move {
            let path = format!("/v2/rooms/{}/actions/refresh_client_token", self.room);
            let body = json!({ "refresh_token": refresh_token, "token_ttl_secs": life.as_secs() });
            Some(self.post(&path, body).await?["data"]["token"].as_str()?.to_owned())
        })
    }

    fn options(&self, token: String) -> RoomOptions {
        let url = match self.transport {
            Transport::WebSocket => &self.http_address,
            Transport::Quic => &self.quic_address,
        };
        let mut options = RoomOptions::new(url, self.room, token);
        options.server_fingerprint = Some(self.fingerprint);
        options
    }

    fn room(&self, options: RoomOptions) -> Room {
        Room::new(options)
    }

    fn fragile_room(&self, mut options: RoomOptions) -> Wait<'_, Room> {
        options.server_url = match &self.signal {
            Signal::Tcp(wire) => format!("http://{}", wire.address()),
            Signal::Udp(wire) => format!("quic://{}", wire.address()),
        };
        Box::pin(async move { Room::new(options) })
    }

    fn cut(&self) {
        match &self.signal {
            Signal::Tcp(wire) => wire.cut(),
            Signal::Udp(wire) => wire.set_loss(1.0),
        }
    }

    fn mend(&self) {
        match &self.signal {
            Signal::Tcp(wire) => wire.mend(),
            Signal::Udp(wire) => wire.set_loss(0.0),
        }
    }

    fn silence(&self) {
        match &self.signal {
            Signal::Tcp(wire) => wire.freeze(),
            Signal::Udp(wire) => wire.set_loss(1.0),
        }
    }

    fn lose_media(&self, share: f64) {
        self.media.set_loss(share);
    }

    fn roam(&self) {
        self.media.rebind();
    }

    fn moderate(&self, request: ModerationRequest) -> Wait<'_, ()> {
        Box::pin(async move {
            let (action, body) = match request {
                ModerationRequest::EndSession => ("end", Value::Null),
                ModerationRequest::Kick(who) => ("kick", selection(&who)),
                ModerationRequest::Censor { who, stream: None, kind, censored } => {
                    let mut body = selection(&who);
                    body["kind"] = json!(kind.to_string());
                    (if censored { "mute" } else { "unmute" }, body)
                }
                ModerationRequest::Censor { who, stream: Some(key), kind, censored } => {
                    let Selection::These(ids) = who else { panic!("streams are censored one by one") };
                    let action = if censored { "mute" } else { "unmute" };
                    let session = self.session().await;
                    for id in ids {
                        let path = format!(
                            "/v2/room_sessions/{session}/participants/{id}/streams/{key}/actions/{action}"
                        );
                        self.post(&path, json!({ "kind": kind.to_string() })).await.expect("is carried out");
                    }
                    return;
                }
            };
            let path = format!("/v2/room_sessions/{}/actions/{action}", self.session().await);
            self.post(&path, body).await.expect("a moderator's wish is carried out");
        })
    }

    fn delete_room(&self) -> Wait<'_, ()> {
        Box::pin(async move {
            let (status, _) = self.call("DELETE", &format!("/v2/rooms/{}", self.room), Value::Null).await;
            assert_eq!(status, 204);
        })
    }

    fn kill(&self) -> Wait<'_, ()> {
        Box::pin(async move {
            self.cut();
            // Dropped, it ends without saying good-bye to anybody.
            drop(self.server.lock().expect("nobody panics").take());
        })
    }
}

impl fmt::Debug for RealStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealStage").field("transport", &self.transport).finish_non_exhaustive()
    }
}

fn selection(who: &Selection) -> Value {
    match who {
        Selection::These(ids) => {
            json!({ "participants": ids.iter().map(ToString::to_string).collect::<Vec<_>>() })
        }
        Selection::AllBut(ids) => {
            json!({ "participants": "all", "exclude": ids.iter().map(ToString::to_string).collect::<Vec<_>>() })
        }
    }
}
