//! A client that says what it likes: signalling without the SDK.

use futures_util::{SinkExt, StreamExt};
use roomful_protocol::{
    ClientMessage, Encoding, JoinRequest, JoinResponse, RequestId, ServerMessage, WIRE_VERSION,
};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use super::{World, within};

pub(crate) struct RawClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl RawClient {
    pub(crate) async fn open(world: &World) -> Self {
        let url = format!("ws://{}/v2/signal", world.server.http_address());
        let (socket, _) = within(connect_async(url)).await.expect("the server listens");
        Self { socket }
    }

    pub(crate) async fn join(world: &World, identity: &str) -> (Self, JoinResponse) {
        let mut client = Self::open(world).await;
        client.say(join_request(world, identity).await).await;
        match client.hear().await {
            Some(ServerMessage::JoinResponse(response)) => (client, response),
            other => panic!("not let in: {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, message: impl Into<ClientMessage>) {
        let text = Encoding::Json.encode(&message.into());
        self.send(Message::text(String::from_utf8(text).expect("JSON is UTF-8"))).await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        // A server that has closed already says so to whoever listens.
        let _ = within(self.socket.send(message)).await;
    }

    /// Returns what the server says next; none when it closes.
    pub(crate) async fn hear(&mut self) -> Option<ServerMessage> {
        loop {
            match within(self.socket.next()).await {
                None | Some(Err(_) | Ok(Message::Close(_))) => return None,
                Some(Ok(Message::Text(text))) => {
                    return Some(Encoding::Json.decode(text.as_bytes()).expect("servers speak well"));
                }
                Some(Ok(_)) => {}
            }
        }
    }

    /// Returns the next thing that the server says and that is no notice of somebody's coming or going.
    pub(crate) async fn hear_answer(&mut self) -> Option<ServerMessage> {
        loop {
            let message = self.hear().await?;
            let is_notice = matches!(
                message,
                ServerMessage::ParticipantJoinedNotice(_)
                    | ServerMessage::ParticipantLeftNotice(_)
                    | ServerMessage::StreamPublishedNotice(_)
                    | ServerMessage::StreamUpdatedNotice(_)
                    | ServerMessage::StreamUnpublishedNotice(_)
                    | ServerMessage::MessageNotice(_)
            );
            if !is_notice {
                return Some(message);
            }
        }
    }
}

pub(crate) async fn join_request(world: &World, identity: &str) -> JoinRequest {
    JoinRequest {
        request: RequestId(1),
        versions: vec![WIRE_VERSION],
        room_id: world.room,
        token: world.token(world.room, json!({ "identity": identity })).await,
        context: None,
        enable_messages: false,
    }
}
