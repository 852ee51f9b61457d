//! What moderators do to sessions.

use roomful_sfu::Selection;
use roomful_types::{MediaKind, ParticipantId};

use super::*;

const SESSION: &str = "11111111-1111-4111-8111-111111111111";
const ADA: &str = "aaaaaaaa-aaaa-4aaa-aaaa-aaaaaaaaaaaa";
const BOB: &str = "bbbbbbbb-bbbb-4bbb-bbbb-bbbbbbbbbbbb";

fn world() -> World {
    let world = World::new();
    *world.live.session.lock() = Some(SESSION.parse().unwrap());
    world
}

fn ids(ids: &[&str]) -> std::collections::BTreeSet<ParticipantId> {
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn each_action_says_whom_it_means() {
    let censor = |who, kind, censored| ModerationRequest::Censor { who, stream: None, kind, censored };
    let cases = [
        ("end", json!({}), ModerationRequest::EndSession),
        (
            "kick",
            json!({"participants": [ADA, BOB]}),
            ModerationRequest::Kick(Selection::These(ids(&[ADA, BOB]))),
        ),
        (
            "kick",
            json!({"participants": "all", "exclude": [BOB]}),
            ModerationRequest::Kick(Selection::AllBut(ids(&[BOB]))),
        ),
        (
            "mute",
            json!({"participants": [ADA, BOB], "exclude": [BOB]}),
            censor(Selection::These(ids(&[ADA])), MediaKind::Audio, true),
        ),
        (
            "unmute",
            json!({"participants": "all", "kind": "video"}),
            censor(Selection::AllBut(ids(&[])), MediaKind::Video, false),
        ),
    ];
    for (action, body, expected) in cases {
        let world = world();
        let reply = world.post(&format!("/v2/room_sessions/{SESSION}/actions/{action}"), body).await;
        assert_eq!(reply.check_ok(StatusCode::OK)["result"], "ok");
        assert_eq!(*world.live.told.lock(), [Told::Moderated(expected)]);
    }
}

#[tokio::test]
async fn one_stream_is_muted_by_its_own_path() {
    let world = world();
    let path = format!("/v2/room_sessions/{SESSION}/participants/{ADA}/streams/cam%2Fera/actions/mute");
    let reply = world.post(&path, json!({"kind": "video"})).await;
    assert_eq!(reply.check_ok(StatusCode::OK)["result"], "ok");
    let expected = ModerationRequest::Censor {
        who: Selection::These(ids(&[ADA])),
        stream: Some("cam/era".parse().unwrap()),
        kind: MediaKind::Video,
        censored: true,
    };
    assert_eq!(*world.live.told.lock(), [Told::Moderated(expected)]);
}

#[tokio::test]
async fn every_fault_is_named_and_nothing_is_done() {
    let world = world();
    let cases = [
        ("kick", json!({}), "missing_field", pointer("/participants")),
        ("kick", json!({"participants": "some"}), "invalid_value", pointer("/participants")),
        ("kick", json!({"participants": ["ada"]}), "invalid_value", pointer("/participants")),
        ("mute", json!({"participants": "all", "exclude": 3}), "invalid_value", pointer("/exclude")),
        ("mute", json!({"participants": "all", "kind": "smell"}), "invalid_value", pointer("/kind")),
    ];
    for (action, body, code, source) in cases {
        let reply = world.post(&format!("/v2/room_sessions/{SESSION}/actions/{action}"), body).await;
        reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &[(code, source)]);
    }
    for (path, code) in [
        (format!("/v2/room_sessions/{BOB}/actions/end"), "session_not_found"),
        ("/v2/room_sessions/mine/actions/end".to_owned(), "session_not_found"),
        (format!("/v2/room_sessions/{SESSION}/actions/praise"), "action_not_found"),
        (
            format!("/v2/room_sessions/{SESSION}/participants/ada/streams/cam/actions/mute"),
            "participant_not_found",
        ),
    ] {
        world.live.told.lock().clear();
        world.post(&path, json!({})).await.check_error(StatusCode::NOT_FOUND, &[(code, Value::Null)]);
    }
    let request = request("POST", &format!("/v2/room_sessions/{SESSION}/actions/end"));
    let mut request = request.body(Body::empty()).unwrap();
    request.headers_mut().clear();
    assert_eq!(world.send(request).await.status, StatusCode::UNAUTHORIZED);
}
