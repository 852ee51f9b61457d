//! The REST interface as its callers see it: requests in, replies out, no socket.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use parking_lot::Mutex;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::store::MemoryStore;

mod errors;
mod rooms;
mod sessions;
mod tokens;

/// 2023-11-14T22:13:20.250Z.
const START_MS: u64 = 1_700_000_000_250;

/// A server without sockets, whose time stands still until a test moves it.
struct World {
    api: Api,
    live: Arc<FakeLiveRooms>,
    now_ms: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        Self::with_store(MemoryStore::default())
    }

    fn with_store(store: MemoryStore) -> Self {
        let live = Arc::new(FakeLiveRooms::default());
        let now_ms = Arc::new(AtomicU64::new(START_MS));
        let drawn = AtomicU8::new(0);
        let api = Api {
            store: Arc::new(store),
            tokens: Arc::new(TokenAuthority::new("key")),
            live_rooms: live.clone(),
            api_key: ApiKey::new("key"),
            defaults: RoomDefaults::default(),
            clock: Arc::new({
                let now_ms = now_ms.clone();
                move || now_ms.load(Ordering::Relaxed)
            }),
            random: Arc::new(move || [drawn.fetch_add(1, Ordering::Relaxed); 16]),
        };
        Self { api, live, now_ms }
    }

    fn advance_secs(&self, secs: u64) {
        self.now_ms.fetch_add(secs * 1000, Ordering::Relaxed);
    }

    /// Sends a request with the API key; the body, if any, as JSON.
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let body = body.map_or_else(String::new, |body| body.to_string());
        self.send(request(method, path).body(Body::from(body)).unwrap()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, Some(body)).await
    }

    /// Makes a room and returns its id.
    async fn room(&self, body: Value) -> String {
        let reply = self.post("/v2/rooms", body).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.json);
        reply.json["data"]["id"].as_str().unwrap().to_owned()
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = router(self.api.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let json = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Reply { status, headers, json }
    }
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::AUTHORIZATION, "Bearer key")
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

impl Reply {
    /// Checks the status of a refusal, its shape, and the code and source of each of its reasons.
    #[track_caller]
    fn check_error(&self, status: StatusCode, expected: &[(&str, Value)]) {
        assert_eq!(self.status, status, "{}", self.json);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(self.json.as_object().unwrap().len(), 1, "{}", self.json);
        let errors = self.json["errors"].as_array().unwrap();
        let mut seen = Vec::new();
        for error in errors {
            let error = error.as_object().unwrap();
            assert!(error.keys().all(|key| ["code", "title", "detail", "source"].contains(&key.as_str())));
            for key in ["title", "detail"] {
                let text = error[key].as_str().unwrap();
                assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
            }
            seen.push((error["code"].as_str().unwrap(), error.get("source").cloned().unwrap_or_default()));
        }
        assert_eq!(seen, expected, "{}", self.json);
    }

    #[track_caller]
    fn check_ok(&self, status: StatusCode) -> &Value {
        assert_eq!(self.status, status, "{}", self.json);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
        &self.json["data"]
    }
}

fn pointer(to: &str) -> Value {
    json!({"pointer": to})
}

fn parameter(name: &str) -> Value {
    json!({"parameter": name})
}

/// Notes what it is told.
#[derive(Debug, Default)]
struct FakeLiveRooms {
    session: Mutex<Option<Uuid>>,
    told: Mutex<Vec<Told>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Deleted(String),
    Moderated(ModerationRequest),
}

impl LiveRooms for FakeLiveRooms {
    fn active_session(&self, _room: RoomId) -> Option<Uuid> {
        *self.session.lock()
    }

    fn room_deleted(&self, room: RoomId) {
        self.told.lock().push(Told::Deleted(room.to_string()));
    }

    fn moderate(&self, session: Uuid, request: ModerationRequest) -> Moderated {
        let is_active = *self.session.lock() == Some(session);
        self.told.lock().push(Told::Moderated(request));
        Box::pin(async move { if is_active { Ok(()) } else { Err(ModerationError::UnknownSession) } })
    }
}
