//! The connection to the server when it gets lost: tried again, and taken up where it was.

use std::time::{Duration, Instant};

use rand::RngExt;
use roomful_protocol::{
    JoinResponse, LayerChangedNotice, RequestId, ResumeKey, ResumeRequest, ResumeResponse, WIRE_VERSION,
};
use roomful_state::{Action, Connection, LeaveReason};
use roomful_types::{DisconnectReason, ParticipantId, StreamId};

use crate::{
    client::{Client, Output, Stage, participant},
    request::Request,
};

/// Whether the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    Down(Outage),
}

/// A loss that is being made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    /// When it is too late.
    until: Instant,
    attempts: u32,
    attempt: Attempt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// The next one begins at this time.
    Pausing(Instant),
    /// The connection is to be open by this time.
    Opening(Instant),
    /// The server is to have answered by this time.
    Resuming(Instant, RequestId),
}

/// What a resume must show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    participant: ParticipantId,
    key: ResumeKey,
    window: Duration,
}

impl Ticket {
    pub(crate) fn new(response: &JoinResponse) -> Self {
        Self {
            participant: response.participant_id,
            key: response.resume_key,
            window: Duration::from_millis(response.resume_window_ms.into()),
        }
    }
}

impl Link {
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }

    /// Returns when something is due while the connection is lost.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let Self::Down(Outage { until, attempt, .. }) = self else { return None };
        let (Attempt::Pausing(at) | Attempt::Opening(at) | Attempt::Resuming(at, _)) = attempt;
        Some(*at.min(until))
    }
}

impl Client {
    /// The connection is of no use any more: ends it, and tries again.
    pub(crate) fn drop_link(&mut self) {
        if self.can_reconnect() {
            self.outputs.push_back(Output::CloseSignal);
        }
        self.on_link_lost();
    }

    /// The connection is gone, or an attempt to make it again came to nothing.
    pub(crate) fn on_link_lost(&mut self) {
        if !self.can_reconnect() {
            return self.end(DisconnectReason::NetworkError);
        }
        // Nobody waits for a ping, and a resume is asked for anew.
        self.requests.retain(|_, asked| !matches!(asked.what, Request::Ping | Request::Resume));
        let (until, attempts) = match self.link {
            Link::Up => (self.now + self.window(), 0),
            Link::Down(Outage { until, attempts, .. }) => (until, attempts),
        };
        let attempt = Attempt::Pausing(self.now + self.pause(attempts));
        self.link = Link::Down(Outage { until, attempts: attempts + 1, attempt });
        self.apply(Action::Reconnecting);
    }

    pub(crate) fn on_link_timeout(&mut self) {
        let Link::Down(outage) = self.link else { return };
        if self.now >= outage.until {
            return self.end(DisconnectReason::NetworkError);
        }
        match outage.attempt {
            Attempt::Pausing(at) if at <= self.now => {
                let attempt = Attempt::Opening(self.now + self.config.reconnect_attempt_timeout);
                self.link = Link::Down(Outage { attempt, ..outage });
                self.outputs.push_back(Output::OpenSignal);
            }
            Attempt::Opening(at) | Attempt::Resuming(at, _) if at <= self.now => {
                self.drop_link();
            }
            Attempt::Pausing(_) | Attempt::Opening(_) | Attempt::Resuming(..) => {}
        }
    }

    /// There is a connection again: asks to go on.
    pub(crate) fn on_signal_reopened(&mut self) {
        let (Link::Down(outage), Some(ticket), Stage::Joined) = (self.link, self.ticket, &self.stage) else {
            return;
        };
        let Attempt::Opening(until) = outage.attempt else { return };
        let (room_id, received) = (self.room_id, self.received);
        let token = self.token_to_show();
        self.shown_token = Some(token.clone());
        let request = self.request(Request::Resume, |request| {
            ResumeRequest {
                request,
                versions: vec![WIRE_VERSION],
                room_id,
                participant_id: ticket.participant,
                resume_key: ticket.key,
                token,
                received,
            }
            .into()
        });
        self.link = Link::Down(Outage { attempt: Attempt::Resuming(until, request), ..outage });
    }

    /// The stay goes on: turns what the room looks like now into what changed, and says again what is unanswered.
    pub(crate) fn on_resumed(&mut self, response: ResumeResponse) {
        if !self.take_request(response.request, &Request::Resume) {
            return;
        }
        if response.wire_version != WIRE_VERSION {
            return self.end(DisconnectReason::ProtocolError);
        }
        self.link = Link::Up;
        self.on_token_shown();
        self.set_token_term(response.term);
        let is_published = |id: StreamId| response.streams.iter().any(|stream| stream.id == id);
        let own = self.state.local_participant_id().map(|id| self.state.participant_streams(id));
        for gone in own.unwrap_or_default().values().filter(|stream| !is_published(stream.id)) {
            self.on_own_stream_ended(gone.id);
        }
        let is_there = |id: ParticipantId| response.participants.iter().any(|one| one.id == id);
        for participant in response.kicked.iter().copied().filter(|id| !is_there(*id)) {
            if self.state.participant(participant).is_some() {
                self.apply(Action::ParticipantLeft { participant, reason: Some(LeaveReason::Kicked) });
            }
        }
        let streams = response.streams.iter().map(|info| self.stream(info)).collect();
        self.apply(Action::Resumed {
            version: response.version.0,
            participants: response.participants.into_iter().map(participant).collect(),
            streams,
        });
        if self.state.connection() == Connection::Reconnecting {
            // The server does not know us any more.
            return self.end(DisconnectReason::ProtocolError);
        }
        for notice in &response.sources {
            self.on_source_paused(notice);
        }
        for notice in &response.slots {
            self.on_slot_bound(*notice);
        }
        for stream_id in response.held_back {
            self.on_layer_changed(&LayerChangedNotice { stream_id, rid: None });
        }
        let speaks = |id: Option<StreamId>| response.speaking.iter().any(|one| one.stream_id == id);
        let quiet: Vec<_> = self.state.speakers().filter(|(_, stream)| !speaks(*stream)).collect();
        for (participant, stream) in quiet {
            self.apply(Action::SpeakingChanged { participant, stream, speaking: false });
        }
        for notice in &response.speaking {
            self.on_speaking(notice);
        }
        self.apply(Action::DominantSpeakerChanged { participant: response.dominant_speaker });
        for asked in self.requests.values_mut() {
            asked.is_sent = true;
            self.outputs.push_back(Output::Send(asked.message.clone()));
        }
        self.ping();
        self.advance();
    }

    /// How long a loss may last.
    fn window(&self) -> Duration {
        let granted = self.ticket.map_or(Duration::ZERO, |ticket| ticket.window);
        granted.min(self.config.reconnect_timeout)
    }

    fn can_reconnect(&self) -> bool {
        !self.window().is_zero()
    }

    /// How long to wait before an attempt: twice as long each time, and at random, so that clients that were lost together do
    /// not come back together.
    fn pause(&mut self, attempts: u32) -> Duration {
        let first = self.config.reconnect_first_delay;
        let longest = first.saturating_mul(1 << attempts.min(16)).min(self.config.reconnect_max_delay);
        longest.mul_f64(self.random.random_range(0.5..=1.0))
    }
}
