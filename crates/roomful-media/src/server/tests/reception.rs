//! What a client hears of how its packets arrive (RFC 3550 §6.4.1), and what becomes of them when another source follows.

use super::*;

/// Packets of one source of a section, by hand.
struct Source {
    receiver: Receiver,
    start: Instant,
    mid: Mid,
    ssrc: u32,
}

impl Source {
    fn new(kind: MediaKind) -> Self {
        let (start, section) = (Instant::now(), mid("s"));
        let mut receiver = Receiver::new(start);
        receiver.add_section(section, kind, Some((1, Some(2))));
        Self { receiver, start, mid: section, ssrc: 1 }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    /// A packet of 20 ms of sound comes, so many milliseconds late.
    fn comes(&mut self, index: u64, late: u64) {
        let mut header = header(self.ssrc, index as u16);
        header.timestamp = 960 * index as u32;
        header.extensions.mid = Some(self.mid);
        let now = self.at(20 * index + late);
        self.receiver.place(&header, index, b"sound", false, now).expect("new");
    }

    fn report(&mut self, millis: u64) -> Vec<Reception> {
        let now = self.at(millis);
        self.receiver.take_reports(now).collect()
    }
}

const PLAIN: Reception =
    Reception { ssrc: 1, fraction_lost: 0, lost: 0, highest: 0, jitter: 0, sender_report: (0, 0) };

#[test]
fn losses_are_counted_by_interval_and_in_all() {
    let mut source = Source::new(MediaKind::Audio);
    assert_eq!(source.report(0), [], "nothing came");
    [10, 11, 13, 12, 14, 16].into_iter().for_each(|index| source.comes(index, 0));
    // One of seven, in 256ths.
    let first = Reception { fraction_lost: 36, lost: 1, highest: 16, ..PLAIN };
    assert_eq!(source.report(400), [first]);
    assert_eq!(source.report(410), [], "nothing came since");
    [17, 18, 19].into_iter().for_each(|index| source.comes(index, 0));
    assert_eq!(source.report(500), [Reception { lost: 1, highest: 19, ..PLAIN }]);
    // What comes late after all makes up for it.
    [20, 15, 21].into_iter().for_each(|index| source.comes(index, 0));
    let receptions = source.report(600);
    assert_eq!((receptions[0].fraction_lost, receptions[0].lost, receptions[0].highest), (0, 0, 21));
}

#[test]
fn numbers_wrap_and_go_on_counting() {
    let mut source = Source::new(MediaKind::Audio);
    [65_534, 65_535, 65_536, 65_538].into_iter().for_each(|index| source.comes(index, 0));
    assert_eq!(source.report(0), [Reception { fraction_lost: 51, lost: 1, highest: 65_538, ..PLAIN }]);
}

#[test]
fn jitter_is_that_of_the_appendix() {
    let mut source = Source::new(MediaKind::Audio);
    [(1, 0), (2, 0), (3, 5)].into_iter().for_each(|(index, late)| source.comes(index, late));
    // 5 ms are 240 ticks, of which a sixteenth counts (appendix A.8).
    assert_eq!(source.report(0)[0].jitter, 15);
    source.comes(4, 0);
    assert_eq!(source.report(0)[0].jitter, 29, "15 and a sixteenth of 240 - 15");
}

#[test]
fn a_report_is_answered_with_its_time_and_how_long_ago_it_came() {
    let mut source = Source::new(MediaKind::Audio);
    source.comes(1, 0);
    let now = source.at(1000);
    source.receiver.on_sender_report(1, SenderTime { rtp: 960, ntp: 0x1122_3344_5566_7788 }, now);
    assert_eq!(source.report(2500)[0].sender_report, (0x3344_5566, 3 << 15));
    // Whoever has no clock says so with a zero, which is the time of nothing.
    source.comes(2, 0);
    let now = source.at(3000);
    source.receiver.on_sender_report(1, SenderTime { rtp: 1920, ntp: 0 }, now);
    assert_eq!(source.report(3500)[0].sender_report, (0x3344_5566, 5 << 15));
}

#[test]
fn repairs_are_no_receptions_and_another_source_counts_anew() {
    let mut source = Source::new(MediaKind::Video);
    [100, 101, 103].into_iter().for_each(|index| source.comes(index, 0));
    let now = source.at(2100);
    source.receiver.place(&header(2, 1), 1, &[0, 102, 7], true, now).expect("a repair");
    let receptions = source.report(2200);
    assert_eq!((receptions[0].lost, receptions[0].highest), (1, 103));
    source.ssrc = 9;
    [4000, 4001].into_iter().for_each(|index| source.comes(index, 0));
    let receptions = source.report(90_000);
    assert_eq!((receptions[0].ssrc, receptions[0].lost, receptions[0].highest), (9, 0, 4001));
}

#[test]
fn a_late_repair_of_a_source_that_was_replaced_repairs_nothing_of_the_next() {
    let mut source = Source::new(MediaKind::Video);
    source.comes(500, 0);
    let now = source.at(10_000);
    let repair = |source: &mut Source, ssrc, number: u8| {
        let mut header = header(ssrc, u16::from(number));
        header.extensions.mid = Some(source.mid);
        let payload = [1, number, 7];
        let placed = source.receiver.place(&header, number.into(), &payload, true, now);
        placed.map(|placed| placed.sequence)
    };
    assert_eq!(repair(&mut source, 2, 0xef), Some(0x1ef), "495 is missing");
    // The next one counts where the one before did; its own 496 is missing too.
    source.ssrc = 9;
    source.comes(500, 0);
    assert_eq!(repair(&mut source, 2, 0xf0), None, "that of the source before");
    assert_eq!(repair(&mut source, 10, 0xf0), Some(500 + 1024 - 4));
}
