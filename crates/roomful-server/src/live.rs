//! What the REST interface knows of running sessions, and can do to them.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use roomful_sfu::{Input, ModerationError, ModerationRequest, RoomSessionId};
use roomful_types::RoomId;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    control,
    rest::{LiveRooms, Moderated},
};

/// The running sessions: written by the control task, read by the REST interface.
pub(crate) type ActiveSessions = Arc<Mutex<BTreeMap<RoomId, RoomSessionId>>>;

/// The control task as the REST interface sees it.
#[derive(Debug)]
pub(crate) struct ControlledRooms {
    pub(crate) sessions: ActiveSessions,
    pub(crate) control: mpsc::UnboundedSender<control::Event>,
}

impl LiveRooms for ControlledRooms {
    fn active_session(&self, room: RoomId) -> Option<Uuid> {
        self.sessions.lock().get(&room).map(|session| Uuid::from_bytes(session.0))
    }

    fn room_deleted(&self, room: RoomId) {
        // When the control task is gone, so is everybody in the room.
        let _ = self.control.send(control::Event::Engine(Input::RoomDeleted(room)));
    }

    fn moderate(&self, session: Uuid, request: ModerationRequest) -> Moderated {
        let (reply, result) = oneshot::channel();
        let session = RoomSessionId(session.into_bytes());
        let sent = self.control.send(control::Event::Moderate(session, request, reply));
        Box::pin(async move {
            // Without the control task there is no session.
            sent.map_err(|_| ModerationError::UnknownSession)?;
            result.await.unwrap_or(Err(ModerationError::UnknownSession))
        })
    }
}
