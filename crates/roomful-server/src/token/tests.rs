//! What a token keeps, and everything that it refuses.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW_MS: u64 = 1_700_000_000_250;
const NOW: u64 = NOW_MS / 1000;
const TTL: Duration = Duration::from_secs(600);

fn grant() -> JoinGrant {
    JoinGrant {
        room: RoomId::from_random([1; 16]),
        identity: Some("ada@example.org".to_owned()),
        context: Some("{\"name\":\"Ada\"}".to_owned()),
        permissions: Permissions { publish: false, moderate: true, ..Permissions::default() },
        grant: uuid::Builder::from_random_bytes([2; 16]).into_uuid(),
    }
}

fn issue(grant: &JoinGrant, kind: TokenKind) -> String {
    TokenAuthority::new("key").issue(grant, kind, TTL, NOW_MS, [3; 16])
}

/// Signs any claims with any header, as one who knows the key could.
fn sign(header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(b"roomful-token:key")).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": "roomful", "aud": "roomful", "jti": Uuid::nil(), "iat": NOW, "nbf": NOW - 1, "exp": NOW + 600,
        "typ": "access", "room": grant().room, "grant": grant().grant, "permissions": Permissions::default(),
    })
}

#[track_caller]
fn check(token: &str, now_unix_ms: u64, expected: Result<(), TokenError>) {
    let verified = TokenAuthority::new("key").verify_access(token, now_unix_ms);
    assert_eq!(verified.map(|_| ()), expected);
}

/// Changes one claim of an otherwise valid token.
#[track_caller]
fn check_claim(name: &str, value: Value, expected: Result<(), TokenError>) {
    let mut claims = claims();
    claims[name] = value;
    check(&sign(&Header::new(Algorithm::HS256), &claims), NOW_MS, expected);
}

#[test]
fn a_token_keeps_its_grant() {
    let authority = TokenAuthority::new("key");
    let expected = VerifiedJoin { grant: grant(), issued_at_unix: NOW, expires_at_unix: NOW + 600 };
    assert_eq!(authority.verify_access(&issue(&grant(), TokenKind::Access), NOW_MS).as_ref(), Ok(&expected));
    assert_eq!(authority.verify_refresh(&issue(&grant(), TokenKind::Refresh), NOW_MS), Ok(expected));
    assert_eq!(expiry_unix(TTL, NOW_MS), NOW + 600);
}

#[test]
fn the_claims_are_those_that_are_documented() {
    let token = issue(&JoinGrant { context: None, ..grant() }, TokenKind::Refresh);
    let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(&token).unwrap();
    assert_eq!(
        claims,
        json!({
            "iss": "roomful", "aud": "roomful", "sub": "ada@example.org", "iat": NOW, "nbf": NOW - 1, "exp": NOW + 600,
            "jti": "03030303-0303-4303-8303-030303030303", "typ": "refresh",
            "room": "01010101-0101-4101-8101-010101010101", "grant": "02020202-0202-4202-8202-020202020202",
            "permissions": {"publish": false, "subscribe": true, "message": true, "moderate": true},
        })
    );
    let anonymous = issue(&JoinGrant { identity: None, ..grant() }, TokenKind::Access);
    let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(&anonymous).unwrap();
    assert_eq!(claims.get("sub"), None);
}

#[test]
fn access_and_refresh_are_not_interchangeable() {
    let authority = TokenAuthority::new("key");
    check(
        &issue(&grant(), TokenKind::Refresh),
        NOW_MS,
        Err(TokenError::WrongKind { wanted: TokenKind::Access }),
    );
    assert_eq!(
        authority.verify_refresh(&issue(&grant(), TokenKind::Access), NOW_MS),
        Err(TokenError::WrongKind { wanted: TokenKind::Refresh })
    );
}

#[test]
fn a_foreign_key_is_refused() {
    for key in ["", "Key", "key ", "roomful-token:key"] {
        let token = TokenAuthority::new(key).issue(&grant(), TokenKind::Access, TTL, NOW_MS, [0; 16]);
        check(&token, NOW_MS, Err(TokenError::BadSignature));
    }
    // Nor does the bare key sign tokens.
    let bare =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(b"key"));
    check(&bare.unwrap(), NOW_MS, Err(TokenError::BadSignature));
}

#[test]
fn time_has_exact_edges() {
    let token = issue(&grant(), TokenKind::Access);
    check(&token, (NOW + 600) * 1000 - 1, Ok(()));
    check(&token, (NOW + 600) * 1000, Err(TokenError::Expired));
    check(&token, u64::MAX, Err(TokenError::Expired));
    // Not before NOW - 1, with 5 s leeway.
    check(&token, (NOW - 6) * 1000, Ok(()));
    check(&token, (NOW - 6) * 1000 - 1, Err(TokenError::NotYetValid));
    check(&token, 0, Err(TokenError::NotYetValid));
}

#[test]
fn only_one_algorithm_is_accepted() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        check(&sign(&Header::new(algorithm), &claims()), NOW_MS, Err(TokenError::BadSignature));
    }
    let token = sign(&Header::new(Algorithm::HS256), &claims());
    check(&token, NOW_MS, Ok(()));
    // {"alg":"none"}, with and without the signature.
    let (_, payload) = token.split_once('.').unwrap();
    let (payload, signature) = payload.split_once('.').unwrap();
    check(&format!("eyJhbGciOiJub25lIn0.{payload}."), NOW_MS, Err(TokenError::Malformed));
    check(&format!("eyJhbGciOiJub25lIn0.{payload}.{signature}"), NOW_MS, Err(TokenError::Malformed));
}

#[test]
fn claims_must_be_ours() {
    check_claim("iss", json!("roomful"), Ok(()));
    for (name, value) in [
        ("iss", json!("other")),
        ("aud", json!("other")),
        ("iss", Value::Null),
        ("aud", Value::Null),
        ("exp", Value::Null),
        ("exp", json!("never")),
        ("exp", json!(-1)),
        ("nbf", Value::Null),
        ("typ", json!("join")),
        ("room", json!("lobby")),
        ("grant", Value::Null),
        ("permissions", json!("all")),
        ("sub", json!("")),
        ("sub", json!("i".repeat(257))),
        ("sub", json!("a\nb")),
        ("context", json!("c".repeat(8193))),
        ("context", json!("a\0b")),
    ] {
        check_claim(name, value, Err(TokenError::Malformed));
    }
    check_claim("exp", json!(u64::MAX), Ok(()));
    check_claim("nbf", json!(u64::MAX), Err(TokenError::NotYetValid));
}

#[test]
fn the_longest_grant_fits() {
    let grant = JoinGrant { identity: Some("\"".repeat(256)), context: Some("\n".repeat(8192)), ..grant() };
    let token = issue(&grant, TokenKind::Refresh);
    assert!(token.len() > MAX_TOKEN_BYTES - 2048, "{} bytes: the limit is out of date", token.len());
    assert_eq!(TokenAuthority::new("key").verify_refresh(&token, NOW_MS).map(|join| join.grant), Ok(grant));
    check(&"a".repeat(MAX_TOKEN_BYTES + 1), NOW_MS, Err(TokenError::Malformed));
}

#[test]
fn no_other_spelling_of_the_last_byte_is_accepted() {
    // Only four of the six bits of the last character carry signature; the others must be zero.
    let token = issue(&grant(), TokenKind::Access);
    let (start, last) = token.split_at(token.len() - 1);
    let others = (0..=127_u8).map(char::from).filter(|other| !last.starts_with(*other));
    let accepted: Vec<_> = others
        .map(|other| format!("{start}{other}"))
        .filter(|token| TokenAuthority::new("key").verify_access(token, NOW_MS).is_ok())
        .collect();
    assert_eq!(accepted, [""; 0]);
}

#[test]
fn nothing_secret_is_printed() {
    assert_eq!(format!("{:?}", TokenAuthority::new("key")), "TokenAuthority { .. }");
}

proptest! {
    #[test]
    fn a_flipped_byte_is_refused(position: prop::sample::Index, flip in 1..128_u8) {
        let mut token = issue(&grant(), TokenKind::Access).into_bytes();
        let position = position.index(token.len());
        token[position] ^= flip;
        let token = String::from_utf8(token).expect("still ASCII");
        prop_assert!(TokenAuthority::new("key").verify_access(&token, NOW_MS).is_err());
    }

    #[test]
    fn any_grant_survives(
        identity in prop::option::of("[^\\pC]{1,64}"),
        context in prop::option::of("[^\\pC]{0,200}"),
        bytes: [u8; 16],
        flags: [bool; 4],
    ) {
        let [publish, subscribe, message, moderate] = flags;
        let grant = JoinGrant {
            room: RoomId::from_random(bytes),
            identity,
            context,
            permissions: Permissions { publish, subscribe, message, moderate },
            grant: Uuid::from_bytes(bytes),
        };
        let token = issue(&grant, TokenKind::Access);
        prop_assert_eq!(TokenAuthority::new("key").verify_access(&token, NOW_MS).map(|join| join.grant), Ok(grant));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        prop_assert!(TokenAuthority::new("key").verify_access(&text, NOW_MS).is_err());
    }
}
