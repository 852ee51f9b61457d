//! Rooms: make, list, show, change, delete.

use super::*;

#[tokio::test]
async fn a_room_has_defaults() {
    let world = World::new();
    let reply = world.call("POST", "/v2/rooms", None).await;
    let expected = json!({
        "id": "00000000-0000-4000-8000-000000000000", "unique_name": null, "max_participants": 100,
        "enable_recording": false, "webhook_event_url": null, "webhook_event_failover_url": null,
        "webhook_timeout_secs": null, "video_codecs": ["h264", "vp8"], "active_session_id": null,
        "created_at": "2023-11-14T22:13:20.250Z", "updated_at": "2023-11-14T22:13:20.250Z", "record_type": "room",
    });
    assert_eq!(reply.check_ok(StatusCode::CREATED), &expected);
    let id = "/v2/rooms/00000000-0000-4000-8000-000000000000";
    assert_eq!(world.get(id).await.check_ok(StatusCode::OK), &expected);
}

#[tokio::test]
async fn a_room_takes_every_field() {
    let world = World::new();
    let fields = json!({
        "unique_name": "Ärzte / Raum 1", "max_participants": 1_000_000, "enable_recording": true,
        "webhook_event_url": "https://example.org/hook?a=b", "webhook_event_failover_url": "http://example.org:8080",
        "webhook_timeout_secs": 30,
    });
    let mut sent = fields.clone();
    sent["colour"] = json!("blue");
    sent["record_type"] = json!("ignored");
    let reply = world.post("/v2/rooms", sent).await;
    let room = reply.check_ok(StatusCode::CREATED);
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&room[name], value, "{name}");
    }
    let found = world.get("/v2/rooms/%C3%84rzte%20%2F%20Raum%201?include_sessions=true").await;
    assert_eq!(found.check_ok(StatusCode::OK), room);
}

#[tokio::test]
async fn null_and_empty_stand_for_the_default() {
    let world = World::new();
    let id = world
        .room(json!({"unique_name": "lobby", "max_participants": 5, "enable_recording": true,
                     "webhook_event_url": "http://example.org", "webhook_event_failover_url": "http://example.org",
                     "webhook_timeout_secs": 0}))
        .await;
    let nothing = json!({"unique_name": null, "max_participants": null, "enable_recording": null,
                         "webhook_event_url": null, "webhook_event_failover_url": "", "webhook_timeout_secs": null});
    let reply = world.call("PATCH", &format!("/v2/rooms/{id}"), Some(nothing)).await;
    let room = reply.check_ok(StatusCode::OK);
    assert_eq!((&room["unique_name"], &room["max_participants"]), (&Value::Null, &json!(100)));
    assert_eq!((&room["enable_recording"], &room["webhook_timeout_secs"]), (&json!(false), &Value::Null));
    assert_eq!(room["webhook_event_url"], Value::Null);
    assert_eq!(room["webhook_event_failover_url"], Value::Null);
}

#[tokio::test]
async fn a_change_touches_only_what_it_names() {
    let world = World::new();
    world.room(json!({"unique_name": "lobby", "max_participants": 5})).await;
    world.advance_secs(60);
    let reply = world.call("PATCH", "/v2/rooms/lobby", Some(json!({"max_participants": 7}))).await;
    let room = reply.check_ok(StatusCode::OK);
    assert_eq!((&room["unique_name"], &room["max_participants"]), (&json!("lobby"), &json!(7)));
    assert_eq!(room["created_at"], "2023-11-14T22:13:20.250Z");
    assert_eq!(room["updated_at"], "2023-11-14T22:14:20.250Z");
}

#[tokio::test]
async fn a_session_that_runs_is_named() {
    let world = World::new();
    let id = world.room(json!({})).await;
    let session = uuid::Builder::from_random_bytes([7; 16]).into_uuid();
    *world.live.session.lock() = Some(session);
    for path in [format!("/v2/rooms/{id}"), "/v2/rooms".to_owned()] {
        let reply = world.get(&path).await;
        let data = reply.check_ok(StatusCode::OK);
        let room = data.get(0).unwrap_or(data);
        assert_eq!(room["active_session_id"], session.to_string());
    }
}

#[tokio::test]
async fn a_deleted_room_is_gone_and_its_name_free() {
    let world = World::new();
    let id = world.room(json!({"unique_name": "lobby"})).await;
    let reply = world.call("DELETE", "/v2/rooms/lobby", None).await;
    assert_eq!((reply.status, reply.json), (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(*world.live.told.lock(), [Told::Deleted(id.clone())]);
    let gone = [("room_not_found", Value::Null)];
    for method in ["GET", "PATCH", "DELETE"] {
        let reply = world.call(method, &format!("/v2/rooms/{id}"), None).await;
        reply.check_error(StatusCode::NOT_FOUND, &gone);
    }
    world.room(json!({"unique_name": "lobby"})).await;
}

#[tokio::test]
async fn every_wrong_field_is_named_and_nothing_is_changed() {
    let world = World::new();
    let id = world.room(json!({})).await;
    let wrong = json!({
        "unique_name": 7, "max_participants": 0, "enable_recording": "yes", "webhook_event_url": "example.org",
        "webhook_event_failover_url": "ftp://example.org", "webhook_timeout_secs": 31,
    });
    let expected = [
        "/max_participants",
        "/unique_name",
        "/enable_recording",
        "/webhook_event_url",
        "/webhook_event_failover_url",
        "/webhook_timeout_secs",
    ]
    .map(|name| ("invalid_value", pointer(name)));
    let reply = world.post("/v2/rooms", wrong.clone()).await;
    reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &expected);
    assert_eq!(
        reply.json["errors"][0]["detail"],
        "max_participants is 0; it must be a whole number from 1 to 4294967295"
    );
    let before = world.get(&format!("/v2/rooms/{id}")).await.json;
    let reply = world.call("PATCH", &format!("/v2/rooms/{id}"), Some(wrong)).await;
    reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &expected);
    assert_eq!(world.get("/v2/rooms").await.json["data"], json!([before["data"]]));
    assert_eq!(*world.live.told.lock(), []);
}

#[tokio::test]
async fn a_value_must_be_allowed() {
    let world = World::new();
    let long = "n".repeat(129);
    for (name, value) in [
        ("max_participants", json!(4_294_967_296_u64)),
        ("max_participants", json!(-1)),
        ("max_participants", json!(1.5)),
        ("max_participants", json!("10")),
        ("webhook_timeout_secs", json!(-1)),
        ("enable_recording", json!(1)),
        ("unique_name", json!("")),
        ("unique_name", json!(long)),
        ("unique_name", json!("a\nb")),
        ("unique_name", json!("..")),
        ("unique_name", json!("00000000-0000-4000-8000-000000000000")),
        ("unique_name", json!("{00000000-0000-4000-8000-000000000000}")),
        ("unique_name", json!("00000000000040008000000000000000")),
        ("webhook_event_url", json!("https:///path")),
        ("webhook_event_url", json!("//example.org")),
        ("webhook_event_url", json!("not a url")),
        ("webhook_event_url", json!(format!("https://example.org/{}", "p".repeat(2048)))),
        ("webhook_event_url", json!(["https://example.org"])),
    ] {
        let reply = world.post("/v2/rooms", json!({name: value})).await;
        let expected = [("invalid_value", pointer(&format!("/{name}")))];
        reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &expected);
    }
    world.room(json!({"unique_name": "ü".repeat(128), "max_participants": 1})).await;
}

#[tokio::test]
async fn a_unique_name_is_unique() {
    let world = World::new();
    world.room(json!({"unique_name": "lobby"})).await;
    let other = world.room(json!({"unique_name": "stage"})).await;
    let taken = [("unique_name_taken", pointer("/unique_name"))];
    let reply = world.post("/v2/rooms", json!({"unique_name": "lobby"})).await;
    reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &taken);
    let reply =
        world.call("PATCH", &format!("/v2/rooms/{other}"), Some(json!({"unique_name": "lobby"}))).await;
    reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &taken);
    // Its own name is no conflict.
    let reply = world.call("PATCH", "/v2/rooms/lobby", Some(json!({"unique_name": "lobby"}))).await;
    reply.check_ok(StatusCode::OK);
}

#[tokio::test]
async fn a_full_server_says_so() {
    let world = World::with_store(MemoryStore::new(1));
    world.room(json!({})).await;
    let reply = world.post("/v2/rooms", json!({})).await;
    reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &[("too_many_rooms", Value::Null)]);
}

#[tokio::test]
async fn a_list_has_pages() {
    let world = World::new();
    for number in 0..45 {
        world.room(json!({"unique_name": format!("room {number}")})).await;
    }
    #[track_caller]
    fn check(reply: &Reply, names: std::ops::Range<u32>, meta: [u64; 4]) {
        let rooms = reply.check_ok(StatusCode::OK).as_array().unwrap();
        let seen: Vec<_> = rooms.iter().map(|room| room["unique_name"].as_str().unwrap()).collect();
        assert_eq!(seen, names.map(|number| format!("room {number}")).collect::<Vec<_>>());
        let [pages, results, number, size] = meta;
        assert_eq!(
            reply.json["meta"],
            json!({"total_pages": pages, "total_results": results, "page_number": number, "page_size": size})
        );
    }
    check(&world.get("/v2/rooms").await, 0..20, [3, 45, 1, 20]);
    check(&world.get("/v2/rooms?page[number]=3").await, 40..45, [3, 45, 3, 20]);
    check(&world.get("/v2/rooms?page[number]=4").await, 0..0, [3, 45, 4, 20]);
    check(&world.get("/v2/rooms?page%5Bsize%5D=250").await, 0..45, [1, 45, 1, 250]);
    check(&world.get("/v2/rooms?page[size]=1&page[number]=45").await, 44..45, [45, 45, 45, 1]);
    let last = format!("/v2/rooms?page[number]={}", u64::MAX);
    check(&world.get(&last).await, 0..0, [3, 45, u64::MAX, 20]);
    check(&world.get("/v2/rooms?filter[unique_name]=room%207").await, 7..8, [1, 1, 1, 20]);
    check(&world.get("/v2/rooms?filter[unique_name]=room").await, 0..0, [0, 0, 1, 20]);
    check(&world.get("/v2/rooms?include_sessions=true&other=1").await, 0..20, [3, 45, 1, 20]);
}

#[tokio::test]
async fn a_list_is_filtered_by_day() {
    let world = World::new();
    // Created on the 14th, 15th and 16th of November; the first is changed on the 16th.
    for name in ["a", "b", "c"] {
        world.room(json!({"unique_name": name})).await;
        world.advance_secs(24 * 60 * 60);
    }
    world.now_ms.store(START_MS + 2 * 24 * 60 * 60 * 1000, Ordering::Relaxed);
    world.call("PATCH", "/v2/rooms/a", Some(json!({}))).await.check_ok(StatusCode::OK);
    for (query, expected) in [
        ("filter[date_created_at][eq]=2023-11-15", "b"),
        ("filter[date_created_at][gte]=2023-11-15", "bc"),
        ("filter[date_created_at][lte]=2023-11-15", "ab"),
        ("filter[date_created_at][gte]=2023-11-15&filter[date_created_at][lte]=2023-11-15", "b"),
        ("filter[date_created_at][gte]=2023-11-16&filter[date_created_at][lte]=2023-11-14", ""),
        ("filter[date_created_at][eq]=2023-11-13", ""),
        ("filter[date_created_at][gte]=1969-01-01", "abc"),
        ("filter[date_updated_at][eq]=2023-11-16", "ac"),
        ("filter[date_updated_at][lte]=2023-11-14", ""),
        ("filter[date_updated_at][gte]=2023-11-16&filter[unique_name]=c", "c"),
    ] {
        let reply = world.get(&format!("/v2/rooms?{query}")).await;
        let rooms = reply.check_ok(StatusCode::OK).as_array().unwrap();
        let seen: String = rooms.iter().map(|room| room["unique_name"].as_str().unwrap()).collect();
        assert_eq!(seen, expected, "{query}");
        assert_eq!(reply.json["meta"]["total_results"], expected.len(), "{query}");
    }
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let world = World::new();
    for (name, value, code) in [
        ("page[number]", "0", "invalid_value"),
        ("page[number]", "one", "invalid_value"),
        ("page[size]", "0", "invalid_value"),
        ("page[size]", "251", "invalid_value"),
        ("page[size]", "", "invalid_value"),
        ("page[offset]", "3", "unknown_name"),
        ("filter[name]", "lobby", "unknown_name"),
        ("filter[date_created_at]", "2023-11-15", "unknown_name"),
        ("filter[date_created_at][gt]", "2023-11-15", "unknown_name"),
        ("filter[date_created_at][gte]", "yesterday", "invalid_value"),
        ("filter[date_updated_at][eq]", "2023-02-30", "invalid_value"),
    ] {
        let reply = world.get(&format!("/v2/rooms?{name}={value}")).await;
        reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &[(code, parameter(name))]);
    }
    let reply = world.get("/v2/rooms?page[size]=0&page[number]=0").await;
    let expected = ["page[size]", "page[number]"].map(|name| ("invalid_value", parameter(name)));
    reply.check_error(StatusCode::UNPROCESSABLE_ENTITY, &expected);
}
