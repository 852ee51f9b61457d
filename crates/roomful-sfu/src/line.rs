//! The way to one participant: its connection while there is one, and what it may have missed on a lost one.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use roomful_protocol::{MessageNotice, RequestId, ServerMessage, limits};

use crate::sfu::SessionId;

/// Where what a participant is told goes.
#[derive(Debug)]
pub(crate) struct Line {
    state: LineState,
    /// What requests came to, to be repeated when they are.
    answers: BTreeMap<RequestId, ServerMessage>,
    /// Messages that the client has not acknowledged, oldest first.
    unacknowledged: VecDeque<MessageNotice>,
    unacknowledged_bytes: usize,
    /// The newest message that was given up; who has not got it cannot resume.
    given_up: u64,
}

#[derive(Debug)]
enum LineState {
    Attached(SessionId),
    /// Lost, and forgotten at this time.
    Detached(Instant),
}

impl Line {
    pub(crate) const fn new(session: SessionId) -> Self {
        Self {
            state: LineState::Attached(session),
            answers: BTreeMap::new(),
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
            given_up: 0,
        }
    }

    /// Returns the connection, while there is one.
    pub(crate) const fn session(&self) -> Option<SessionId> {
        match self.state {
            LineState::Attached(session) => Some(session),
            LineState::Detached(_) => None,
        }
    }

    /// Returns until when a lost connection may be made up for; none while there is one.
    pub(crate) const fn detached_until(&self) -> Option<Instant> {
        match self.state {
            LineState::Attached(_) => None,
            LineState::Detached(until) => Some(until),
        }
    }

    /// Returns whether it was lost and not found again until now.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        matches!(self.state, LineState::Detached(until) if until <= now)
    }

    pub(crate) const fn attach(&mut self, session: SessionId) {
        self.state = LineState::Attached(session);
    }

    pub(crate) const fn detach(&mut self, until: Instant) {
        self.state = LineState::Detached(until);
    }

    /// Returns what a request came to, if it was carried out before.
    pub(crate) fn answer(&self, request: RequestId) -> Option<&ServerMessage> {
        self.answers.get(&request)
    }

    /// Remembers what a request came to.
    pub(crate) fn remember(&mut self, request: RequestId, answer: ServerMessage) {
        self.answers.insert(request, answer);
        if self.answers.len() > limits::ANSWERS_MAX {
            self.answers.pop_first();
        }
    }

    /// Forgets what a request came to: its effect is gone, so if it is repeated, it is asked anew.
    pub(crate) fn forget(&mut self, request: RequestId) {
        self.answers.remove(&request);
    }

    /// Keeps a message until the client has acknowledged it; the oldest ones are given up when there are too many.
    pub(crate) fn keep(&mut self, message: MessageNotice, max_bytes: usize) {
        self.unacknowledged_bytes += size(&message);
        self.unacknowledged.push_back(message);
        while self.unacknowledged_bytes > max_bytes {
            let Some(oldest) = self.pop() else { return };
            self.given_up = oldest.delivery;
        }
    }

    /// The client has got every message up to this number.
    pub(crate) fn acknowledge(&mut self, received: u64) {
        while self.unacknowledged.front().is_some_and(|message| message.delivery <= received) {
            self.pop();
        }
    }

    /// Returns the messages that a client missed which has got everything up to `received`; none when not all are left.
    pub(crate) fn missed(&mut self, received: u64) -> Option<Vec<MessageNotice>> {
        self.acknowledge(received);
        (received >= self.given_up).then(|| self.unacknowledged.iter().cloned().collect())
    }

    /// Panics when more is remembered than may be.
    pub(crate) fn check_invariants(&self, max_bytes: usize) {
        assert!(self.answers.len() <= limits::ANSWERS_MAX);
        assert_eq!(self.unacknowledged_bytes, self.unacknowledged.iter().map(size).sum::<usize>());
        assert!(self.unacknowledged_bytes <= max_bytes);
        assert!(self.unacknowledged.front().is_none_or(|oldest| oldest.delivery > self.given_up));
    }

    fn pop(&mut self) -> Option<MessageNotice> {
        let message = self.unacknowledged.pop_front()?;
        self.unacknowledged_bytes -= size(&message);
        Some(message)
    }
}

/// What a kept message is taken to need, in bytes.
fn size(message: &MessageNotice) -> usize {
    const OVERHEAD: usize = 256;
    let meta = message.message.meta.as_ref().map_or(0, |meta| meta.len());
    let recipients = message.recipients.as_ref().map_or(0, |recipients| size_of_val(&**recipients));
    OVERHEAD + message.message.payload.len() + meta + recipients
}
