//! Who may join: decided by the token and the store.

use std::{sync::Arc, time::Duration};

use roomful_sfu::{Admission, AdmissionError, Grant, GrantId};
use roomful_types::RoomId;

use crate::{
    clock,
    store::Store,
    token::{TokenAuthority, TokenError},
};

/// Admits who has a valid access token for a room that exists.
#[derive(Debug)]
pub(crate) struct TokenAdmission {
    pub(crate) tokens: Arc<TokenAuthority>,
    pub(crate) store: Arc<dyn Store>,
}

impl Admission for TokenAdmission {
    fn admit(&self, room: RoomId, token: &str) -> Result<Grant, AdmissionError> {
        let now = clock::unix_ms();
        let join = self.tokens.verify_access(token, now).map_err(|error| match error {
            TokenError::Expired => AdmissionError::ExpiredToken,
            TokenError::Malformed
            | TokenError::BadSignature
            | TokenError::NotYetValid
            | TokenError::WrongKind { .. } => AdmissionError::InvalidToken,
        })?;
        if join.grant.room != room {
            return Err(AdmissionError::InvalidToken);
        }
        let max_participants = self.store.room(room).ok_or(AdmissionError::UnknownRoom)?.max_participants;
        let crate::token::JoinGrant { identity, context, permissions, grant, .. } = join.grant;
        let ends_at_ms = join.expires_at_unix.saturating_mul(1000);
        Ok(Grant {
            identity,
            context,
            permissions,
            max_participants,
            id: GrantId(grant.into_bytes()),
            remaining: Duration::from_millis(ends_at_ms.saturating_sub(now)),
            life: Duration::from_secs(join.expires_at_unix.saturating_sub(join.issued_at_unix)),
        })
    }
}
