//! What holds of every encoding.

use proptest::prelude::*;
use roomful_protocol::{
    ClientMessage, Encoding, ParticipantInfo, PingRequest, RequestId, ServerMessage, Signal,
    SignalDecodeError, StreamInfo, TrackInfo,
};
use roomful_types::{Codec, ParticipantId, StreamId, StreamKey};

use crate::samples;

fn check_round_trip<M: Signal + PartialEq + std::fmt::Debug>(message: &M) {
    for encoding in Encoding::ALL {
        let bytes = encoding.encode(message);
        assert_eq!(encoding.decode::<M>(&bytes).as_ref(), Ok(message), "{encoding:?}");
    }
}

#[test]
fn every_sample_survives_both_encodings() {
    samples::client().iter().for_each(|(_, message)| check_round_trip(message));
    samples::server().iter().for_each(|(_, message)| check_round_trip(message));
}

#[test]
fn every_kind_has_a_sample() {
    fn kinds<M: Signal>(messages: &[(&str, M)]) -> Vec<String> {
        let json = messages.iter().map(|(_, message)| Encoding::Json.encode(message));
        let mut kinds: Vec<String> = json
            .map(|json| serde_json::from_slice::<serde_json::Value>(&json).expect("JSON")["type"].to_string())
            .collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
    assert_eq!(kinds(&samples::client()).len(), ClientMessage::KINDS.len());
    assert_eq!(kinds(&samples::server()).len(), ServerMessage::KINDS.len());
}

#[test]
fn an_unknown_field_is_skipped() {
    let ping = ClientMessage::PingRequest(PingRequest { request: RequestId(3), received: 0 });
    let json = br#"{"type":"ping_request","request":3,"later":{"a":[1]}}"#;
    assert_eq!(Encoding::Json.decode(json).as_ref(), Ok(&ping));
    // [3, [{0: 3, 1: 0, 99: [1]}]]
    let binary = [0x82, 0x03, 0x81, 0xa3, 0x00, 0x03, 0x01, 0x00, 0x18, 99, 0x81, 0x01];
    assert_eq!(Encoding::Binary.decode(&binary).as_ref(), Ok(&ping));
}

#[test]
fn an_unknown_kind_is_reported_as_such() {
    let json = Encoding::Json.decode::<ClientMessage>(br#"{"type":"teleport_request","request":3}"#);
    assert_eq!(json, Err(SignalDecodeError::UnknownKind));
    // [200, [{0: 3}]]
    let binary = Encoding::Binary.decode::<ClientMessage>(&[0x82, 0x18, 200, 0x81, 0xa1, 0x00, 0x03]);
    assert_eq!(binary, Err(SignalDecodeError::UnknownKind));
}

#[test]
fn a_known_kind_with_a_missing_field_or_with_more_behind_it_is_malformed() {
    let malformed = Err(SignalDecodeError::Malformed);
    assert_eq!(Encoding::Json.decode::<ClientMessage>(br#"{"type":"leave_request"}"#), malformed);
    assert_eq!(Encoding::Json.decode::<ClientMessage>(b"[]"), malformed);
    assert_eq!(Encoding::Json.decode::<ClientMessage>(&[0xff]), malformed);
    // [2, [{}]]
    assert_eq!(Encoding::Binary.decode::<ClientMessage>(&[0x82, 0x02, 0x81, 0xa0]), malformed);
    // [2, [{0: 1}]], and another byte
    assert_eq!(Encoding::Binary.decode::<ClientMessage>(&[0x82, 2, 0x81, 0xa1, 0, 1, 0]), malformed);
    assert_eq!(Encoding::Binary.decode::<ClientMessage>(&[]), malformed);
}

#[test]
fn a_later_reason_is_read_as_unknown() {
    let json =
        Encoding::Json.decode::<ServerMessage>(br#"{"type":"error_response","request":1,"code":"tired"}"#);
    assert_eq!(json.map(|message| Encoding::Json.encode(&message).len() > 1), Ok(true));
    // [disconnect_notice, [{0: 77}]]
    let sample =
        samples::server().into_iter().find(|(name, _)| *name == "disconnect_notice").expect("listed").1;
    let mut binary = Encoding::Binary.encode(&sample);
    binary.pop();
    binary.extend([0x18, 77]);
    let text = format!("{:?}", Encoding::Binary.decode::<ServerMessage>(&binary));
    assert!(text.contains("Unknown"), "{text}");
}

#[test]
fn a_secret_is_not_printed() {
    let text = format!("{:?}", samples::server()) + &format!("{:?}", samples::client());
    assert!(!text.contains("4d4d4d4d"), "the resume key is printed");
}

#[test]
fn a_publish_notice_fits_into_a_hundred_bytes() {
    let notice = samples::server().into_iter().find(|(name, _)| *name == "stream_published_notice");
    let bytes = Encoding::Binary.encode(&notice.expect("listed").1);
    assert!(bytes.len() <= 100, "{} bytes", bytes.len());
}

#[test]
fn a_room_of_a_thousand_fits_into_a_hundred_kilobytes() {
    let all = samples::server();
    let found = all.into_iter().find(|(name, _)| *name == "join_response");
    let Some((_, ServerMessage::JoinResponse(mut join))) = found else { panic!("listed") };
    let id = |number: u128| number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
    let track = |codec| Some(TrackInfo { codec, enabled: true, censored: false });
    join.participants = (1..=1000)
        .map(|number| ParticipantInfo {
            id: ParticipantId::from_random(id(number)),
            identity: Some(format!("user-{number}").into()),
            context: None,
            can_receive_messages: true,
            telephone: false,
        })
        .collect();
    join.streams = (1..=1000)
        .map(|number| StreamInfo {
            id: StreamId::from_random(id(!number)),
            participant_id: ParticipantId::from_random(id(number)),
            key: StreamKey::new("self").expect("short"),
            audio: track(Codec::Opus),
            video: track(Codec::Vp8),
        })
        .collect();
    let bytes = Encoding::Binary.encode(&ServerMessage::from(join));
    assert!(bytes.len() <= 100_000, "{} bytes", bytes.len());
}

/// Draws another message of the same kind: other numbers, flags and texts, longer and shorter lists, fields left out, and fields of a later
/// version anywhere. It may mean nothing any more.
fn redraw(value: &mut serde_json::Value, draws: &mut impl Iterator<Item = u32>) {
    use serde_json::Value;
    const NUMBERS: [u64; 8] = [0, 1, 23, 24, 255, 65_536, u32::MAX as u64, 1 << 53];
    const TEXTS: [&str; 4] = ["", "x", "\u{e9}\"\n\u{1f600}", "audio"];
    let mut draw = |choices: usize| draws.next().map_or(0, |draw| draw as usize % choices);
    match value {
        Value::Null => {}
        Value::Bool(flag) => *flag ^= draw(3) == 1,
        Value::Number(_) if draw(3) == 1 => *value = NUMBERS[draw(NUMBERS.len())].into(),
        Value::String(_) if draw(12) == 1 => *value = TEXTS[draw(TEXTS.len())].into(),
        Value::Number(_) | Value::String(_) => {}
        Value::Array(list) => {
            let length = [list.len(), 0, 1, 30][draw(4)];
            let first = list.first().cloned();
            list.resize(length.min(if first.is_some() { length } else { 0 }), first.unwrap_or_default());
            list.iter_mut().for_each(|one| redraw(one, draws));
        }
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().filter(|name| *name != "type").cloned().collect();
            for name in names {
                if draws.next().is_some_and(|draw| draw % 12 == 1) {
                    fields.remove(&name);
                } else if let Some(field) = fields.get_mut(&name) {
                    redraw(field, draws);
                }
            }
            if draws.next().is_some_and(|draw| draw % 2 == 1) {
                fields.insert("of a later version".to_owned(), serde_json::json!({"a": [1, {"b": null}]}));
            }
        }
    }
}

/// Returns whether the drawn message means something, and is another one than the sample.
fn check_redrawn<M: Signal + PartialEq + std::fmt::Debug>(sample: &M, draws: &[u32]) -> bool {
    let mut json = serde_json::from_slice(&Encoding::Json.encode(sample)).expect("our own JSON");
    redraw(&mut json, &mut draws.iter().copied());
    let Ok(message) = Encoding::Json.decode::<M>(json.to_string().as_bytes()) else { return false };
    check_round_trip(&message);
    message != *sample
}

proptest! {
    #[test]
    fn whatever_can_be_said_is_the_same_in_both_encodings(
        draws in prop::collection::vec(prop::collection::vec(any::<u32>(), 150), 6),
    ) {
        let (client, server) = (samples::client(), samples::server());
        let of_clients = client.iter().flat_map(|(_, sample)| draws.iter().map(|draws| check_redrawn(sample, draws)));
        let of_servers = server.iter().flat_map(|(_, sample)| draws.iter().map(|draws| check_redrawn(sample, draws)));
        let meant = of_clients.chain(of_servers).filter(|is_meant| *is_meant).count();
        prop_assert!(meant > 10, "only {} mean something else", meant);
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for encoding in Encoding::ALL {
            let _ = encoding.decode::<ClientMessage>(&bytes);
            let _ = encoding.decode::<ServerMessage>(&bytes);
        }
    }

    #[test]
    fn what_damaged_bytes_still_mean_survives_too(
        index in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let messages = samples::client();
        for encoding in Encoding::ALL {
            let mut bytes = encoding.encode(&index.get(&messages).1);
            *place.get_mut(&mut bytes) = byte;
            if let Ok(message) = encoding.decode::<ClientMessage>(&bytes) {
                check_round_trip(&message);
            }
        }
        let messages = samples::server();
        for encoding in Encoding::ALL {
            let mut bytes = encoding.encode(&index.get(&messages).1);
            *place.get_mut(&mut bytes) = byte;
            if let Ok(message) = encoding.decode::<ServerMessage>(&bytes) {
                check_round_trip(&message);
            }
        }
    }
}
