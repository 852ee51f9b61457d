//! The control task: owns the deciding engine and moves its inputs and outputs.

use std::{collections::HashMap, sync::Arc};

use roomful_protocol::{ServerMessage, encode};
use roomful_sfu::{Input, Output, SessionId, Sfu};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{clock, live::ActiveSessions, shard};

/// What the control task hears.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client connected; what it is told goes here.
    Opened(SessionId, mpsc::Sender<Outgoing>),
    /// Anything that only the engine is concerned with.
    Engine(Input),
}

/// What a client's connection does.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Say this. Encoded once, however many clients hear it.
    Text(Arc<str>),
    /// End the connection.
    Close,
}

/// Messages that wait for one slow client. It is cut off when there are more: the engine waits for nobody.
pub(crate) const OUTGOING_MAX: usize = 1024;

/// What clients said and the engine has not heard yet. When it is full, their connections are not read.
pub(crate) const INCOMING_MAX: usize = 1024;

/// Runs until the task is aborted.
///
/// * `signals`: what clients do, bounded.
/// * `events`: what this server does, which is bounded by what clients do.
pub(crate) async fn run(
    mut engine: Sfu,
    mut signals: mpsc::Receiver<Event>,
    mut events: mpsc::UnboundedReceiver<Event>,
    shard: mpsc::UnboundedSender<shard::Command>,
    sessions: ActiveSessions,
) {
    let mut control = Control { connections: HashMap::new(), shard, sessions };
    loop {
        let until = control.drain(&mut engine);
        let event = tokio::select! {
            Some(event) = events.recv() => event,
            Some(event) = signals.recv() => event,
            () = sleep_until(until) => Event::Engine(Input::Timeout),
        };
        let input = match event {
            Event::Opened(session, connection) => {
                control.connections.insert(session, connection);
                Input::Opened(session)
            }
            Event::Engine(input) => {
                if let Input::Closed(session) = &input {
                    control.connections.remove(session);
                }
                input
            }
        };
        engine.handle_input(input, clock::now());
    }
}

struct Control {
    connections: HashMap<SessionId, mpsc::Sender<Outgoing>>,
    shard: mpsc::UnboundedSender<shard::Command>,
    sessions: ActiveSessions,
}

impl Control {
    /// Carries out what the engine wants; returns when it wants to be called again.
    fn drain(&mut self, engine: &mut Sfu) -> Instant {
        loop {
            match engine.poll_output() {
                Output::Wait { until, .. } => return until.into(),
                Output::Send(sessions, message) => self.send(&sessions, &message, engine),
                Output::Close(session) => {
                    if let Some(connection) = self.connections.remove(&session) {
                        // A full queue closes the connection by dropping its sender.
                        let _ = connection.try_send(Outgoing::Close);
                    }
                }
                Output::Media(command) => {
                    // Without its shard the server is stopping.
                    let _ = self.shard.send(shard::Command::Media(command));
                }
                Output::SessionStarted(room, session) => {
                    self.sessions.lock().insert(room, session);
                }
                Output::SessionEnded(room, _) => {
                    self.sessions.lock().remove(&room);
                }
            }
        }
    }

    fn send(&mut self, sessions: &[SessionId], message: &ServerMessage, engine: &mut Sfu) {
        let text: Arc<str> = encode(message).into();
        for session in sessions {
            let Some(connection) = self.connections.get(session) else { continue };
            if connection.try_send(Outgoing::Text(text.clone())).is_err() {
                tracing::info!(session = session.0, "client reads too slowly; cut off");
                self.connections.remove(session);
                engine.handle_input(Input::Closed(*session), clock::now());
            }
        }
    }
}
