//! RFC 3711 appendix B, RFC 7714 §16 and §17.

use crate::{
    MasterKey, Profile,
    cipher::{Ciphers, Forged},
    keys::Label,
};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn rfc_3711_appendix_b_3_key_derivation() {
    let key = bytes("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = bytes("0EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::new(Profile::Aes128CmSha1_80, &key, &salt).expect("of its length");
    let derive = |label, length| {
        let mut out = vec![0xff; length];
        master.derive(label, &mut out);
        out
    };
    assert_eq!(derive(Label::RtpKey, 16), bytes("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derive(Label::RtpSalt, 14), bytes("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(derive(Label::RtpAuthentication, 20), bytes("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
}

/// RFC 3711 appendix B.2: 0xe03ead09… is the key stream of the packet with index 0 of source 0 under this salt.
#[test]
fn rfc_3711_appendix_b_2_key_stream() {
    let key = bytes("2B7E151628AED2A6ABF7158809CF4F3C");
    let salt = bytes("F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
    let ciphers = Ciphers::of_session(Profile::Aes128CmSha1_80, &key, &salt);
    let mut packet = bytes("80 00 0000 00000000 00000000");
    packet.resize(12 + 48 + 10, 0);
    ciphers.seal_rtp(0, 0, 12, &mut packet, 12 + 48);
    let stream = bytes(
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0",
    );
    assert_eq!(packet[12..60], stream);
}

const SALT: &str = "517569642070726f2071756f";
const GALLIA: &str =
    "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070
                      61727465 73207472 6573";

fn check_rtp(profile: Profile, key: &str, sealed: &str) {
    let ciphers = Ciphers::of_session(profile, &bytes(key), &bytes(SALT));
    let plain = bytes(GALLIA);
    let mut packet = plain.clone();
    packet.resize(plain.len() + profile.rtp_overhead(), 0);
    ciphers.seal_rtp(0x5501_a0b2, 0xf17b, 12, &mut packet, plain.len());
    assert_eq!(packet, bytes(sealed));
    assert_eq!(ciphers.open_rtp(0x5501_a0b2, 0xf17b, 12, &mut packet), Ok(plain.len()));
    assert_eq!(packet[..plain.len()], plain);
}

#[test]
fn rfc_7714_section_16_1_aead_aes_128_gcm() {
    check_rtp(
        Profile::AeadAes128Gcm,
        "000102030405060708090a0b0c0d0e0f",
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b
         36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    );
}

#[test]
fn rfc_7714_section_16_2_aead_aes_256_gcm() {
    check_rtp(
        Profile::AeadAes256Gcm,
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f
         1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
    );
}

#[test]
fn rfc_7714_section_17_aead_aes_128_gcm_and_256() {
    let plain = bytes(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef
         deadbeef deadbeef",
    );
    for (profile, key, sealed) in [
        (
            Profile::AeadAes128Gcm,
            "000102030405060708090a0b0c0d0e0f",
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46
             86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        ),
        (
            Profile::AeadAes256Gcm,
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658
             c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
        ),
    ] {
        let ciphers = Ciphers::of_session(profile, &bytes(key), &bytes(SALT));
        let mut packet = plain.clone();
        packet.resize(plain.len() + profile.rtcp_overhead(), 0);
        ciphers.seal_rtcp(0x4d61_7273, 0x5d4, &mut packet, plain.len());
        assert_eq!(packet, bytes(sealed));
        assert_eq!(ciphers.rtcp_word(&packet), Some(0x8000_05d4));
        let mut other = packet.clone();
        assert_eq!(ciphers.open_rtcp(0x4d61_7273, 0x5d5, &mut other), Err(Forged));
        assert_eq!(ciphers.open_rtcp(0x4d61_7273, 0x5d4, &mut packet), Ok(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}
