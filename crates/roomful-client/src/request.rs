//! What is asked of the server, and what its answers lead to.

use roomful_protocol::{ClientMessage, ErrorCode, RequestId};
use roomful_types::{DisconnectReason, MediaKind, ParticipantId, StreamId, StreamKey};

use crate::{
    client::{Client, Output},
    command::{CommandError, CommandId, Reply},
};

/// A request to the server.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) what: Request,
    /// To be said again, should the connection get lost.
    pub(crate) message: ClientMessage,
    /// Whether it was said, as far as this side knows.
    pub(crate) is_sent: bool,
}

/// What a request to the server was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Join,
    Resume,
    Leave,
    Ping,
    Offer,
    Change,
    Unpublish(Option<CommandId>, StreamKey),
    Subscribe,
    UpdateSubscription,
    Unsubscribe(Option<CommandId>, (ParticipantId, StreamKey), StreamId),
    Token(CommandId, String),
    /// Changes nothing here.
    Plain(CommandId),
}

/// What nobody waits for any more, and has to go, or to be told.
#[derive(Debug)]
pub(crate) enum Undo {
    Publication(StreamKey),
    /// A track that was muted is not heard any more, whoever knows.
    Track(StreamKey, MediaKind),
    Subscription((ParticipantId, StreamKey), StreamId),
}

impl Request {
    /// Returns whether it matters to this command and to nothing else.
    pub(crate) fn is_only_for(&self, command: CommandId) -> bool {
        match self {
            Self::Plain(id) | Self::Token(id, _) => *id == command,
            Self::Join
            | Self::Resume
            | Self::Leave
            | Self::Ping
            | Self::Offer
            | Self::Change
            | Self::Unpublish(..)
            | Self::Subscribe
            | Self::UpdateSubscription
            | Self::Unsubscribe(..) => false,
        }
    }
}

impl Client {
    /// Sends a request and remembers what it is for.
    pub(crate) fn request(
        &mut self,
        what: Request,
        message: impl FnOnce(RequestId) -> ClientMessage,
    ) -> RequestId {
        self.last_request = self.last_request.wrapping_add(1);
        let id = RequestId(self.last_request);
        let message = message(id);
        let is_sent = self.link.is_up() || what == Request::Resume;
        self.requests.insert(id, Asked { what, message: message.clone(), is_sent });
        if is_sent {
            self.outputs.push_back(Output::Send(message));
        }
        id
    }

    /// Returns whether a request is under way and of this kind, and forgets it if so.
    pub(crate) fn take_request(&mut self, id: RequestId, what: &Request) -> bool {
        let is_this = self.requests.get(&id).is_some_and(|asked| asked.what == *what);
        if is_this {
            self.requests.remove(&id);
        }
        is_this
    }

    pub(crate) fn on_response(&mut self, id: RequestId, result: Result<Reply, ErrorCode>) {
        let Some(Asked { what: request, .. }) = self.requests.remove(&id) else { return };
        let request = match (request, result) {
            (Request::Unpublish(None, key), Err(ErrorCode::RateLimited)) => {
                return self.refused.push(Undo::Publication(key));
            }
            (Request::Unsubscribe(None, name, stream), Err(ErrorCode::RateLimited)) => {
                self.subscriptions.on_end_refused(&name);
                return self.refused.push(Undo::Subscription(name, stream));
            }
            (request, _) => request,
        };
        let refused = result.map_err(CommandError::Refused);
        match request {
            Request::Join | Request::Resume => {
                let Err(code) = result else { return self.end(DisconnectReason::ProtocolError) };
                self.end_with(reason_of(code), CommandError::Refused(code));
            }
            Request::Leave => self.end(DisconnectReason::UserInitiated),
            Request::Ping => {}
            Request::Offer => {
                if let Err(error) = refused {
                    self.fail_negotiation(error);
                }
            }
            Request::Change => self.on_change_answered(id, result),
            Request::Unpublish(command, key) => self.on_unpublish_answered(command, &key, result),
            Request::Subscribe => self.on_subscribed(id, result),
            Request::UpdateSubscription => self.on_subscription_updated(id, result),
            Request::Unsubscribe(command, name, stream) => {
                self.on_unsubscribed(command, name, stream, result);
            }
            Request::Plain(command) | Request::Token(command, _) => self.finish(Some(command), refused),
        }
    }

    /// Asks once more for what the server refused, unless it went by itself meanwhile.
    pub(crate) fn undo_again(&mut self, undo: Undo) {
        match undo {
            Undo::Publication(key) if self.publications.is_ending(&key) => self.unpublish(None, key),
            Undo::Track(key, kind) => self.mute_again(key, kind),
            Undo::Subscription(name, stream) if self.subscriptions.is_ending(&name, stream) => {
                self.unsubscribe(None, name);
            }
            Undo::Publication(_) | Undo::Subscription(..) => {}
        }
    }
}

const fn reason_of(code: ErrorCode) -> DisconnectReason {
    match code {
        ErrorCode::Unauthorized | ErrorCode::TokenExpired => DisconnectReason::Unauthorized,
        ErrorCode::Forbidden => DisconnectReason::Forbidden,
        ErrorCode::RoomFull => DisconnectReason::RoomFull,
        ErrorCode::UnknownRoom => DisconnectReason::RoomExpired,
        ErrorCode::Kicked => DisconnectReason::Kicked,
        ErrorCode::DuplicateIdentity => DisconnectReason::DuplicateIdentity,
        ErrorCode::ResumeExpired | ErrorCode::MessagesLost => DisconnectReason::NetworkError,
        ErrorCode::UnsupportedVersion
        | ErrorCode::UnknownParticipant
        | ErrorCode::UnknownStream
        | ErrorCode::UnknownRecipient
        | ErrorCode::KeyInUse
        | ErrorCode::OwnStream
        | ErrorCode::AlreadySubscribed
        | ErrorCode::NotSubscribed
        | ErrorCode::SlotUnavailable
        | ErrorCode::MidUnavailable
        | ErrorCode::TooLarge
        | ErrorCode::LimitReached
        | ErrorCode::RateLimited
        | ErrorCode::BadOffer
        | ErrorCode::BadRequest
        | ErrorCode::Internal
        | ErrorCode::Unknown => DisconnectReason::ProtocolError,
    }
}
