//! Client tokens of a simulated server: names of grants, good for as long as virtual time says.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use roomful_sfu::{Admission, AdmissionError, Grant, GrantId};
use roomful_types::{Permissions, RoomId};

/// What a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// The application's own name for who joins.
    pub identity: Option<String>,
    /// What others shall know; wins over what the client says.
    pub context: Option<String>,
    /// What the participant may do. Default everything but moderating.
    pub permissions: Permissions,
    /// How long the token is good for. Default 600 s.
    pub life: Duration,
    /// Whether it is a refresh token, which opens no door. Default no.
    pub is_refresh: bool,
}

impl Default for TokenRequest {
    fn default() -> Self {
        Self {
            identity: None,
            context: None,
            permissions: Permissions::default(),
            life: Duration::from_secs(600),
            is_refresh: false,
        }
    }
}

/// The tokens that were issued, and the rooms that they are for.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<Mutex<Issued>>);

#[derive(Debug)]
struct Issued {
    now: Instant,
    rooms: BTreeMap<RoomId, u32>,
    tokens: BTreeMap<String, Token>,
    grants: u128,
}

#[derive(Debug, Clone)]
struct Token {
    room: RoomId,
    request: TokenRequest,
    grant: GrantId,
    expires_at: Instant,
}

impl Tokens {
    /// Makes an office that has issued nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Issued { now, rooms: BTreeMap::new(), tokens: BTreeMap::new(), grants: 0 })))
    }

    /// Makes a room known, or changes how many participants it may have.
    pub fn put_room(&self, room: RoomId, max_participants: u32) {
        self.0.lock().rooms.insert(room, max_participants);
    }

    /// Forgets a room.
    pub fn delete_room(&self, room: RoomId) {
        self.0.lock().rooms.remove(&room);
    }

    /// Issues a token of a new grant.
    #[must_use]
    pub fn issue(&self, room: RoomId, request: TokenRequest) -> String {
        let mut issued = self.0.lock();
        issued.grants += 1;
        let grant = GrantId(issued.grants.to_be_bytes());
        issued.add(room, request, grant)
    }

    /// Issues a refresh token of the grant of this one; none when it was never issued.
    #[must_use]
    pub fn refresh_token(&self, token: &str, life: Duration) -> Option<String> {
        self.0.lock().again(token, life, true)
    }

    /// Issues a token for the grant of a refresh token; none when it is no refresh token, or no longer.
    #[must_use]
    pub fn refresh(&self, refresh_token: &str, life: Duration) -> Option<String> {
        let mut issued = self.0.lock();
        let now = issued.now;
        issued
            .tokens
            .get(refresh_token)
            .filter(|token| token.request.is_refresh && token.expires_at > now)?;
        issued.again(refresh_token, life, false)
    }

    /// Lets time pass.
    pub(crate) fn set_time(&self, now: Instant) {
        let mut issued = self.0.lock();
        issued.now = issued.now.max(now);
    }
}

impl Issued {
    fn again(&mut self, token: &str, life: Duration, is_refresh: bool) -> Option<String> {
        let Token { room, request, grant, .. } = self.tokens.get(token)?.clone();
        Some(self.add(room, TokenRequest { life, is_refresh, ..request }, grant))
    }

    fn add(&mut self, room: RoomId, request: TokenRequest, grant: GrantId) -> String {
        let text = format!("token-{}", self.tokens.len());
        let expires_at = self.now + request.life;
        self.tokens.insert(text.clone(), Token { room, request, grant, expires_at });
        text
    }
}

impl Admission for Tokens {
    fn admit(&self, room: RoomId, token: &str) -> Result<Grant, AdmissionError> {
        let issued = self.0.lock();
        let token = issued.tokens.get(token).ok_or(AdmissionError::InvalidToken)?;
        if token.room != room || token.request.is_refresh {
            return Err(AdmissionError::InvalidToken);
        }
        if token.expires_at <= issued.now {
            return Err(AdmissionError::ExpiredToken);
        }
        let max_participants = *issued.rooms.get(&room).ok_or(AdmissionError::UnknownRoom)?;
        let TokenRequest { identity, context, permissions, life, .. } = token.request.clone();
        let remaining = token.expires_at - issued.now;
        Ok(Grant { identity, context, permissions, max_participants, id: token.grant, remaining, life })
    }
}
