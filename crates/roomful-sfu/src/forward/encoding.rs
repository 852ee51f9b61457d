//! One encoding of a source: the packets that came of it of late, kept once for all who take it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use roomful_types::Bitrate;

use super::{SourcePacket, keyframe::KeyframeRequests};

/// The packets of one encoding. Each has a place in the order of arrival, by which subscribers know how far they have read.
#[derive(Debug, Default)]
pub(super) struct Encoding {
    pub(super) keyframe: KeyframeRequests,
    /// The earliest number accepted; timestamps wrap after hours, numbers do not.
    pub(super) first_sequence: Option<u64>,
    /// In the order of arrival.
    packets: VecDeque<Kept>,
    /// The place of the first of them.
    first: u64,
    /// Up to which place everybody was served, and up to which it is known how to pad.
    settled: u64,
    evened: u64,
    /// The place of the latest packet with which a subscriber may begin.
    latest_start: Option<u64>,
    /// The lower bits of the place of each number's packet, by the lower bits of the number; empty until anybody asks for one.
    places: Vec<u16>,
    /// Bytes that are kept.
    size: usize,
    /// Bytes that came since the last report, each within a moment of what came before, and these moments together.
    bytes: u64,
    flowed: Duration,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) packet: SourcePacket,
    /// Whether a subscriber may begin here.
    pub(super) is_start: bool,
    /// By how many bytes it is to be padded, to be as long as those beside it.
    pub(super) padding: u8,
    pub(super) arrived: Instant,
}

/// How long a packet may be asked for again. A round trip of a bad network and the patience of its receiver; whoever wants more has
/// asked for a key frame by then.
const HISTORY_TIME: Duration = Duration::from_secs(1);

/// After a longer time without a packet it was paused, and what it takes is told of when it has come for so long together.
const FLOWING: Duration = Duration::from_secs(1);
const FLOWED_MIN: Duration = Duration::from_millis(500);

/// Bytes and packets kept of one encoding: a second at 8 Mbit/s.
const HISTORY_BYTES: usize = 1 << 20;
pub(super) const HISTORY_PACKETS: usize = 1 << 10;

/// Packets that are shorter than the longest beside them by up to this much are padded (RFC 3550 §5.1).
const PADDING_MAX: usize = 2;

/// Packets before a start that may belong behind it: a key frame's first packet may come after its others, repaired or reordered. Two
/// key frames of 720p, chosen; no data yet.
const OVERTAKERS: u64 = 128;

impl Encoding {
    /// Takes a packet in, and lets go of what is too old; what that was in goes to the `spare` buffers.
    pub(super) fn push(&mut self, packet: SourcePacket, is_start: bool, now: Instant, spare: &mut Spare) {
        let place = self.end();
        if let Some(entry) = slot_of(&mut self.places, packet.sequence) {
            *entry = place as u16;
        }
        if is_start {
            self.keyframe.satisfy();
            self.latest_start = Some(place);
        }
        self.size += packet.payload.len();
        let latest = self.packets.back().map(|kept| now.saturating_duration_since(kept.arrived));
        match latest.filter(|gap| *gap < FLOWING) {
            Some(gap) => {
                self.bytes += packet.payload.len() as u64;
                self.flowed += gap;
            }
            // Moments that are far apart say how fast each of them was sent.
            None if self.flowed < FLOWED_MIN => (self.bytes, self.flowed) = (0, Duration::ZERO),
            None => {}
        }
        self.packets.push_back(Kept { packet, is_start, padding: 0, arrived: now });
        let is_old = |kept: &Kept| now.saturating_duration_since(kept.arrived) > HISTORY_TIME;
        while self.size > HISTORY_BYTES
            || self.packets.len() > HISTORY_PACKETS
            || self.packets.front().is_some_and(is_old)
        {
            self.pop(spare);
        }
    }

    /// Everybody has been served.
    pub(super) fn settle(&mut self) {
        self.settled = self.end();
    }

    /// Finds out how to pad what came since the last call. Encoders split a frame into nearly equal parts, and equal ones leave at once.
    pub(super) fn even_out(&mut self) {
        let mut begin = (self.evened.max(self.first) - self.first) as usize;
        self.evened = self.end();
        while begin < self.packets.len() {
            let (count, longest) = self.alike_from(begin);
            for kept in self.packets.range_mut(begin..begin + count) {
                kept.padding = (longest - kept.packet.payload.len()) as u8;
            }
            begin += count;
        }
    }

    /// Returns how many packets in a row can have one size, their extensions included, and the size of the longest.
    fn alike_from(&self, begin: usize) -> (usize, usize) {
        let (mut count, mut shortest, mut longest, mut shape) = (0, usize::MAX, 0, None);
        for Kept { packet, .. } in self.packets.range(begin..) {
            let length = packet.payload.len();
            let (least, most) = (shortest.min(length), longest.max(length));
            let is_alike = *shape.get_or_insert(packet.extensions.shape()) == packet.extensions.shape();
            if most - least > PADDING_MAX || !is_alike {
                break;
            }
            (count, shortest, longest) = (count + 1, least, most);
        }
        (count, longest)
    }

    /// Forgets every packet: nobody shall get any of them.
    pub(super) fn clear(&mut self, spare: &mut Spare) {
        while self.pop(spare) {}
        self.settle();
    }

    /// Returns the place behind the last packet.
    pub(super) fn end(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    /// Returns the place of the first packet that is left.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// Returns up to which place everybody was served.
    pub(super) fn settled(&self) -> u64 {
        self.settled.max(self.first)
    }

    /// Returns the place of the latest packet with which a subscriber may begin, if it is left.
    pub(super) fn latest_start(&self) -> Option<u64> {
        self.latest_start.filter(|place| *place >= self.first)
    }

    /// Returns the packet at a place.
    pub(super) fn at(&self, place: u64) -> Option<&Kept> {
        self.packets.get(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    /// Returns the packets from a place on.
    pub(super) fn from(&self, place: u64) -> impl Iterator<Item = (u64, &Kept)> {
        let skipped = usize::try_from(place.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let rest = self.packets.range(skipped.min(self.packets.len())..);
        (place.max(self.first)..).zip(rest)
    }

    /// Returns the packets that follow the one at this place but came before it, with their places.
    pub(super) fn overtakers_of(&self, place: u64) -> impl Iterator<Item = (u64, &Kept)> {
        let sequence = self.at(place).map_or(u64::MAX, |kept| kept.packet.sequence);
        let earlier = self.from(place.saturating_sub(OVERTAKERS)).take_while(move |(one, _)| *one < place);
        earlier.filter(move |(_, kept)| kept.packet.sequence > sequence)
    }

    /// Returns the place of the packet with a number, if it is left.
    pub(super) fn find(&self, sequence: u64) -> Option<u64> {
        let low = *self.places.get(index_of(sequence))?;
        let place = self.first + u64::from(low.wrapping_sub(self.first as u16));
        self.at(place).filter(|kept| kept.packet.sequence == sequence).map(|_| place)
    }

    /// Keeps from now on in mind which packet is where, so that it can be asked for again.
    pub(super) fn index(&mut self) {
        if self.places.is_empty() {
            self.places.resize(HISTORY_PACKETS, 0);
            for (place, kept) in (self.first..).zip(&self.packets) {
                if let Some(entry) = slot_of(&mut self.places, kept.packet.sequence) {
                    *entry = place as u16;
                }
            }
        }
    }

    /// Returns what it takes while it comes, as seen since the last answer; none until it has come for long enough to tell.
    pub(super) fn take_rate(&mut self) -> Option<Bitrate> {
        if self.flowed < FLOWED_MIN {
            return None;
        }
        let (bytes, flowed) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.flowed));
        Some(Bitrate::of(bytes, flowed))
    }

    /// Panics when more is kept than may be.
    pub(super) fn check_invariants(&self) {
        assert!(self.packets.len() <= HISTORY_PACKETS && self.size <= HISTORY_BYTES, "history is bounded");
        assert_eq!(self.size, self.packets.iter().map(|kept| kept.packet.payload.len()).sum::<usize>());
        assert!(self.settled <= self.end());
    }

    fn pop(&mut self, spare: &mut Spare) -> bool {
        let Some(Kept { packet, .. }) = self.packets.pop_front() else { return false };
        self.first += 1;
        self.size -= packet.payload.len();
        spare.give(packet.payload);
        true
    }
}

/// Buffers that are used again and again: nothing is allocated while as much goes as comes.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<Vec<u8>>);

/// Buffers that wait for their next use; what is beyond is given back to the system.
const SPARE_MAX: usize = 1 << 12;

/// A buffer that grew beyond a datagram's size is not kept: the history counts what is in a buffer, not how long it is.
const SPARE_SIZE_MAX: usize = 2048;

impl Spare {
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < SPARE_MAX && buffer.capacity() <= SPARE_SIZE_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

const fn index_of(sequence: u64) -> usize {
    sequence as usize % HISTORY_PACKETS
}

fn slot_of(places: &mut [u16], sequence: u64) -> Option<&mut u16> {
    places.get_mut(index_of(sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u64, size: usize) -> SourcePacket {
        SourcePacket {
            codec: roomful_types::Codec::Vp8,
            sequence,
            timestamp: 0,
            marker: false,
            payload: vec![0; size],
            captured: None,
            extensions: roomful_types::PassedExtensions::default(),
        }
    }

    #[test]
    fn packets_are_found_by_number_while_they_are_left_whatever_order_they_came_in() {
        let (mut encoding, mut spare, start) = (Encoding::default(), Spare::default(), Instant::now());
        encoding.push(packet(9, 10), true, start, &mut spare);
        encoding.index();
        for sequence in [10, 12, 13, 11, 100_000] {
            encoding.push(packet(sequence, 10), false, start, &mut spare);
        }
        let found = |encoding: &Encoding, sequence| {
            encoding.find(sequence).and_then(|place| encoding.at(place)).map(|kept| kept.packet.sequence)
        };
        for sequence in [9, 10, 11, 12, 13, 100_000] {
            assert_eq!(found(&encoding, sequence), Some(sequence));
        }
        for sequence in [8, 14, 9 + 1024, 100_000 - 1024] {
            assert_eq!(found(&encoding, sequence), None);
        }
        encoding.push(packet(14, 10), false, start + HISTORY_TIME * 2, &mut spare);
        assert_eq!((found(&encoding, 13), found(&encoding, 14)), (None, Some(14)));
        assert_eq!(spare.0.len(), 6);
    }

    #[test]
    fn the_parts_of_a_frame_are_of_one_size_though_some_are_a_byte_longer() {
        let (mut encoding, mut spare, now) = (Encoding::default(), Spare::default(), Instant::now());
        let mut paddings = |lengths: &[usize]| -> Vec<u8> {
            let place = encoding.end();
            for (sequence, length) in (place..).zip(lengths) {
                encoding.push(packet(sequence, *length), false, now, &mut spare);
            }
            encoding.even_out();
            encoding.from(place).map(|(_, kept)| kept.padding).collect()
        };
        assert_eq!(paddings(&[1000, 1000, 1001, 1002, 400, 1002, 998]), [2, 2, 1, 0, 0, 0, 0]);
        assert_eq!(paddings(&[]), [0; 0]);
        assert_eq!(paddings(&[5, 4]), [0, 1], "what came before is on its way already");
    }

    #[test]
    fn what_comes_now_and_then_is_not_taken_for_cheap() {
        let (mut encoding, mut spare, start) = (Encoding::default(), Spare::default(), Instant::now());
        let (mut told, mut sequence) = (Vec::new(), 0);
        // It comes for 600 ms of every three seconds, 100 packets a second of 1,000 bytes.
        for millis in (0..9000).step_by(10) {
            if millis % 3000 < 600 {
                encoding.push(
                    packet(sequence, 1000),
                    false,
                    start + Duration::from_millis(millis),
                    &mut spare,
                );
                sequence += 1;
            }
            if millis % 1000 == 990 {
                told.extend(encoding.take_rate());
            }
        }
        assert_eq!(told, [Bitrate::from_kbps(800); 3]);
    }

    #[test]
    fn a_picture_now_and_then_tells_nothing() {
        let (mut encoding, mut spare, start) = (Encoding::default(), Spare::default(), Instant::now());
        for sequence in 0..2000 {
            // Twenty packets in 20 ms, every 1.1 s.
            let at = Duration::from_millis(sequence / 20 * 1100 + sequence % 20);
            encoding.push(packet(sequence, 1000), false, start + at, &mut spare);
            assert_eq!(encoding.take_rate(), None);
        }
    }

    #[test]
    fn history_is_bounded_in_packets_and_in_bytes() {
        let now = Instant::now();
        for (size, most) in [(10, HISTORY_PACKETS), (4096, HISTORY_BYTES / 4096)] {
            let (mut encoding, mut spare) = (Encoding::default(), Spare::default());
            for sequence in 0..5000 {
                encoding.push(packet(sequence, size), false, now, &mut spare);
                encoding.check_invariants();
            }
            assert_eq!(encoding.packets.len(), most);
            assert_eq!(encoding.end(), 5000);
        }
    }
}
