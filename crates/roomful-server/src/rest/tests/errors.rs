//! What is refused before any route looks at it, and that every refusal has the one shape.

use proptest::prelude::*;

use super::*;
use crate::error::MAX_BODY_BYTES;

const WITH_KEY: [(&str, &str); 6] = [
    ("POST", "/v2/rooms"),
    ("GET", "/v2/rooms"),
    ("GET", "/v2/rooms/lobby"),
    ("PATCH", "/v2/rooms/lobby"),
    ("DELETE", "/v2/rooms/lobby"),
    ("POST", "/v2/rooms/lobby/actions/generate_join_client_token"),
];

const WITH_BODY: [(&str, &str); 4] = [
    ("POST", "/v2/rooms"),
    ("PATCH", "/v2/rooms/lobby"),
    ("POST", "/v2/rooms/lobby/actions/generate_join_client_token"),
    ("POST", "/v2/rooms/lobby/actions/refresh_client_token"),
];

#[tokio::test]
async fn health_needs_no_key() {
    let world = World::new();
    let reply = world.send(Request::builder().uri("/healthz").body(Body::empty()).unwrap()).await;
    assert_eq!((reply.status, reply.json), (StatusCode::OK, json!({"status": "ok"})));
}

#[tokio::test]
async fn every_other_route_needs_the_key() {
    let world = World::new();
    world.room(json!({"unique_name": "lobby"})).await;
    for (method, path) in WITH_KEY {
        for credentials in [
            None,
            Some(""),
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer Key"),
            Some("Bearer ke"),
            Some("Bearer keyy"),
            Some("Basic key"),
            Some("key"),
            Some("Bearer é"),
        ] {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(credentials) = credentials {
                request = request.header(header::AUTHORIZATION, credentials.as_bytes());
            }
            // The key is checked before the body is looked at.
            let reply = world.send(request.body(Body::from("{".repeat(MAX_BODY_BYTES + 1))).unwrap()).await;
            reply.check_error(StatusCode::UNAUTHORIZED, &[("unauthorized", Value::Null)]);
            assert_eq!(reply.headers[header::WWW_AUTHENTICATE], "Bearer");
            let detail = reply.json["errors"][0]["detail"].as_str().unwrap();
            assert!(detail.ends_with("in the header `authorization: Bearer KEY`"), "{detail}");
        }
    }
    assert_eq!(world.get("/v2/rooms/lobby").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_scheme_is_of_any_case() {
    let world = World::new();
    let request = Request::builder().uri("/v2/rooms").header(header::AUTHORIZATION, "bEARER   key ");
    world.send(request.body(Body::empty()).unwrap()).await.check_ok(StatusCode::OK);
}

#[test]
fn an_empty_key_lets_nobody_in() {
    assert!(!ApiKey::new("").matches(b""));
    assert_eq!(format!("{:?}", ApiKey::new("key")), "ApiKey(…)");
    let api = World::new().api;
    assert!(!format!("{api:?}").contains("key"));
}

#[tokio::test]
async fn an_unknown_path_is_named() {
    let world = World::new();
    for path in ["/", "/v2", "/v2/", "/v2/room", "/v2/rooms/", "/v2/rooms/lobby/sessions", "/healthz/"] {
        let reply = world.get(path).await;
        reply.check_error(StatusCode::NOT_FOUND, &[("route_not_found", Value::Null)]);
        assert_eq!(
            reply.json["errors"][0]["detail"],
            format!("nothing is served at `{path}`; rooms are at /v2/rooms")
        );
    }
    let reply = world.get(&format!("/{}", "p".repeat(10_000))).await;
    assert!(reply.json.to_string().len() < 300);
}

#[tokio::test]
async fn an_unknown_method_is_told_the_known_ones() {
    let world = World::new();
    for (method, path, allowed) in [
        ("PUT", "/v2/rooms", "GET,HEAD,POST"),
        ("POST", "/v2/rooms/lobby", "DELETE,GET,HEAD,PATCH"),
        ("GET", "/v2/rooms/lobby/actions/generate_join_client_token", "POST"),
        ("GET", "/v2/rooms/lobby/actions/refresh_client_token", "POST"),
        ("POST", "/healthz", "GET,HEAD"),
        ("BREW", "/v2/rooms", "GET,HEAD,POST"),
    ] {
        let reply = world.call(method, path, None).await;
        reply.check_error(StatusCode::METHOD_NOT_ALLOWED, &[("method_not_allowed", Value::Null)]);
        let mut allow: Vec<_> = reply.headers[header::ALLOW].to_str().unwrap().split(',').collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_missing_room_is_named() {
    let world = World::new();
    for (method, path) in WITH_KEY.into_iter().filter(|(_, path)| path.contains("lobby")) {
        let reply = world.call(method, path, None).await;
        reply.check_error(StatusCode::NOT_FOUND, &[("room_not_found", Value::Null)]);
    }
    // Neither a foreign id nor the path itself can break the reply.
    for name in ["00000000-0000-4000-8000-000000000000", "%22%0A%00", "%E2%80%AE"] {
        let reply = world.get(&format!("/v2/rooms/{name}")).await;
        reply.check_error(StatusCode::NOT_FOUND, &[("room_not_found", Value::Null)]);
    }
}

#[tokio::test]
async fn a_path_must_be_utf_8() {
    let world = World::new();
    let reply = world.get("/v2/rooms/%FF").await;
    reply.check_error(StatusCode::BAD_REQUEST, &[("bad_request", Value::Null)]);
}

#[tokio::test]
async fn a_body_must_be_a_json_object() {
    let world = World::new();
    world.room(json!({"unique_name": "lobby"})).await;
    for (method, path) in WITH_BODY {
        for body in ["{", "{\"a\":1}}", "nul", "\u{feff}{}", "{\"a\":\"\u{0}\"}"] {
            let reply = world.send(request(method, path).body(Body::from(body)).unwrap()).await;
            reply.check_error(StatusCode::BAD_REQUEST, &[("malformed_json", Value::Null)]);
        }
        let nested = "[".repeat(10_000);
        for body in [b"\"\xff\"".to_vec(), nested.into_bytes()] {
            let reply = world.send(request(method, path).body(Body::from(body)).unwrap()).await;
            reply.check_error(StatusCode::BAD_REQUEST, &[("malformed_json", Value::Null)]);
        }
        for body in ["null", "[]", "1", "\"{}\"", "true"] {
            let reply = world.send(request(method, path).body(Body::from(body)).unwrap()).await;
            reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &[("invalid_value", pointer(""))]);
        }
    }
}

#[tokio::test]
async fn a_body_is_bounded() {
    let world = World::new();
    world.room(json!({"unique_name": "lobby"})).await;
    for (method, path) in WITH_BODY {
        let body = format!("{{}}{}", " ".repeat(MAX_BODY_BYTES - 1));
        let reply = world.send(request(method, path).body(Body::from(body)).unwrap()).await;
        reply.check_error(StatusCode::PAYLOAD_TOO_LARGE, &[("body_too_large", Value::Null)]);
    }
    let body = format!("{{}}{}", " ".repeat(MAX_BODY_BYTES - 2));
    let reply = world.send(request("POST", "/v2/rooms").body(Body::from(body)).unwrap()).await;
    reply.check_ok(StatusCode::CREATED);
}

#[tokio::test]
async fn any_content_type_is_read_as_json() {
    let world = World::new();
    for content_type in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
        let request = request("POST", "/v2/rooms").header(header::CONTENT_TYPE, content_type);
        let reply = world.send(request.body(Body::from(r#"{"max_participants":3}"#)).unwrap()).await;
        assert_eq!(reply.check_ok(StatusCode::CREATED)["max_participants"], 3);
    }
}

#[tokio::test]
async fn our_own_fault_is_not_explained_to_the_caller() {
    let world = World::new();
    let api = Api { random: Arc::new(|| [0; 16]), ..world.api };
    let world = World { api, ..world };
    world.room(json!({})).await;
    let reply = world.post("/v2/rooms", json!({})).await;
    reply.check_error(StatusCode::INTERNAL_SERVER_ERROR, &[("internal", Value::Null)]);
    assert!(!reply.json.to_string().contains("random"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_sent_the_reply_has_a_known_shape(
        route in 0..WITH_BODY.len(),
        body in prop_oneof![
            "\\PC{0,40}",
            "\\{\"(unique_name|max_participants|identity|permissions|refresh_token)\":(\"[a-z]{0,9}\"|-?[0-9]{1,20}|\\{\\}|null)\\}",
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let reply = runtime.block_on(async {
            let world = World::new();
            world.room(json!({"unique_name": "lobby"})).await;
            let (method, path) = WITH_BODY[route];
            world.send(request(method, path).body(Body::from(body)).unwrap()).await
        });
        let keys: Vec<_> = reply.json.as_object().unwrap().keys().collect();
        prop_assert_eq!(keys, [if reply.status.is_success() { "data" } else { "errors" }]);
        prop_assert!(!reply.status.is_server_error());
    }
}
