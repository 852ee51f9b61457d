//! Who is let in, and who is not.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use roomful::{
    DisconnectReason, ErrorKind, Message, ParticipantId, Room, RoomId, RoomOptions, SubscriptionConfig,
    Tracks,
};
use serde_json::{Value, json};

use crate::harness::{API_KEY, World, key, names_until, own_id, within};

/// Tries to join; returns the kind of the error and the reason that the room was left for.
async fn refused(world: &World, room: RoomId, token: &str) -> (ErrorKind, DisconnectReason) {
    let room = Room::new(RoomOptions::new(world.url(), room, token));
    let mut events = room.events();
    let error = within(room.connect()).await.expect_err("is refused");
    assert_eq!(names_until(&mut events, "disconnected").await, ["disconnected"]);
    assert_eq!(room.state().participants().len(), 0);
    (error.kind(), room.state().disconnect_reason().expect("is out"))
}

/// Signs a token anew, as the server would, with other claims.
fn forge(token: &str, api_key: &str, change: impl FnOnce(&mut Value)) -> String {
    let claims = token.split('.').nth(1).expect("a token has three parts");
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let mut claims: Value = serde_json::from_slice(&claims).expect("JSON");
    change(&mut claims);
    let secret = EncodingKey::from_secret(&[b"roomful-token:", api_key.as_bytes()].concat());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secret).expect("signs")
}

fn shift(claims: &mut Value, seconds: i64) {
    for name in ["iat", "nbf", "exp"] {
        claims[name] = json!(claims[name].as_i64().expect("a number") + seconds);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_wrong_expired_or_for_another_room_do_not_open_the_door() {
    let world = World::start().await;
    let watcher = world.join("watcher").await;
    let mut events = watcher.events();
    let good = world.token(world.room, json!({})).await;
    let other_room = world.create_room("another").await;
    let foreign = world.token(other_room, json!({})).await;
    let with_refresh =
        world.post(&format!("/v2/rooms/{}/actions/generate_join_client_token", world.room), &json!({})).await;
    let refresh = with_refresh.1["data"]["refresh_token"].as_str().expect("a pair").to_owned();
    let mut tampered = good.clone();
    tampered.replace_range(good.len() - 1.., if good.ends_with('A') { "Q" } else { "A" });
    let unauthorized = (ErrorKind::Unauthorized, DisconnectReason::Unauthorized);
    for (what, token) in [
        ("garbage", "not a token".to_owned()),
        ("nothing", String::new()),
        ("tampered with", tampered),
        ("another key", forge(&good, "another-key-of-the-right-length-0123456789", |_| {})),
        ("expired", forge(&good, API_KEY, |claims| shift(claims, -601))),
        ("not yet valid", forge(&good, API_KEY, |claims| shift(claims, 60))),
        ("another room", foreign.clone()),
        ("a refresh token", refresh),
    ] {
        assert_eq!(refused(&world, world.room, &token).await, unauthorized, "{what}");
    }
    // The way of forging is right: only what was changed is wrong.
    let room = Room::new(RoomOptions::new(world.url(), world.room, forge(&good, API_KEY, |_| {})));
    within(room.connect()).await.expect("is good");
    let unknown = RoomId::from_random([3; 16]);
    let for_unknown = forge(&good, API_KEY, |claims| claims["room"] = json!(unknown.to_string()));
    let nowhere = (ErrorKind::InvalidArgument, DisconnectReason::RoomExpired);
    assert_eq!(refused(&world, unknown, &for_unknown).await, nowhere);
    within(room.send_message(Message::text("end"), None)).await.expect("is accepted");
    let told = names_until(&mut events, "message_received").await;
    assert_eq!(told, ["participant_joined", "message_received"], "who is refused is seen by nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_gives_access_tokens_for_its_own_room_and_nothing_else_does() {
    let world = World::start().await;
    let path = format!("/v2/rooms/{}/actions", world.room);
    let (_, pair) =
        world.post(&format!("{path}/generate_join_client_token"), &json!({"identity": "alice"})).await;
    let [access, refresh] = ["token", "refresh_token"].map(|name| pair["data"][name].clone());
    let refreshing = format!("{path}/refresh_client_token");
    let (status, body) = world.post(&refreshing, &json!({ "refresh_token": refresh })).await;
    assert_eq!(status, 201, "{body}");
    let token = body["data"]["token"].as_str().expect("a token");
    let room = Room::new(RoomOptions::new(world.url(), world.room, token));
    within(room.connect()).await.expect("joins");
    assert_eq!(room.local_participant().expect("joined").identity.as_deref(), Some("alice"));

    let (status, body) = world.post(&refreshing, &json!({ "refresh_token": access })).await;
    assert_eq!((status, body["errors"][0]["code"].as_str()), (403, Some("token_wrong_kind")));
    let other = world.create_room("another").await;
    let (status, body) = world
        .post(
            &format!("/v2/rooms/{other}/actions/refresh_client_token"),
            &json!({ "refresh_token": refresh }),
        )
        .await;
    assert_eq!((status, body["errors"][0]["code"].as_str()), (403, Some("token_for_other_room")));
    let expired = forge(refresh.as_str().expect("a token"), API_KEY, |claims| shift(claims, -3601));
    let (status, body) = world.post(&refreshing, &json!({ "refresh_token": expired })).await;
    assert_eq!((status, body["errors"][0]["code"].as_str()), (403, Some("token_expired")));
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_is_closed_without_the_right_key_and_errors_have_one_shape() {
    let world = World::start().await;
    let room = format!("/v2/rooms/{}", world.room);
    for key in [None, Some("wrong"), Some(""), Some("end-to-end-tests-only-0123456789abcdeg")] {
        for (method, path) in [
            ("GET", "/v2/rooms"),
            ("POST", "/v2/rooms"),
            ("GET", &room),
            ("PATCH", &room),
            ("DELETE", &room),
            ("POST", &format!("{room}/actions/generate_join_client_token")),
        ] {
            let (status, body) = world.call(method, path, key, &json!({})).await;
            assert_eq!(status, 401, "{method} {path} {body}");
            assert_error(&body);
        }
    }
    let missing = "/v2/rooms/00000000-0000-4000-8000-000000000000";
    for (method, path, body, expected) in [
        ("GET", missing, Value::Null, 404),
        ("DELETE", missing, Value::Null, 404),
        ("GET", "/v2/nothing", Value::Null, 404),
        ("PUT", &room, Value::Null, 405),
        ("POST", "/v2/rooms", json!({"max_participants": 0}), 422),
        ("POST", "/v2/rooms", json!({"unique_name": "test"}), 422),
        ("POST", "/v2/rooms", json!([1]), 422),
        ("POST", &format!("{room}/actions/generate_join_client_token"), json!({"token_ttl_secs": 5}), 422),
    ] {
        let (status, body) = world.call(method, path, Some(API_KEY), &body).await;
        assert_eq!(status, expected, "{method} {path} {body}");
        assert_error(&body);
    }
    let (status, body) = world.call("GET", &room, Some(API_KEY), &Value::Null).await;
    assert_eq!((status, body["data"]["unique_name"].as_str()), (200, Some("test")));
    assert_eq!(world.call("GET", "/healthz", None, &Value::Null).await.0, 200);
}

#[track_caller]
fn assert_error(body: &Value) {
    let error = &body["errors"][0];
    for field in ["code", "title", "detail"] {
        assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_room_takes_nobody_more_until_somebody_leaves() {
    let world = World::start().await;
    let path = format!("/v2/rooms/{}", world.room);
    let (status, body) = world.call("PATCH", &path, Some(API_KEY), &json!({"max_participants": 2})).await;
    assert_eq!(status, 200, "{body}");
    let alice = world.join("alice").await;
    let mut events = alice.events();
    let bob = world.join("bob").await;
    names_until(&mut events, "participant_joined").await;
    let carol = world.client("carol").await;
    let error = within(carol.connect()).await.expect_err("is full");
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    assert_eq!(carol.state().disconnect_reason(), Some(DisconnectReason::RoomFull));
    within(bob.disconnect()).await.expect("leaves");
    within(carol.connect()).await.expect("there is room now");
    let told = names_until(&mut events, "participant_joined").await;
    assert_eq!(told, ["participant_leaving", "participant_left", "participant_joined"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_permits_what_it_says_and_no_more() {
    let world = World::start().await;
    let alice = world.join("alice").await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    let permissions = json!({"publish": false, "subscribe": false, "message": false});
    let token = world.token(world.room, json!({"permissions": permissions})).await;
    let bob = Room::new(RoomOptions::new(world.url(), world.room, token));
    within(bob.connect()).await.expect("may join");
    let config = SubscriptionConfig::default();
    let nobody: Option<Vec<ParticipantId>> = None;
    for error in [
        within(bob.add_stream(&key("camera"), Tracks::default())).await.expect_err("may not publish"),
        within(bob.add_subscription(own_id(&alice), &key("camera"), config))
            .await
            .expect_err("may not subscribe"),
        within(bob.send_message(Message::text("hello"), nobody)).await.expect_err("may not speak"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    }
    assert_eq!(alice.participant_streams(own_id(&bob)).len(), 0);
}
