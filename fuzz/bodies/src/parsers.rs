//! Parsers that see the network.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use roomful_media::{ClientConfig, ClientPeer, Datagram, Outgoing, ServerCertificate, ServerPeer};
use roomful_protocol::{ClientMessage, Encoding, ServerMessage, Signal};
use roomful_rtp::{AssemblerConfig, FrameAssembler, Packet, Packetizer, Payloads, Rewriter};
use roomful_srtp::{KeyingMaterial, Opener, Profile, Sealer};
use roomful_types::Codec;

const CODECS: [Codec; 3] = [Codec::Opus, Codec::Vp8, Codec::H264];

/// What comes to the openers of SRTP and SRTCP: garbage, and packets that were changed on the way. Nothing but what was sealed is opened,
/// and that once.
///
/// # Panics
/// When something else is.
pub fn srtp_open(data: &[u8]) {
    let Some(([choice, place, flip], payload)) = data.split_first_chunk() else { return };
    let profile = Profile::ALL[usize::from(*choice) % Profile::ALL.len()];
    let exported = vec![7; profile.keying_material_bytes()];
    let master = KeyingMaterial::split(profile, &exported).expect("of its length").server;
    let mut opener = Opener::new(&master);
    let mut sealer = Sealer::new(master);
    assert!(
        opener.open_rtp(&mut payload.to_vec()).is_err() && opener.open_rtcp(&mut payload.to_vec()).is_err()
    );

    let stream = sealer.add_stream(0).expect("the first");
    let mut packet = [&[0x80, 96, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0], payload].concat();
    let length = packet.len();
    packet.resize(length + profile.rtp_overhead(), 0);
    sealer.seal_rtp(stream, 9, &mut packet, length).expect("a new number");
    let mut report = [&[0x80, 201, 0, 1, 0, 0, 0, 0], payload].concat();
    let report_length = report.len();
    report.resize(report_length + profile.rtcp_overhead(), 0);
    sealer.seal_rtcp(&mut report, report_length).expect("there is room");
    let changed = |packet: &[u8]| {
        let (mut changed, at) = (packet.to_vec(), usize::from(*place) % packet.len());
        changed[at] ^= *flip;
        changed
    };
    if *flip != 0 {
        assert!(
            opener.open_rtp(&mut changed(&packet)).is_err()
                && opener.open_rtcp(&mut changed(&report)).is_err()
        );
    }
    let opened = opener.open_rtp(&mut packet.clone()).expect("authentic");
    assert_eq!((opened.index, opened.length), (9, length));
    assert_eq!(opener.open_rtcp(&mut report.clone()), Ok(report_length));
    assert!(opener.open_rtp(&mut packet).is_err() && opener.open_rtcp(&mut report).is_err());
}

/// Signalling, in both encodings and both directions. What can be read means the same when it is written and read again.
///
/// # Panics
/// When it does not.
pub fn protocol_decode(data: &[u8]) {
    fn check<M: Signal + PartialEq + std::fmt::Debug>(data: &[u8]) {
        for encoding in Encoding::ALL {
            let Ok(message) = encoding.decode::<M>(data) else { continue };
            for again in Encoding::ALL {
                assert_eq!(again.decode::<M>(&again.encode(&message)).as_ref(), Ok(&message));
            }
        }
    }
    check::<ClientMessage>(data);
    check::<ServerMessage>(data);
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 7000))
}

/// Session descriptions, as the server reads offers and as clients read answers.
pub fn sdp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let now = Instant::now();
    let mut server = ServerPeer::new(&certificate(), &[address(1)], now, UNIX_EPOCH);
    // Refused or not: it must survive.
    let _ = server.accept_offer(text, &[]);
    let mut client = ClientPeer::new(&ClientConfig::default(), &[address(2)], now);
    let _ = client.create_offer(1, 1, 2, false);
    let _ = client.accept_answer(text);
}

fn certificate() -> ServerCertificate {
    static CERTIFICATE: std::sync::OnceLock<ServerCertificate> = std::sync::OnceLock::new();
    CERTIFICATE.get_or_init(ServerCertificate::generate).clone()
}

/// Key frames are found, and numbers rewritten, whatever comes in whatever order.
///
/// # Panics
/// When a number goes back.
pub fn rtp_helpers(data: &[u8]) {
    for codec in CODECS {
        let _ = roomful_rtp::starts_keyframe(codec, data);
        let _ = roomful_rtp::is_keyframe(codec, data);
    }
    let mut now = Instant::now();
    let mut rewriter = Rewriter::new(90_000, 7, 0);
    let mut newest = 0;
    for step in data.chunks_exact(6) {
        let sequence = u64::from(u16::from_be_bytes([step[1], step[2]]));
        let timestamp = u32::from_be_bytes([step[2], step[3], step[4], step[5]]);
        now += Duration::from_millis(u64::from(step[5]));
        let mapped = match step[0] % 4 {
            0 => Some(rewriter.bind(sequence, timestamp, now)),
            1 => Some(rewriter.switch(sequence, timestamp, now)),
            2 => {
                rewriter.unbind();
                None
            }
            _ => {
                let _ = rewriter.map(sequence, timestamp, now);
                None
            }
        };
        if let Some(mapped) = mapped {
            assert!(mapped.sequence >= newest, "a binding begins behind everything before it");
            newest = mapped.sequence;
        }
    }
}

/// Packets are put together to frames, and frames split into packets.
///
/// # Panics
/// When a payload is longer than allowed.
pub fn depacketize(data: &[u8]) {
    let Some((head, data)) = data.split_first() else { return };
    let codec = CODECS[usize::from(*head) % 3];
    let mut now = Instant::now();
    let mut assembler = FrameAssembler::new(codec, AssemblerConfig::for_codec(codec));
    let mut rest = data;
    while let Some((header, tail)) = rest.split_at_checked(4) {
        let length = usize::from(header[3]).min(tail.len());
        let (payload, tail) = tail.split_at(length);
        let packet = Packet {
            sequence: u64::from(header[0]),
            timestamp: u64::from(header[1]) * 3000,
            marker: header[2] & 1 == 1,
            payload: Arc::from(payload),
            audio_level: None,
        };
        assembler.push(packet, now);
        now += Duration::from_millis(u64::from(header[2] >> 1));
        while assembler.poll(now).is_some() {}
        rest = tail;
    }
    let mut payloads = Payloads::new();
    if Packetizer::new(codec, 200).packetize(data, &mut payloads).is_ok() {
        assert!(payloads.iter().all(|payload| !payload.is_empty() && payload.len() <= 200));
    }
}

/// Datagrams that reach the media port.
pub fn media_receive(data: &[u8]) {
    let _ = roomful_media::local_ufrag(data);
    let now = Instant::now();
    let mut server = ServerPeer::new(&certificate(), &[address(1)], now, UNIX_EPOCH);
    let (mut outgoing, mut rest) = (Outgoing::new(), data);
    while let Some((length, tail)) = rest.split_first() {
        let (bytes, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        let datagram = Datagram { source: address(2), destination: address(1), bytes };
        let _ = server.accepts(datagram);
        assert!(server.handle_datagram(datagram, Vec::new(), now).is_err(), "nobody has keys yet");
        while server.poll_output(&mut outgoing).is_some() {}
        while outgoing.next_run().is_some() {}
        rest = tail;
    }
}

/// What clients say by RTCP, once it was opened.
///
/// # Panics
/// When it causes more than it may.
pub fn rtcp(data: &[u8]) {
    let mut now = Instant::now();
    let mut server = ServerPeer::new(&certificate(), &[address(1)], now, UNIX_EPOCH);
    let mut client = ClientPeer::new(&ClientConfig::default(), &[address(2)], now);
    let offer = client.create_offer(1, 1, 2, false).expect("new sections");
    server.accept_offer(&offer.sdp, &offer.slots).expect("a good offer");
    let sources = roomful_media::fuzz::sources(&server);
    let mut outgoing = Outgoing::new();
    let mut rest = data;
    while let Some(([source, length], tail)) = rest.split_first_chunk() {
        let (bytes, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        let mut bytes = bytes.to_vec();
        // No fuzzer guesses which sources there are.
        if let (Some(ssrc), Some(about)) =
            (sources.get(usize::from(source >> 4)), bytes.get_mut(usize::from(source & 15) * 4..))
            && let Some(word) = about.first_chunk_mut()
        {
            *word = ssrc.to_be_bytes();
        }
        now += Duration::from_millis(u64::from(*length));
        roomful_media::fuzz::hear(&mut server, &bytes, now);
        let mut outputs = 0;
        while server.poll_output(&mut outgoing).is_some() {
            outputs += 1;
        }
        assert!(outputs <= 1024, "{outputs} things to do for one packet");
        server.handle_timeout(now, &mut outgoing);
        while outgoing.next_run().is_some() {}
        rest = tail;
    }
}

/// RTP of a hostile publisher, opened already: extensions, repairs, jumps and other sources in any order.
///
/// # Panics
/// When it causes more than it may.
pub fn rtp_opened(data: &[u8]) {
    let mut now = Instant::now();
    let mut server = ServerPeer::new(&certificate(), &[address(1)], now, UNIX_EPOCH);
    let mut client = ClientPeer::new(&ClientConfig::default(), &[address(2)], now);
    let offer = client.create_offer(1, 1, 1, false).expect("new sections");
    server.accept_offer(&offer.sdp, &offer.slots).expect("a good offer");
    let mut outgoing = Outgoing::new();
    let (mut rest, mut index) = (data, 0_u64);
    while let Some(([step, flags, kind, ssrc, words, length], tail)) = rest.split_first_chunk() {
        let (bytes, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        // Small steps, and now and then a leap.
        index = match step {
            0..200 => index.saturating_add(u64::from(*step)),
            200..250 => index.saturating_sub(u64::from(*step - 200)),
            _ => index.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(*step)) & ((1 << 48) - 1),
        };
        let extension = usize::from(words % 16);
        let mut packet = vec![0x80 | (flags & 0x30), *kind];
        packet.extend((index as u16).to_be_bytes());
        packet.extend([0, 0, *step, *flags, 0, 0, 0, ssrc % 8]);
        let mut header = packet.len();
        if flags & 0x10 != 0 {
            packet.extend(if flags & 1 == 0 { [0xbe, 0xde] } else { [0x10, 0] });
            packet.extend([0, extension as u8]);
            header += 4 + 4 * extension;
        }
        packet.extend_from_slice(bytes);
        packet.resize(packet.len().max(header), 0);
        now += Duration::from_millis(u64::from(*length));
        if let Some(payload) = roomful_media::fuzz::take(&mut server, &packet, header, index, now) {
            assert!(payload.start >= header && payload.end <= packet.len(), "{payload:?} of {header}");
        }
        server.handle_timeout(now, &mut outgoing);
        let mut outputs = 0;
        while server.poll_output(&mut outgoing).is_some() {
            outputs += 1;
        }
        assert!(outputs <= 1024, "{outputs} things to do for one packet");
        while outgoing.next_run().is_some() {}
        rest = tail;
    }
}

/// Client tokens: nobody gets in with one that was not signed here.
///
/// # Panics
/// When somebody does.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(!roomful_server::fuzz::accepts_token(text), "a token that nobody issued");
}
