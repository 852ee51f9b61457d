//! Client tokens: issue, refresh, and everything that a refresh refuses.

use roomful_types::Permissions;

use super::*;
use crate::token::{JoinGrant, TokenError, TokenKind};

impl World {
    async fn pair(&self, room: &str, body: Value) -> Value {
        let reply = self.post(&generate(room), body).await;
        reply.check_ok(StatusCode::CREATED).clone()
    }

    /// Refreshes without the API key.
    async fn refresh(&self, room: &str, body: Value) -> Reply {
        let request = Request::builder().method("POST").uri(refresh(room));
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    fn grant(&self, token: &Value) -> Result<JoinGrant, TokenError> {
        let now = self.now_ms.load(Ordering::Relaxed);
        self.api.tokens.verify_access(token.as_str().unwrap(), now).map(|join| join.grant)
    }
}

fn generate(room: &str) -> String {
    format!("/v2/rooms/{room}/actions/generate_join_client_token")
}

fn refresh(room: &str) -> String {
    format!("/v2/rooms/{room}/actions/refresh_client_token")
}

#[tokio::test]
async fn a_pair_has_defaults() {
    let world = World::new();
    let id = world.room(json!({"unique_name": "lobby"})).await;
    let reply = world.call("POST", &generate("lobby"), None).await;
    let data = reply.check_ok(StatusCode::CREATED).as_object().unwrap();
    assert_eq!(data.len(), 5);
    assert_eq!(data["record_type"], "client_token");
    assert_eq!(data["token_expires_at"], "2023-11-14T22:23:20.000Z");
    assert_eq!(data["refresh_token_expires_at"], "2023-11-14T23:13:20.000Z");
    let grant = world.grant(&data["token"]).unwrap();
    assert_eq!((grant.room.to_string(), grant.identity, grant.context), (id, None, None));
    assert_eq!(grant.permissions, Permissions::default());
}

#[tokio::test]
async fn a_pair_takes_every_field() {
    let world = World::new();
    let id = world.room(json!({})).await;
    let body = json!({
        "token_ttl_secs": 10, "refresh_token_ttl_secs": 86_400, "identity": "ada", "context": "{}", "colour": "blue",
        "permissions": {"publish": false, "subscribe": null, "moderate": true},
    });
    let pair = world.pair(&id, body).await;
    assert_eq!(pair["token_expires_at"], "2023-11-14T22:13:30.000Z");
    assert_eq!(pair["refresh_token_expires_at"], "2023-11-15T22:13:20.000Z");
    let grant = world.grant(&pair["token"]).unwrap();
    assert_eq!((grant.identity.as_deref(), grant.context.as_deref()), (Some("ada"), Some("{}")));
    let expected = Permissions { publish: false, subscribe: true, message: true, moderate: true };
    assert_eq!(grant.permissions, expected);
    world.advance_secs(10);
    assert_eq!(world.grant(&pair["token"]), Err(TokenError::Expired));
}

#[tokio::test]
async fn a_refresh_keeps_the_grant() {
    let world = World::new();
    let id = world.room(json!({"unique_name": "lobby"})).await;
    let pair = world.pair(&id, json!({"identity": "ada", "permissions": {"publish": false}})).await;
    let grant = world.grant(&pair["token"]).unwrap();
    world.advance_secs(3599);
    for room in [id.as_str(), "lobby"] {
        let reply =
            world.refresh(room, json!({"refresh_token": pair["refresh_token"], "token_ttl_secs": 60})).await;
        let data = reply.check_ok(StatusCode::CREATED);
        assert_eq!(data.as_object().unwrap().len(), 2);
        assert_eq!(data["token_expires_at"], "2023-11-14T23:14:19.000Z");
        assert_eq!(world.grant(&data["token"]).as_ref(), Ok(&grant));
    }
    // Another pair of the same person is another grant.
    let other = world.pair(&id, json!({"identity": "ada"})).await;
    assert_ne!(world.grant(&other["token"]).unwrap().grant, grant.grant);
}

#[tokio::test]
async fn a_refresh_refuses_what_is_no_refresh_token_of_the_room() {
    let world = World::new();
    let id = world.room(json!({})).await;
    let other = world.room(json!({"unique_name": "other"})).await;
    let pair = world.pair(&id, json!({})).await;
    let grant = world.grant(&pair["token"]).unwrap();
    let foreign = TokenAuthority::new("other key").issue(
        &grant,
        TokenKind::Refresh,
        std::time::Duration::from_secs(60),
        START_MS,
        [0; 16],
    );
    let good = pair["refresh_token"].clone();
    for (room, token, code) in [
        (id.as_str(), pair["token"].clone(), "token_wrong_kind"),
        (&id, json!("key"), "token_malformed"),
        (&id, json!(foreign), "token_bad_signature"),
        (&other, good.clone(), "token_for_other_room"),
        ("other", good.clone(), "token_for_other_room"),
        ("missing", good.clone(), "token_for_other_room"),
        ("missing", json!("key"), "token_malformed"),
    ] {
        let reply = world.refresh(room, json!({"refresh_token": token})).await;
        reply.check_error(StatusCode::FORBIDDEN, &[(code, pointer("/refresh_token"))]);
    }
    world.now_ms.store(START_MS - 10_000, Ordering::Relaxed);
    let reply = world.refresh(&id, json!({"refresh_token": good})).await;
    reply.check_error(StatusCode::FORBIDDEN, &[("token_not_yet_valid", pointer("/refresh_token"))]);
    world.now_ms.store(START_MS + 3_600_000, Ordering::Relaxed);
    let reply = world.refresh(&id, json!({"refresh_token": good})).await;
    reply.check_error(StatusCode::FORBIDDEN, &[("token_expired", pointer("/refresh_token"))]);
}

#[tokio::test]
async fn a_deleted_room_refreshes_no_token() {
    let world = World::new();
    let id = world.room(json!({})).await;
    let pair = world.pair(&id, json!({})).await;
    world.call("DELETE", &format!("/v2/rooms/{id}"), None).await;
    let gone = [("room_not_found", Value::Null)];
    let reply = world.refresh(&id, json!({"refresh_token": pair["refresh_token"]})).await;
    reply.check_error(StatusCode::NOT_FOUND, &gone);
    world.call("POST", &generate(&id), None).await.check_error(StatusCode::NOT_FOUND, &gone);
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let world = World::new();
    let id = world.room(json!({})).await;
    for (name, value) in [
        ("token_ttl_secs", json!(9)),
        ("token_ttl_secs", json!(3601)),
        ("refresh_token_ttl_secs", json!(59)),
        ("refresh_token_ttl_secs", json!(86_401)),
        ("refresh_token_ttl_secs", json!("3600")),
        ("identity", json!("")),
        ("identity", json!("i".repeat(257))),
        ("identity", json!("a\tb")),
        ("identity", json!(7)),
        ("context", json!("c".repeat(8193))),
        ("context", json!("a\0b")),
        ("context", json!({"name": "Ada"})),
        ("permissions", json!(["publish"])),
    ] {
        let reply = world.post(&generate(&id), json!({name: value})).await;
        let expected = [("invalid_value", pointer(&format!("/{name}")))];
        reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &expected);
    }
    let body = json!({"identity": "", "permissions": {"publish": "no", "publsh/~": false, "message": true}});
    let reply = world.post(&generate(&id), body).await;
    reply.check_error(
        StatusCode::UNPROCESSABLE_ENTITY,
        &[
            ("invalid_value", pointer("/identity")),
            ("invalid_value", pointer("/permissions/publish")),
            ("unknown_name", pointer("/permissions/publsh~1~0")),
        ],
    );
    assert_eq!(
        reply.json["errors"][0]["detail"],
        json!("identity of 0 bytes is outside 1 to 256"),
        "{}",
        reply.json
    );
    for body in [json!({}), json!({"refresh_token": null})] {
        let reply = world.refresh(&id, body).await;
        let expected = [("missing_field", pointer("/refresh_token"))];
        reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &expected);
    }
    let reply = world.refresh(&id, json!({"refresh_token": 7, "token_ttl_secs": 0})).await;
    let expected = ["/token_ttl_secs", "/refresh_token"].map(|name| ("invalid_value", pointer(name)));
    reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &expected);
}

#[tokio::test]
async fn the_longest_grant_can_be_refreshed() {
    let world = World::new();
    let id = world.room(json!({})).await;
    let pair = world.pair(&id, json!({"identity": "\"".repeat(256), "context": "\\".repeat(8192)})).await;
    let reply = world.refresh(&id, json!({"refresh_token": pair["refresh_token"]})).await;
    reply.check_ok(StatusCode::CREATED);
}
