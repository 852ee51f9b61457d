//! Who may join: decided by the token and the store.

use std::sync::Arc;

use roomful_sfu::{Admission, AdmissionError, Grant};
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
        let join = self.tokens.verify_access(token, clock::unix_ms()).map_err(|error| match error {
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
        let crate::token::JoinGrant { identity, context, permissions, .. } = join.grant;
        Ok(Grant { identity, context, permissions, max_participants })
    }
}
