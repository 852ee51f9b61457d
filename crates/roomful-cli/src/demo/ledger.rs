//! Who wrote what: the ledger of a published track, and the check of a received one against it.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use roomful::{Codec, file::MediaFrame};
use tokio::time::Instant;

/// The frames that were written to a track, the newest of them with their bytes.
#[derive(Debug)]
pub(super) struct Ledger {
    codec: Codec,
    entries: VecDeque<Entry>,
    /// Number of the oldest entry: how many there were before it.
    first: u64,
    sent: u64,
}

/// One frame that was written.
#[derive(Debug)]
struct Entry {
    /// Its media time, in the units in which it travels.
    ticks: u64,
    data: Bytes,
    written_at: Instant,
}

impl Ledger {
    /// Begins the ledger of a track.
    pub(super) const fn new(codec: Codec) -> Self {
        Self { codec, entries: VecDeque::new(), first: 0, sent: 0 }
    }

    /// Notes a frame that is about to be written. Forgets those too old to be still on their way.
    ///
    /// * `is_paused`: whether nobody takes the track, so that the frame does not count as sent.
    pub(super) fn append(&mut self, frame: &MediaFrame, is_paused: bool, now: Instant) {
        while self.entries.front().is_some_and(|entry| now.saturating_duration_since(entry.written_at) > KEPT)
        {
            self.entries.pop_front();
            self.first += 1;
        }
        let ticks = self.codec.ticks(frame.media_time);
        self.entries.push_back(Entry { ticks, data: frame.data.clone(), written_at: now });
        self.sent += u64::from(!is_paused);
    }

    /// Returns how many frames were written while somebody took the track.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns the number that the next frame will have.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Finds the newest frame with these bytes. Loops repeat them, and what is received was written a moment ago.
    fn find_newest(&self, data: &Bytes) -> Option<u64> {
        let index = self.entries.iter().rposition(|entry| entry.data == *data)?;
        Some(self.first + index as u64)
    }

    fn find_at(&self, ticks: u64) -> Option<u64> {
        let index = self.entries.binary_search_by_key(&ticks, |entry| entry.ticks).ok()?;
        Some(self.first + index as u64)
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

/// What one subscription received of a track, compared with what was written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Check {
    /// Frames received.
    pub(super) received: u64,
    /// Of these, those that are byte for byte what was written at their media time.
    pub(super) identical: u64,
    /// Frames written between the first and the last received that did not arrive.
    pub(super) missing: u64,
    /// From media time as received, which counts from the first frame, to media time as written; in ticks.
    offset: Option<u64>,
    /// Number of the frame that should come next.
    next: u64,
}

impl Check {
    /// Compares a frame; returns when it was written, if it was.
    pub(super) fn take(&mut self, ledger: &Ledger, media_time: Duration, data: &Bytes) -> Option<Instant> {
        self.received += 1;
        let ticks = ledger.codec.ticks(media_time);
        let number = match self.offset {
            Some(offset) => ledger.find_at(ticks.wrapping_add(offset))?,
            None => {
                let number = ledger.find_newest(data)?;
                self.offset = Some(ledger.entry(number)?.ticks.wrapping_sub(ticks));
                self.next = number;
                number
            }
        };
        let entry = ledger.entry(number)?;
        // One that comes again, or too late, was counted in its turn.
        if number < self.next {
            return None;
        }
        self.identical += u64::from(entry.data == *data);
        self.missing += number - self.next;
        self.next = number + 1;
        Some(entry.written_at)
    }

    /// Returns whether everything that was written has been received.
    pub(super) fn is_complete(&self, ledger: &Ledger) -> bool {
        self.next == ledger.end()
    }
}

/// Far longer than a frame is on its way, and three loops of the fixtures.
const KEPT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_nanos(33_333_333);

    fn data(index: u64) -> Bytes {
        Bytes::from((index % 10).to_le_bytes().to_vec())
    }

    /// A loop of ten frames, played over and over.
    fn ledger(frames: u64, start: Instant) -> Ledger {
        let mut ledger = Ledger::new(Codec::Vp8);
        for index in 0..frames {
            let media_time = Duration::from_nanos(index * 1_000_000_000 / 30);
            let frame = MediaFrame {
                data: data(index),
                media_time,
                duration: STEP,
                is_keyframe: false,
                audio_level: None,
            };
            ledger.append(&frame, index < 5, start + media_time);
        }
        ledger
    }

    /// Takes frames `first..` as a receiver has them: media time from the first.
    fn receive(check: &mut Check, ledger: &Ledger, first: u64, frames: &[u64]) {
        for index in frames {
            let codec = Codec::Vp8;
            let media_time = codec.time((index - first) * 3000);
            check.take(ledger, media_time, &data(*index));
        }
    }

    #[test]
    fn what_was_written_is_recognized_in_the_newest_loop() {
        let mut ledger = ledger(34, Instant::now());
        let mut check = Check::default();
        receive(&mut check, &ledger, 33, &[33]);
        assert_eq!((check.received, check.identical, check.missing), (1, 1, 0));
        assert!(check.is_complete(&ledger));
        let media_time = Duration::from_nanos(34 * 1_000_000_000 / 30);
        let frame =
            MediaFrame { data: data(34), media_time, duration: STEP, is_keyframe: false, audio_level: None };
        ledger.append(&frame, false, Instant::now());
        assert!(!check.is_complete(&ledger));
        receive(&mut check, &ledger, 33, &[34]);
        assert_eq!((check.received, check.identical, check.missing), (2, 2, 0));
        assert_eq!(ledger.sent(), 30);
    }

    #[test]
    fn gaps_count_as_missing_and_other_bytes_as_not_identical() {
        let ledger = ledger(12, Instant::now());
        let mut check = Check::default();
        receive(&mut check, &ledger, 10, &[10]);
        let mut check_other = check;
        receive(&mut check, &ledger, 10, &[11]);
        assert_eq!((check.received, check.identical, check.missing), (2, 2, 0));
        check_other.take(&ledger, Codec::Vp8.time(3000), &data(5));
        assert_eq!((check_other.received, check_other.identical, check_other.missing), (2, 1, 0));

        let ledger = super::tests::ledger(20, Instant::now());
        let mut check = Check::default();
        check.take(&ledger, Duration::ZERO, &data(10));
        check.take(&ledger, Codec::Vp8.time(3000 * 4), &data(14));
        assert_eq!((check.received, check.identical, check.missing), (2, 2, 3));
        check.take(&ledger, Codec::Vp8.time(3000 * 4), &data(14));
        assert_eq!((check.received, check.identical, check.missing), (3, 2, 3), "nothing counts twice");
        check.take(&ledger, Duration::from_secs(3600), &data(15));
        assert_eq!((check.received, check.identical), (4, 2), "never written");
    }

    #[test]
    fn a_frame_that_was_never_written_is_not_identical() {
        let ledger = ledger(5, Instant::now());
        let mut check = Check::default();
        assert_eq!(check.take(&ledger, Duration::ZERO, &Bytes::from_static(b"other")), None);
        assert_eq!((check.received, check.identical, check.missing), (1, 0, 0));
        check.take(&ledger, Codec::Vp8.time(3000), &data(3));
        assert_eq!((check.received, check.identical, check.missing), (2, 1, 0));
    }

    #[test]
    fn it_stays_bounded_and_numbers_go_on() {
        let ledger = ledger(3000, Instant::now());
        assert!(ledger.entries.len() <= 902, "{}", ledger.entries.len());
        assert_eq!((ledger.end(), ledger.sent()), (3000, 2995));
        let mut check = Check::default();
        receive(&mut check, &ledger, 2990, &(2990..3000).collect::<Vec<_>>());
        assert_eq!((check.identical, check.missing), (10, 0));
        assert!(check.is_complete(&ledger));
    }
}
