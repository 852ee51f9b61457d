//! The RTP layer without a network: placing, repairing, reporting.

mod negotiated;
mod reception;
mod sending;

use proptest::prelude::*;
use roomful_srtp::{KeyingMaterial, Opener, Profile, Sealer};
use rtcp_types::{Nack, TransportFeedback, prelude::*};

use super::{
    header::{ExtensionIds, Extensions, Header},
    receiver::Receiver,
    reports::{self, Listener, Reception},
    sender::{Sender, Wire},
    *,
};

fn mid(text: &str) -> Mid {
    Mid::new(text).expect("short")
}

fn header(ssrc: u32, sequence: u16) -> Header {
    Header { payload_type: 96, marker: true, sequence, timestamp: 0, ssrc, extensions: Extensions::default() }
}

/// A client with one video section, whose source and repairs are declared.
fn receiver(now: Instant) -> Receiver {
    let mut receiver = Receiver::new(now);
    receiver.add_section(mid("v"), MediaKind::Video, Some((1, Some(2))));
    receiver
}

#[test]
fn repairs_come_under_the_number_that_they_repair_and_once() {
    let now = Instant::now();
    let mut receiver = receiver(now);
    let mut place = |ssrc, index: u64, payload: &[u8], is_repair| {
        let placed = receiver.place(&header(ssrc, index as u16), index, payload, is_repair, now);
        placed.map(|placed| (placed.sequence, placed.payload.to_vec()))
    };
    assert_eq!(place(2, 7, &[0xff, 0xfe, 9], true), None, "nothing came yet that it could repair");
    assert_eq!(place(1, 65_533, b"a", false), Some((65_533, b"a".to_vec())));
    assert_eq!(place(1, 65_537, b"b", false), Some((65_537, b"b".to_vec())));
    assert_eq!(place(2, 8, &[0xff, 0xfe, 9], true), Some((65_534, vec![9])));
    assert_eq!(place(2, 9, &[0xff, 0xfe, 9], true), None, "it is there");
    assert_eq!(place(2, 10, &[0xff], true), None, "too short to repair anything");
    assert_eq!(place(1, 65_536, b"c", false), Some((65_536, b"c".to_vec())), "late, and before its repair");
    assert_eq!(place(3, 1, b"d", false), None, "nobody's");
    let due = receiver.take_missing(now + Duration::from_secs(1));
    assert_eq!(due, [(1, vec![65_535])]);
}

#[test]
fn encodings_are_told_by_what_they_say_and_another_source_goes_on_behind_the_one_before_it() {
    let now = Instant::now();
    let mut receiver = receiver(now);
    let mut named = header(50, 10);
    named.extensions = Extensions { mid: Some(mid("v")), rid: Some(Rid::Low), ..Extensions::default() };
    let placed = receiver.place(&named, 10, b"low", false, now).expect("says what it is");
    assert_eq!((placed.mid, placed.rid, placed.sequence), (mid("v"), Rid::Low, 10));
    let placed = receiver.place(&header(50, 11), 11, b"low", false, now).expect("is known by now");
    assert_eq!((placed.rid, placed.sequence), (Rid::Low, 11));
    // Wherever the next one begins, it goes on not far behind: receivers of SRTP lose count over half a wrap.
    for (ssrc, index, sequence) in [(51, 3, 11 + 1024), (52, 65_000, 11 + 2048)] {
        let mut restarted = header(ssrc, index as u16);
        restarted.extensions = named.extensions;
        let placed = receiver.place(&restarted, index, b"low", false, now).expect("says what it is");
        assert_eq!(placed.sequence, sequence);
        assert_eq!(receiver.ssrc(mid("v"), Rid::Low), Some(ssrc));
    }
    named.extensions.mid = Some(mid("w"));
    assert!(receiver.place(&named, 12, b"x", false, now).is_none(), "a section that was never negotiated");
}

/// A subscriber with one video slot, and both ends of its keys.
struct Slot {
    sender: Sender,
    sealer: Sealer,
    opener: Opener,
    outgoing: Outgoing,
    now: Instant,
}

const SSRC: u32 = 100;
const REPAIR: u32 = 101;

/// What arrives: from which source, its number, its payload.
type Arrived = (u32, u64, Vec<u8>);

const NO_EXTENSIONS: PassedExtensions = PassedExtensions {
    audio_level: None,
    is_speech: false,
    orientation: None,
    playout_delay: None,
    capture_time: None,
};

const fn packet(mid: Mid, sequence: u64, payload: &[u8]) -> SentPacket<'_> {
    SentPacket {
        mid,
        codec: Codec::Vp8,
        sequence,
        timestamp: 0,
        marker: true,
        payload,
        padding: 0,
        captured: None,
        extensions: &NO_EXTENSIONS,
    }
}

impl Slot {
    fn new() -> Self {
        let exported = vec![7; Profile::AeadAes128Gcm.keying_material_bytes()];
        let keys = KeyingMaterial::split(Profile::AeadAes128Gcm, &exported).expect("of its length");
        let opener = Opener::new(&keys.server);
        let (mut sender, mut sealer) = (Sender::default(), Sealer::new(keys.server));
        let payload_types = vec![(Codec::Vp8, 96, Some(97))];
        sender.add_section(
            (mid("v"), MediaKind::Video),
            (SSRC, Some(REPAIR)),
            "cname",
            payload_types,
            Stamp::Nothing,
        );
        sender.bind(&mut sealer);
        let outgoing = Outgoing::new();
        Self { sender, sealer, opener, outgoing, now: Instant::now() }
    }

    fn with<T>(&mut self, what: impl FnOnce(&mut Sender, &mut Wire<'_>, Instant) -> T) -> T {
        let Self { sender, sealer, outgoing, now, .. } = self;
        let path = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
        let (ids, send_time) = (&ExtensionIds::default(), 0);
        what(sender, &mut Wire { outgoing: outgoing.to(path), ids, send_time, sealer }, *now)
    }

    /// Sends packets with these payloads, numbered from `first` on; returns what arrives, run by run.
    fn send(&mut self, first: u64, payloads: &[Vec<u8>]) -> Vec<Vec<Arrived>> {
        let longest = payloads.iter().map(Vec::len).max().unwrap_or_default();
        let padding =
            |payload: &[u8]| Some(longest - payload.len()).filter(|padding| *padding <= 2).unwrap_or(0) as u8;
        let packets = (first..).zip(payloads);
        let packets = packets.map(|(sequence, payload)| SentPacket {
            padding: padding(payload),
            ..packet(mid("v"), sequence, payload)
        });
        self.with(|sender, wire, now| sender.send(packets, wire, now));
        self.arrive()
    }

    fn repair(&mut self, sequence: u64, payload: &[u8]) -> Vec<Arrived> {
        self.with(|sender, wire, now| sender.repair(packet(mid("v"), sequence, payload), wire, now));
        self.arrive().concat()
    }

    fn arrive(&mut self) -> Vec<Vec<Arrived>> {
        let mut runs = Vec::new();
        while let Some(run) = self.outgoing.next_run() {
            let open = |datagram: &[u8]| {
                let mut bytes = datagram.to_vec();
                let opened = self.opener.open_rtp(&mut bytes).expect("authentic and new");
                let (_, payload) =
                    Header::read(&bytes[..opened.length], opened.header, &ExtensionIds::default())
                        .expect("RTP");
                (opened.ssrc, opened.index, bytes[payload].to_vec())
            };
            runs.push(run.iter().map(open).collect());
        }
        runs
    }
}

#[test]
fn repairs_have_numbers_of_their_own_and_are_of_what_was_sent() {
    let mut slot = Slot::new();
    let sent = slot.send(10, &[b"ten".to_vec(), b"eleven".to_vec()]).concat();
    assert_eq!(sent, [(SSRC, 10, b"ten".to_vec()), (SSRC, 11, b"eleven".to_vec())]);
    assert_eq!(slot.repair(11, b"eleven"), [(REPAIR, 1, b"\0\x0beleven".to_vec())]);
    assert_eq!(slot.repair(10, b"ten"), [(REPAIR, 2, b"\0\x0aten".to_vec())]);
    assert_eq!(slot.repair(12, b"twelve"), [], "it was not sent");
    assert_eq!(slot.send(11, &[b"again".to_vec()]).concat(), [], "no number is sealed twice");
}

#[test]
fn the_parts_of_a_frame_leave_as_one_run_though_some_are_a_byte_longer() {
    let mut slot = Slot::new();
    let parts: Vec<Vec<u8>> = [1000, 1000, 1001, 1002, 400, 1002, 998].map(|length| vec![7; length]).into();
    let runs = slot.send(10, &parts);
    assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [5, 2]);
    let payloads: Vec<Vec<u8>> = runs.concat().into_iter().map(|(_, _, payload)| payload).collect();
    assert_eq!(payloads, parts, "padding is none of it");
}

#[test]
fn one_datagram_reports_about_the_whole_transport_a_few_times_at_most() {
    // 8,191 packets that did not come, in a run of two bytes.
    let feedback = [0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0x1f, 0xff, 0, 0, 0, 0, 0x1f, 0xff, 0, 0];
    let mut ear = Ear::default();
    reports::hear(&feedback.repeat(60), &mut ear);
    assert_eq!(ear.0, ["8191 arrivals"; 4]);
}

#[test]
fn a_good_bye_changes_nothing_and_a_full_intra_request_is_a_lost_picture() {
    let mut ear = Ear::default();
    // A good-bye of source 8 (RFC 3550 §6.6), as Chromium says it for encodings that it pauses.
    reports::hear(&[0x81, 203, 0, 1, 0, 0, 0, 8], &mut ear);
    assert_eq!(ear.0, [""; 0]);
    // Requests of source 1 for 9 and 10 (RFC 5104 §4.3.1).
    let request = [
        [0x84, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0].as_slice(),
        &[0, 0, 0, 9, 1, 0, 0, 0],
        &[0, 0, 0, 10, 1, 0, 0, 0],
    ];
    reports::hear(&request.concat(), &mut ear);
    assert_eq!(ear.0, ["picture of 9", "picture of 10"]);
}

/// Notes what is heard.
#[derive(Default)]
struct Ear(Vec<String>);

impl Listener for Ear {
    fn on_sender_time(&mut self, ssrc: u32, _: SenderTime) {
        self.0.push(format!("time of {ssrc}"));
    }

    fn on_report(&mut self, block: &ReportBlock<'_>) {
        self.0.push(format!("report about {}", block.ssrc()));
    }

    fn on_nack(&mut self, ssrc: u32, numbers: &mut dyn Iterator<Item = u16>) {
        self.0.push(format!("{:?} of {ssrc}", numbers.collect::<Vec<_>>()));
    }

    fn on_arrivals(&mut self, report: &Twcc<'_>) {
        self.0.push(format!("{} arrivals", report.packets().count()));
    }

    fn on_bandwidth(&mut self, available: Bitrate) {
        self.0.push(format!("{available} gets through"));
    }

    fn on_picture_loss(&mut self, ssrc: u32) {
        self.0.push(format!("picture of {ssrc}"));
    }
}

const fn reception(ssrc: u32) -> Reception {
    Reception { ssrc, fraction_lost: 64, lost: 0x7f_ffff, highest: 70_000, jitter: 5, sender_report: (8, 9) }
}

#[test]
fn what_is_written_is_heard() {
    let mut bundle = Bundle::default();
    let sent = reports::Sent { ssrc: 7, time: SenderTime { rtp: 2, ntp: 1 }, packets: 3, octets: 4 };
    bundle.add_sender_report(&sent, &reports::description(7, "somebody"));
    bundle.add_reports(7, [8, 9].into_iter().map(reception));
    bundle.add_nack(7, 8, &[3, 5, 600]);
    bundle.add_picture_loss(7, 9);
    let mut ear = Ear::default();
    bundle.drain(|packet| {
        // Another one's parser finds nothing wrong with it.
        let all: Vec<_> = rtcp_types::Compound::parse(packet).expect("a compound packet").collect();
        assert!(all.iter().all(Result::is_ok) && all.len() == 5, "{all:?}");
        reports::hear(packet, &mut ear);
    });
    let expected = ["time of 7", "report about 8", "report about 9", "[3, 5, 600] of 8", "picture of 9"]
        .map(String::from);
    assert_eq!(ear.0, expected);
}

#[test]
fn estimates_of_receivers_are_read() {
    // About one source: exponent 2, mantissa 0x37505.
    let mut packet =
        [0x8f, 206, 0, 5, 1, 2, 3, 4, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x0b, 0x75, 0x05, 5, 6, 7, 8];
    let heard = |packet: &[u8]| {
        let mut ear = Ear::default();
        reports::hear(packet, &mut ear);
        ear.0
    };
    let expected = format!("{} gets through", Bitrate::from_bps(0x3_7505 << 2));
    assert_eq!(heard(&packet), [expected]);
    packet[17] = 0xff;
    assert_eq!(
        heard(&packet),
        [format!("{} gets through", Bitrate::from_bps(u64::MAX))],
        "more than there is"
    );
    packet[12] = b'X';
    assert_eq!(heard(&packet), [""; 0]);
}

#[test]
fn a_bundle_is_as_many_datagrams_as_it_takes() {
    let mut bundle = Bundle::default();
    bundle.add_reports(1, (0..200).map(reception));
    let mut packets = Vec::new();
    bundle.drain(|packet| packets.push(packet.to_vec()));
    assert!(packets.len() > 3 && packets.iter().all(|packet| packet.len() <= 1200));
    let mut ear = Ear::default();
    packets.iter().for_each(|packet| reports::hear(packet, &mut ear));
    assert_eq!(ear.0.len(), 200);
}

proptest! {
    #[test]
    fn nothing_that_is_heard_panics(
        kind in 192..224_u8,
        count in 0..32_u8,
        body in prop::collection::vec(any::<u8>(), 0..120),
        length in any::<u16>(),
    ) {
        let words = (body.len() / 4) as u16;
        for length in [words, length % 40] {
            let [high, low] = length.to_be_bytes();
            let packet = [&[0x80 | count, kind, high, low][..], &body].concat();
            reports::hear(&packet, &mut Ear::default());
        }
    }

    #[test]
    fn requests_for_packets_name_all_of_them(numbers in prop::collection::btree_set(any::<u16>(), 1..60)) {
        let nack = numbers.iter().fold(Nack::builder(), |nack, number| nack.add_rtp_sequence(*number));
        let feedback = TransportFeedback::builder(&nack).sender_ssrc(1).media_ssrc(2);
        let mut packet = vec![0; feedback.calculate_size().expect("small")];
        feedback.write_into_unchecked(&mut packet);
        let mut ear = Ear::default();
        reports::hear(&packet, &mut ear);
        prop_assert_eq!(&ear.0[0], &format!("{:?} of 2", numbers.into_iter().collect::<Vec<_>>()));
    }
}
