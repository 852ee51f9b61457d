//! What a client hears of what is sent to it: when, as whose, and on which section.

use rtcp_types::SenderReport;
use str0m::rtp::ExtensionMap;

use super::*;

const FRAME: Duration = Duration::from_millis(33);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Sends one packet of a video frame that was captured so long ago.
fn send(slot: &mut Slot, sequence: u64, timestamp: u32, ago: Duration) {
    let captured = slot.now.checked_sub(ago);
    let one = SentPacket { timestamp, captured, ..packet(mid("v"), sequence, b"frame") };
    slot.with(|sender, wire, now| sender.send(std::iter::once(one), wire, now));
    slot.arrive();
}

/// Lets reports be made. Returns each as source, RTP time, packets, octets, and when it is by the wall clock.
fn reports(slot: &mut Slot, wall: SystemTime) -> Vec<(u32, u32, u32, u32, u64)> {
    let (mut bundle, mut all) = (Bundle::default(), Vec::new());
    slot.sender.report(slot.now, wall, &mut bundle);
    bundle.drain(|packet| {
        let report = SenderReport::parse(&packet[..28]).expect("a sender report comes first");
        all.push((
            report.ssrc(),
            report.rtp_timestamp(),
            report.packet_count(),
            report.octet_count(),
            report.ntp_timestamp(),
        ));
    });
    all
}

#[test]
fn a_section_is_reported_at_once_regularly_and_at_every_new_beginning() {
    let (mut slot, wall) = (Slot::new(), SystemTime::UNIX_EPOCH + millis(1_000_000));
    let now = ntp::from_system_time(wall);
    assert_eq!(slot.sender.deadline(), None);
    send(&mut slot, 10, 9000, millis(30));
    assert_eq!(slot.sender.deadline(), Some(slot.now), "at once");
    // Captured 30 ms ago: by now its clock is 2700 ticks further.
    assert_eq!(reports(&mut slot, wall), [(SSRC, 11_700, 1, 5, now)]);
    assert_eq!(reports(&mut slot, wall), []);
    assert_eq!(slot.sender.deadline(), Some(slot.now + millis(500)));
    for number in 1..=15 {
        slot.now += FRAME;
        send(&mut slot, 10 + number, 9000 + 2970 * number as u32, millis(30));
        assert_eq!(reports(&mut slot, wall), [], "what it would be anyway is no news");
    }
    slot.now += FRAME;
    assert_eq!(reports(&mut slot, wall), [(SSRC, 9000 + 2970 * 16 + 2700, 16, 80, now)]);
    // Another time than it would be: at once.
    send(&mut slot, 26, 9000 + 2970 * 16 + 9000, millis(30));
    assert_eq!(reports(&mut slot, wall), [(SSRC, 9000 + 2970 * 16 + 11_700, 17, 85, now)]);
    // Nothing of one who has gone; of the next at once.
    slot.sender.leave(mid("v"));
    slot.now += millis(2000);
    assert_eq!(reports(&mut slot, wall), []);
    send(&mut slot, 27, 500_000, Duration::ZERO);
    assert_eq!(reports(&mut slot, wall), [(SSRC, 500_000, 18, 90, now)]);
    // Nothing is known of when it was captured, so nothing can be said.
    slot.sender.leave(mid("v"));
    slot.with(|sender, wire, now| sender.send(std::iter::once(packet(mid("v"), 28, b"frame")), wire, now));
    assert_eq!(reports(&mut slot, wall), []);
}

/// What a receiver says of a source, answering a report.
fn block(ssrc: u32, last: u32, held: Duration) -> Vec<u8> {
    let words = [ssrc, 64 << 24, 20, 5, last, ntp::short(held)];
    words.into_iter().flat_map(u32::to_be_bytes).collect()
}

#[test]
fn round_trips_are_those_of_reports_that_were_sent() {
    let (mut slot, wall) = (Slot::new(), SystemTime::UNIX_EPOCH + millis(1_000_000));
    send(&mut slot, 10, 9000, Duration::ZERO);
    let sent = reports(&mut slot, wall)[0].4;
    let mut hear = |ssrc, last, held| {
        let bytes = block(ssrc, last, held);
        let block = ReportBlock::parse(&bytes).expect("of its length");
        slot.sender.on_report(&block, ntp::from_system_time(wall + millis(100)));
        slot.sender.round_trip().as_millis()
    };
    let (unknown, last) = (50, ntp::middle(sent));
    assert_eq!(hear(SSRC, 0, Duration::ZERO), unknown, "it had none yet");
    assert_eq!(hear(SSRC, last + 1, Duration::ZERO), unknown, "never sent");
    assert_eq!(
        hear(SSRC, last, millis(200)),
        unknown,
        "it cannot have been held for longer than it was there"
    );
    assert_eq!(hear(SSRC + 7, last, Duration::ZERO), unknown, "of nothing of ours");
    assert_eq!(hear(SSRC, last, millis(20)), 80);
}

#[test]
fn packets_name_their_section_until_their_receiver_reports_about_them_repairs_by_themselves() {
    let mut slot = Slot::new();
    let mut ids = ExtensionIds::default();
    ids.learn(&ExtensionMap::standard());
    let names = |slot: &mut Slot, sequence: u64, is_repair: bool| {
        let Slot { sender, sealer, outgoing, opener, now } = slot;
        let path = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
        let mut wire = Wire { outgoing: outgoing.to(path), ids: &ids, send_time: 0, sealer };
        let one = packet(mid("v"), sequence, b"frame");
        match is_repair {
            true => sender.repair(one, &mut wire, *now),
            false => _ = sender.send(std::iter::once(one), &mut wire, *now),
        }
        let run = outgoing.next_run().expect("it leaves");
        let mut bytes = run.bytes.to_vec();
        let opened = opener.open_rtp(&mut bytes).expect("authentic and new");
        let (header, _) = Header::read(&bytes[..opened.length], opened.header, &ids).expect("RTP");
        header.extensions.mid
    };
    let hear = |slot: &mut Slot, ssrc| {
        let bytes = block(ssrc, 0, Duration::ZERO);
        slot.sender.on_report(&ReportBlock::parse(&bytes).expect("of its length"), 0);
    };
    hear(&mut slot, SSRC);
    hear(&mut slot, REPAIR);
    assert_eq!(names(&mut slot, 10, false), Some(mid("v")), "nobody can have heard of it before");
    assert_eq!(names(&mut slot, 10, true), Some(mid("v")));
    hear(&mut slot, SSRC);
    assert_eq!(names(&mut slot, 11, false), None);
    assert_eq!(names(&mut slot, 11, true), Some(mid("v")), "repairs are another source");
    hear(&mut slot, REPAIR);
    assert_eq!(names(&mut slot, 10, true), None);
}

#[test]
fn a_datagram_that_begins_with_a_request_begins_with_an_empty_report_and_who_makes_it() {
    let mut bundle = Bundle::default();
    bundle.speak_for(7, "somebody");
    (0..200).for_each(|number| bundle.add_picture_loss(7, number));
    let mut requests = 0;
    bundle.drain(|packet| {
        // RFC 3550 §6.1; the parser checks these rules too.
        let kinds: Vec<u8> = std::iter::successors(Some(packet), |rest| {
            let words = u16::from_be_bytes([rest[2], rest[3]]);
            rest.get(4 + 4 * usize::from(words)..).filter(|rest| !rest.is_empty())
        })
        .map(|packet| packet[1])
        .collect();
        assert_eq!(kinds[..2], [201, 202]);
        assert!(rtcp_types::Compound::parse(packet).expect("compound").all(|one| one.is_ok()));
        requests += kinds.len() - 2;
    });
    assert_eq!(requests, 200);
}
