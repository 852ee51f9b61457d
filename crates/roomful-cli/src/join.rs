//! Joining a room as one of the commands.

use std::time::Duration;

use roomful::{Events, Room, RoomId, RoomOptions};
use tokio::time::Instant;

use crate::{
    api::{Api, TokenRequest},
    cli::{RoomArgs, ServerArgs},
    failure::Failure,
    interrupt::Stop,
    output,
};

/// A room that was joined.
#[derive(Debug)]
pub(crate) struct Joined {
    /// The room.
    pub(crate) room: Room,
    /// Its events from before the join on.
    pub(crate) events: Events,
    /// How long connecting took.
    pub(crate) connect_time: Duration,
}

/// Finds or makes the room, makes a token and joins. `None`: it was time to end before that was done.
pub(crate) async fn join(
    args: &RoomArgs,
    identity: Option<&str>,
    stop: &Stop,
) -> Result<Option<Joined>, Failure> {
    let api = Api::new(&args.server.server)?;
    let joined = async {
        let entry = api.room(&args.room).await?;
        if entry.is_new {
            output::note(&format!("made the room {}: nobody was there", args.room));
        }
        let ServerArgs { signal, fingerprint, .. } = &args.server;
        enter(&api, entry.id, identity, |options| {
            if let Some(signal) = signal {
                options.server_url.clone_from(signal);
            }
            options.server_fingerprint = *fingerprint;
        })
        .await
    };
    tokio::select! {
        joined = joined => joined.map(Some),
        () = stop.wait() => {
            output::note("ended before the room was joined");
            Ok(None)
        }
    }
}

/// Makes a token and joins.
pub(crate) async fn enter(
    api: &Api,
    room_id: RoomId,
    identity: Option<&str>,
    change: impl FnOnce(&mut RoomOptions),
) -> Result<Joined, Failure> {
    let token = api.token(room_id, TokenRequest { identity, ..TokenRequest::default() }).await?;
    let mut options = RoomOptions::new(api.server(), room_id, token.token);
    options.connect_timeout = CONNECT_TIMEOUT;
    change(&mut options);
    let room = Room::new(options);
    let events = room.events();
    let begin = Instant::now();
    room.connect().await.map_err(|error| Failure::of_call("cannot join the room", error))?;
    Ok(Joined { room, events, connect_time: begin.elapsed() })
}

/// Leaves a room. That it may be lost already is no matter any more.
pub(crate) async fn leave(room: &Room) {
    if let Err(error) = room.disconnect().await {
        tracing::info!(%error, "left without the server's consent");
    }
}

/// A person waits in front of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
