//! What a fake server does wrong on purpose.

use std::{collections::VecDeque, fmt, time::Duration};

use roomful_protocol::{ClientMessage, ErrorCode, ServerMessage};

/// How a fake server misbehaves in what it says. The default is not at all.
#[derive(Debug, Default)]
pub struct Faults {
    /// The most that is added to the delay of each message, drawn evenly; order is kept. Default 0.
    pub delay: Duration,
    /// Share of messages that are said behind the next one, 0 ..= 1. Default 0. No transport of ours does that; a client must
    /// survive it all the same.
    pub reorder: f64,
    /// Share of messages that are said twice, 0 ..= 1. Default 0.
    pub repeat: f64,
    /// Share of messages behind which the connection breaks without a word, 0 ..= 1. Default 0.
    pub disconnect: f64,
    /// Whether nothing is said and nothing heard, on connections that stay open. Default no.
    pub stall: bool,
    /// How long what a media shard reports takes to reach the deciding engine, at most, drawn evenly. Default 0.
    pub notice_delay: Duration,
    /// Answers that are given instead of asking the engine, the first one to the next request that it is for.
    pub script: VecDeque<Script>,
}

/// Makes what is said to a request.
pub type Answer = Box<dyn FnOnce(&ClientMessage) -> Vec<ServerMessage> + Send>;

/// An answer that was written beforehand.
pub struct Script {
    /// Whether it answers this request.
    pub is_for: Box<dyn Fn(&ClientMessage) -> bool + Send>,
    /// What it says; nothing at all when empty.
    pub answer: Answer,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    /// Refuses the next request that `is_for` is true of.
    #[must_use]
    pub fn refuse(is_for: impl Fn(&ClientMessage) -> bool + Send + 'static, code: ErrorCode) -> Self {
        let answer = move |message: &ClientMessage| {
            let request = message.request();
            vec![roomful_protocol::ErrorResponse { request, code }.into()]
        };
        Self { is_for: Box::new(is_for), answer: Box::new(answer) }
    }

    /// Never answers the next request that `is_for` is true of.
    #[must_use]
    pub fn ignore(is_for: impl Fn(&ClientMessage) -> bool + Send + 'static) -> Self {
        Self { is_for: Box::new(is_for), answer: Box::new(|_| Vec::new()) }
    }
}

impl Faults {
    /// Returns the answer that was written for this request, if there is one.
    pub(crate) fn scripted(&mut self, message: &ClientMessage) -> Option<Vec<ServerMessage>> {
        let script = self.script.pop_front_if(|script| (script.is_for)(message))?;
        Some((script.answer)(message))
    }
}
