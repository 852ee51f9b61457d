//! The REST interface of a server, as far as the commands need it: find or make a room, make a token.

use std::{error::Error as _, net::IpAddr, time::Duration};

use reqwest::{Client, Method, StatusCode, Url};
use roomful::RoomId;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// The key of `serve --dev`, known to everybody: good for a server that only this machine can reach.
pub(crate) const DEVELOPMENT_KEY: &str = "roomful-development-key-not-a-secret";

/// The variable with the API key.
pub(crate) const API_KEY_VARIABLE: &str = "ROOMFUL_API_KEY";

/// A server's REST interface.
#[derive(Debug)]
pub(crate) struct Api {
    client: Client,
    server: Url,
    key: Key,
}

/// An API key, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// From the environment.
    Given(String),
    /// The one that is built in.
    Development,
}

/// A room, found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoomEntry {
    /// Its id.
    pub(crate) id: RoomId,
    /// Whether it was made just now.
    pub(crate) is_new: bool,
}

/// What a token shall say.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TokenRequest<'a> {
    /// The application's name for who joins.
    pub(crate) identity: Option<&'a str>,
    /// How long it can be used to join, in seconds; 600 when none.
    pub(crate) ttl: Option<u32>,
}

/// A token to join with.
#[derive(Debug, Deserialize)]
pub(crate) struct JoinToken {
    /// The token.
    pub(crate) token: String,
    /// Until when it can be used (RFC 3339).
    #[serde(rename = "token_expires_at")]
    pub(crate) expires_at: String,
}

impl Key {
    /// Returns the key as it stands in requests.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Given(key) => key,
            Self::Development => DEVELOPMENT_KEY,
        }
    }

    /// Reads the key from the environment; an empty one counts as none.
    pub(crate) fn from_environment() -> Option<Self> {
        std::env::var(API_KEY_VARIABLE).ok().filter(|key| !key.is_empty()).map(Self::Given)
    }
}

impl Api {
    /// Takes the server's address, and the key from the environment.
    pub(crate) fn new(server: &str) -> Result<Self, Failure> {
        let server = parse_server(server)?;
        let key = choose_key(Key::from_environment(), &server)?;
        Self::with_key(server, key)
    }

    /// Takes the server's address and its key.
    pub(crate) fn with_key(server: Url, key: Key) -> Result<Self, Failure> {
        let mut builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT);
        if is_loopback(&server) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| {
            Failure::work(format!(
                "cannot start an HTTP client: {}; check the system's certificates",
                cause(&error)
            ))
        })?;
        Ok(Self { client, server, key })
    }

    /// Returns the server's address without a slash at its end.
    pub(crate) fn server(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// Finds a room by its id or unique name. A name that no room has yet is given to a new one.
    pub(crate) async fn room(&self, name: &str) -> Result<RoomEntry, Failure> {
        if let Some(id) = self.find(name).await? {
            return Ok(RoomEntry { id, is_new: false });
        }
        if name.parse::<RoomId>().is_ok() {
            return Err(Failure::work(format!(
                "no room of {} has the id {name}; give the name of a room instead, and it is made if there is none",
                self.server()
            )));
        }
        let reply = self.call(Method::POST, &["v2", "rooms"], Some(json!({ "unique_name": name }))).await?;
        if reply.status.is_success() {
            return Ok(RoomEntry { id: reply.data::<RoomData>(self)?.id, is_new: true });
        }
        // Somebody else may have made it in between.
        match self.find(name).await? {
            Some(id) => Ok(RoomEntry { id, is_new: false }),
            None => Err(reply.refusal(self, "cannot make the room")),
        }
    }

    /// Makes a token with which one participant can join a room.
    pub(crate) async fn token(&self, room: RoomId, request: TokenRequest<'_>) -> Result<JoinToken, Failure> {
        let mut body = Map::new();
        if let Some(identity) = request.identity {
            body.insert("identity".to_owned(), identity.into());
        }
        if let Some(ttl) = request.ttl {
            body.insert("token_ttl_secs".to_owned(), ttl.into());
        }
        let room = room.to_string();
        let path = ["v2", "rooms", &room, "actions", "generate_join_client_token"];
        let reply = self.call(Method::POST, &path, Some(Value::Object(body))).await?;
        if reply.status.is_success() {
            reply.data(self)
        } else {
            Err(reply.refusal(self, "cannot make a token"))
        }
    }

    async fn find(&self, name: &str) -> Result<Option<RoomId>, Failure> {
        let reply = self.call(Method::GET, &["v2", "rooms", name], None).await?;
        match reply.status {
            StatusCode::OK => Ok(Some(reply.data::<RoomData>(self)?.id)),
            StatusCode::NOT_FOUND if reply.errors().iter().any(|error| error.code == "room_not_found") => {
                Ok(None)
            }
            _ => Err(reply.refusal(self, "cannot look the room up")),
        }
    }

    async fn call(&self, method: Method, path: &[&str], body: Option<Value>) -> Result<Reply, Failure> {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.client.request(method, url).bearer_auth(self.key.as_str());
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Ok(Reply { status, body: body.to_vec() })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let next = if is_loopback(&self.server) {
            "start one with `roomful serve --dev`, or name another with --server or ROOMFUL_SERVER"
        } else {
            "check the address in --server or ROOMFUL_SERVER, and that the server runs"
        };
        let cause = if error.is_timeout() { "no answer in time".to_owned() } else { cause(error) };
        Failure::unreachable(format!("cannot reach {}: {cause}; {next}", self.server()))
    }
}

/// Reads a server's address.
pub(crate) fn parse_server(text: &str) -> Result<Url, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!(
            "`{text}` is no address of a server: {why}; give --server or ROOMFUL_SERVER as http://HOST:PORT"
        ))
    };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins neither with http:// nor with https://"));
    }
    Ok(url)
}

/// Chooses the key for a server: the given one, or for one on loopback the development key.
fn choose_key(given: Option<Key>, server: &Url) -> Result<Key, Failure> {
    match given {
        Some(key) => Ok(key),
        None if is_loopback(server) => Ok(Key::Development),
        None => Err(Failure::usage(format!(
            "{API_KEY_VARIABLE} is not set, and {server} is not on this machine; set it to the key that the server was \
             started with"
        ))),
    }
}

fn is_loopback(server: &Url) -> bool {
    let host = server.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Returns the innermost cause of an error: what the system said.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost = error.source();
    while let Some(next) = innermost.and_then(std::error::Error::source) {
        innermost = Some(next);
    }
    innermost.map_or_else(|| error.to_string(), ToString::to_string)
}

#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: Vec<u8>,
}

impl Reply {
    fn data<T: DeserializeOwned>(&self, api: &Api) -> Result<T, Failure> {
        #[derive(Deserialize)]
        struct Data<T> {
            data: T,
        }
        serde_json::from_slice::<Data<T>>(&self.body).map(|reply| reply.data).map_err(|_| self.foreign(api))
    }

    fn errors(&self) -> Vec<Problem> {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<Problem>,
        }
        serde_json::from_slice::<Errors>(&self.body).map(|reply| reply.errors).unwrap_or_default()
    }

    fn refusal(&self, api: &Api, attempt: &str) -> Failure {
        let details: Vec<String> = self.errors().into_iter().map(|error| error.detail).collect();
        if self.status == StatusCode::UNAUTHORIZED {
            let next = match api.key {
                Key::Given(_) => "set ROOMFUL_API_KEY to the key that the server was started with",
                Key::Development => {
                    "it was not started with --dev; set ROOMFUL_API_KEY to the key that it was started with"
                }
            };
            return Failure::refused(format!("{attempt}: {} refuses the API key; {next}", api.server()));
        }
        if details.is_empty() {
            return self.foreign(api);
        }
        let text = format!("{attempt}: {}", details.join("; "));
        if self.status == StatusCode::FORBIDDEN { Failure::refused(text) } else { Failure::work(text) }
    }

    fn foreign(&self, api: &Api) -> Failure {
        Failure::unreachable(format!(
            "{} answers with status {}, but not as a roomful server does; check the address in --server or \
             ROOMFUL_SERVER",
            api.server(),
            self.status.as_u16()
        ))
    }
}

#[derive(Debug, Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

#[derive(Debug, Deserialize)]
struct RoomData {
    id: RoomId,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use roomful_server::ServerConfig;

    use super::*;
    use crate::failure::FailureKind;

    fn url(text: &str) -> Url {
        parse_server(text).unwrap()
    }

    #[test]
    fn the_development_key_is_long_enough_and_for_loopback_only() {
        assert!(DEVELOPMENT_KEY.len() >= ServerConfig::API_KEY_MIN_BYTES);
        for server in ["http://127.0.0.1:7070", "http://[::1]:7070/", "http://localhost"] {
            assert_eq!(choose_key(None, &url(server)), Ok(Key::Development));
        }
        for server in ["http://192.0.2.1:7070", "https://rooms.example", "http://localhost.example"] {
            let failure = choose_key(None, &url(server)).unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Usage);
            let given = Key::Given("k".to_owned());
            assert_eq!(choose_key(Some(given.clone()), &url(server)), Ok(given));
        }
    }

    #[test]
    fn only_addresses_of_the_web_are_servers() {
        for text in ["127.0.0.1:7070", "ftp://host", "", "http://"] {
            assert_eq!(parse_server(text).unwrap_err().kind(), FailureKind::Usage, "{text}");
        }
    }

    #[test]
    fn refusals_name_cause_and_next_step() {
        let api = Api::with_key(url("http://127.0.0.1:1"), Key::Development).unwrap();
        let reply = |status, body: &str| Reply { status, body: body.as_bytes().to_vec() };
        let failure = reply(StatusCode::UNAUTHORIZED, "{}").refusal(&api, "cannot make the room");
        assert_eq!(failure.kind(), FailureKind::Refused);
        assert!(failure.to_string().contains("not started with --dev"), "{failure}");
        let body =
            r#"{"errors":[{"code":"invalid","title":"t","detail":"identity is 5; it must be a string"}]}"#;
        let failure = reply(StatusCode::UNPROCESSABLE_ENTITY, body).refusal(&api, "cannot make a token");
        assert_eq!(failure.to_string(), "cannot make a token: identity is 5; it must be a string");
        let failure = reply(StatusCode::NOT_FOUND, "<html>").refusal(&api, "cannot look the room up");
        assert_eq!(failure.kind(), FailureKind::Unreachable);
    }
}
