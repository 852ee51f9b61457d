//! The client token of a stay: when it ends, and how a newer one takes its place.

use std::time::{Duration, Instant};

use roomful_protocol::{TokenResponse, TokenTerm, UpdateTokenRequest};
use roomful_state::Action;

use crate::{
    client::Client,
    command::{CommandId, Reply},
    request::Request,
};

/// The newest token that the server accepted.
pub(crate) struct Token {
    pub(crate) text: String,
    expires_at: Option<Instant>,
    /// When the application is to hear that it ends; none once it has.
    pub(crate) warn_at: Option<Instant>,
    was_warned: bool,
}

/// The least time that an application gets to renew its token.
const WARNING_MIN: Duration = Duration::from_secs(5);

impl Token {
    pub(crate) const fn new(text: String) -> Self {
        Self { text, expires_at: None, warn_at: None, was_warned: false }
    }
}

impl std::fmt::Debug for Token {
    /// Whoever reads a log must not be able to join.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn on_update_token(&mut self, command: CommandId, token: String) {
        let what = Request::Token(command, token.clone());
        self.request(what, |request| UpdateTokenRequest { request, token }.into());
    }

    pub(crate) fn on_token_updated(&mut self, response: &TokenResponse) {
        let Some(Request::Token(command, text)) =
            self.requests.get(&response.request).map(|asked| asked.what.clone())
        else {
            return;
        };
        self.requests.remove(&response.request);
        self.token = Some(Token::new(text));
        self.set_token_term(response.term);
        self.finish(Some(command), Ok(Reply::Done));
    }

    /// Returns the token that a resume shows: the newest that was accepted, or, once that has ended, the newest that the server has not
    /// answered to.
    pub(crate) fn token_to_show(&self) -> String {
        let accepted = self.token.as_ref();
        let is_over = accepted.is_none_or(|token| token.expires_at.is_some_and(|at| at <= self.now));
        let offered = self
            .requests
            .values()
            .rev()
            .find_map(|asked| if let Request::Token(_, text) = &asked.what { Some(text) } else { None });
        let offered = offered.filter(|_| is_over);
        offered.or(accepted.map(|token| &token.text)).cloned().unwrap_or_default()
    }

    /// The token that a resume showed is in force, whatever becomes of the request that offers it.
    pub(crate) fn on_token_shown(&mut self) {
        let shown = self.shown_token.take();
        let is_in_force = |shown: &String| self.token.as_ref().is_some_and(|token| token.text == *shown);
        if let Some(newer) = shown.filter(|shown| !is_in_force(shown)) {
            self.token = Some(Token::new(newer));
        }
    }

    /// Notes when the token ends. The warning comes a fifth of its life before.
    pub(crate) fn set_token_term(&mut self, term: TokenTerm) {
        let Some(token) = &mut self.token else { return };
        let remaining = Duration::from_millis(term.remaining_ms);
        let warning = Duration::from_millis(term.life_ms / 5).max(WARNING_MIN);
        // A token that outlives every clock needs no warning.
        token.expires_at = self.now.checked_add(remaining);
        let warn_at = self.now.checked_add(remaining.saturating_sub(warning));
        // A resume tells the term of the same token again.
        token.warn_at = warn_at.filter(|_| !token.was_warned);
    }

    pub(crate) fn warn_of_token_end(&mut self) {
        let now = self.now;
        let Some(token) = &mut self.token else { return };
        if token.warn_at.take_if(|at| *at <= now).is_some() {
            token.was_warned = true;
            let remaining = token.expires_at.map_or(Duration::MAX, |at| at.saturating_duration_since(now));
            self.apply(Action::TokenExpiring { remaining });
        }
    }
}
