//! Client tokens: who may join which room, as what, until when.

use std::{fmt, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use roomful_types::{Permissions, RoomId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Issues and verifies client tokens: JSON web tokens (RFC 7519) signed with HMAC-SHA-256 (HS256, RFC 7518 §3.2).
///
/// Everybody who knows the API key can issue tokens, and nobody else. The signing secret is the API key behind the
/// prefix `roomful-token:`, so that what is signed here cannot pass for anything else made from the same key.
///
/// Pure: time and randomness come in as arguments.
pub(crate) struct TokenAuthority {
    sign: EncodingKey,
    verify: DecodingKey,
    validation: Validation,
}

impl TokenAuthority {
    /// Derives the signing secret from the API key of the server.
    #[must_use]
    pub(crate) fn new(api_key: &str) -> Self {
        let secret = [SECRET_PREFIX, api_key.as_bytes()].concat();
        // Only this algorithm is accepted, whatever the header of a token says (RFC 8725 §3.1).
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "aud"]);
        // The library would read the clock itself; `verify` compares with the time that is given.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            sign: EncodingKey::from_secret(&secret),
            verify: DecodingKey::from_secret(&secret),
            validation,
        }
    }

    /// Writes and signs a token.
    ///
    /// * `ttl`: life from now; fractions of a second are cut off. [`expiry_unix`] tells when it ends.
    /// * `now_unix_ms`: the current time, in milliseconds since 1970.
    /// * `jti`: 16 random bytes, the name of this one token.
    ///
    /// Does not check the grant: a token with one that [`JoinGrant::validate`] refuses is refused on use, too.
    #[must_use]
    pub(crate) fn issue(
        &self,
        grant: &JoinGrant,
        kind: TokenKind,
        ttl: Duration,
        now_unix_ms: u64,
        jti: [u8; 16],
    ) -> String {
        let issued_at = now_unix_ms / 1000;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: grant.identity.clone(),
            jti: uuid::Builder::from_random_bytes(jti).into_uuid(),
            iat: issued_at,
            nbf: issued_at.saturating_sub(1),
            exp: expiry_unix(ttl, now_unix_ms),
            typ: kind,
            room: grant.room,
            grant: grant.grant,
            context: grant.context.clone(),
            permissions: grant.permissions,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
            .expect("the key fits the algorithm, and claims hold only what JSON can say")
    }

    /// Checks a token that is presented to join a room.
    ///
    /// * `now_unix_ms`: the current time, in milliseconds since 1970.
    ///
    /// # Errors
    /// See [`TokenError`]; [`TokenError::WrongKind`] for a refresh token.
    pub(crate) fn verify_access(&self, token: &str, now_unix_ms: u64) -> Result<VerifiedJoin, TokenError> {
        self.verify(token, TokenKind::Access, now_unix_ms)
    }

    /// Checks a token that is presented to get a new access token.
    ///
    /// * `now_unix_ms`: the current time, in milliseconds since 1970.
    ///
    /// # Errors
    /// See [`TokenError`]; [`TokenError::WrongKind`] for an access token.
    pub(crate) fn verify_refresh(&self, token: &str, now_unix_ms: u64) -> Result<VerifiedJoin, TokenError> {
        self.verify(token, TokenKind::Refresh, now_unix_ms)
    }

    fn verify(&self, token: &str, wanted: TokenKind, now_unix_ms: u64) -> Result<VerifiedJoin, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verify, &self.validation)
            .map_err(|error| {
                let foreign =
                    matches!(error.kind(), ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm);
                if foreign { TokenError::BadSignature } else { TokenError::Malformed }
            })?
            .claims;
        if claims.typ != wanted {
            return Err(TokenError::WrongKind { wanted });
        }
        // "on or after" the expiration time it must not be accepted (RFC 7519 §4.1.4).
        if now_unix_ms >= claims.exp.saturating_mul(1000) {
            return Err(TokenError::Expired);
        }
        if now_unix_ms.saturating_add(NOT_BEFORE_LEEWAY_MS) < claims.nbf.saturating_mul(1000) {
            return Err(TokenError::NotYetValid);
        }
        let grant = JoinGrant {
            room: claims.room,
            identity: claims.sub,
            context: claims.context,
            permissions: claims.permissions,
            grant: claims.grant,
        };
        grant.validate().map_err(|_| TokenError::Malformed)?;
        Ok(VerifiedJoin { grant, issued_at_unix: claims.iat, expires_at_unix: claims.exp })
    }
}

impl fmt::Debug for TokenAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAuthority").finish_non_exhaustive()
    }
}

/// What a token grants: one room, and who its holder is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinGrant {
    /// The only room that may be joined.
    pub room: RoomId,
    /// The application's name for who joins, see [`check_identity`](Self::check_identity).
    pub identity: Option<String>,
    /// What the application wants the others to know of who joins, see [`check_context`](Self::check_context).
    pub context: Option<String>,
    /// What the holder may do.
    pub permissions: Permissions,
    /// Id of the grant. Access and refresh token of one grant share it and a refresh keeps it, so that all of them can
    /// be refused at once.
    pub grant: Uuid,
}

impl JoinGrant {
    /// Longest identity, in bytes: room for a mail address (254, RFC 5321 §4.5.3.1.3) or any usual account id.
    pub(crate) const MAX_IDENTITY_BYTES: usize = 256;
    /// Longest context, in bytes. Every participant gets that of every other, so it grows with the square of the room.
    pub(crate) const MAX_CONTEXT_BYTES: usize = 8 * 1024;

    /// Checks an identity: 1 ..= 256 bytes of UTF-8 without control characters.
    ///
    /// # Errors
    /// [`GrantError::IdentityLength`] or [`GrantError::IdentityControl`].
    pub(crate) fn check_identity(identity: &str) -> Result<(), GrantError> {
        if identity.is_empty() || identity.len() > Self::MAX_IDENTITY_BYTES {
            return Err(GrantError::IdentityLength { bytes: identity.len() });
        }
        if identity.chars().any(char::is_control) {
            return Err(GrantError::IdentityControl);
        }
        Ok(())
    }

    /// Checks a context: at most 8 KiB of UTF-8, of control characters only tab, line feed and carriage return.
    ///
    /// The others would grow sixfold in JSON, and a token of the longest context must still fit a request.
    ///
    /// # Errors
    /// [`GrantError::ContextLength`] or [`GrantError::ContextControl`].
    pub(crate) fn check_context(context: &str) -> Result<(), GrantError> {
        if context.len() > Self::MAX_CONTEXT_BYTES {
            return Err(GrantError::ContextLength { bytes: context.len() });
        }
        if context.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
            return Err(GrantError::ContextControl);
        }
        Ok(())
    }

    /// Checks identity and context.
    ///
    /// # Errors
    /// The first that is wrong, see [`GrantError`].
    pub(crate) fn validate(&self) -> Result<(), GrantError> {
        self.identity.as_deref().map_or(Ok(()), Self::check_identity)?;
        self.context.as_deref().map_or(Ok(()), Self::check_context)
    }
}

/// Why a grant cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrantError {
    /// The identity is empty or too long.
    #[error("identity of {bytes} bytes is outside 1 to {}", JoinGrant::MAX_IDENTITY_BYTES)]
    IdentityLength {
        /// Bytes seen.
        bytes: usize,
    },
    /// The identity has a control character.
    #[error("identity contains a control character; none is allowed")]
    IdentityControl,
    /// The context is too long.
    #[error("context of {bytes} bytes exceeds limit of {}", JoinGrant::MAX_CONTEXT_BYTES)]
    ContextLength {
        /// Bytes seen.
        bytes: usize,
    },
    /// The context has a control character.
    #[error("context contains a control character; only tab, line feed and carriage return are allowed")]
    ContextControl,
}

/// What a token is for. One kind is never accepted in place of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenKind {
    /// To join a room.
    Access,
    /// To get a new access token.
    Refresh,
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        })
    }
}

/// A token that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifiedJoin {
    /// What it grants.
    pub grant: JoinGrant,
    /// When it was issued, in seconds since 1970.
    pub issued_at_unix: u64,
    /// When it ends, in seconds since 1970.
    pub expires_at_unix: u64,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// Not a token of roomful, cut off, or with an identity or context that is not allowed.
    #[error(
        "the token is not one of roomful or was cut off; the application must pass it on as it was issued"
    )]
    Malformed,
    /// Signed with another key, by another algorithm, or changed.
    #[error(
        "the signature does not match the api key of this server; the application's backend must issue the token with that key"
    )]
    BadSignature,
    /// Its time is over.
    #[error("the token has expired; the application's backend must issue a new one")]
    Expired,
    /// Its time has not come, by more than 5 s.
    #[error("the token is not valid yet; who runs the servers must set the clock of the one that issued it")]
    NotYetValid,
    /// A refresh token to join with, or an access token to refresh with.
    #[error("the token is of the wrong kind; the application must send its {wanted} token here")]
    WrongKind {
        /// The kind that is accepted.
        wanted: TokenKind,
    },
}

impl TokenError {
    /// Returns the reason as a stable word for programs.
    #[must_use]
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
            Self::BadSignature => "token_bad_signature",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::WrongKind { .. } => "token_wrong_kind",
        }
    }
}

/// Returns when a token issued at `now_unix_ms` (milliseconds since 1970) with a life of `ttl` ends, in seconds since
/// 1970.
#[must_use]
pub(crate) const fn expiry_unix(ttl: Duration, now_unix_ms: u64) -> u64 {
    (now_unix_ms / 1000).saturating_add(ttl.as_secs())
}

/// The claims of a token (RFC 7519 §4.1), then ours.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    jti: Uuid,
    iat: u64,
    nbf: u64,
    exp: u64,
    typ: TokenKind,
    room: RoomId,
    grant: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    #[serde(default)]
    permissions: Permissions,
}

/// Separates the use of the API key for tokens from every other one.
const SECRET_PREFIX: &[u8] = b"roomful-token:";

/// Issuer and audience of every token.
const ISSUER: &str = "roomful";

/// How far the clock of an issuer may run ahead: chosen; two servers with time synchronization differ by far less.
const NOT_BEFORE_LEEWAY_MS: u64 = 5000;

/// Longest token that is looked at. The longest valid one has about 23,200 bytes: identity and context twice as long by
/// JSON's escapes, a third more by base64.
const MAX_TOKEN_BYTES: usize = 24 * 1024;

#[cfg(test)]
mod tests;
