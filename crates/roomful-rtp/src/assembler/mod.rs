//! Puts packets back in order and makes whole, decodable frames of them.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use roomful_types::{AudioLevel, Codec, MediaKind};

use crate::{
    depacketize::FrameBytes,
    keyframe::surely_starts_keyframe,
    limits::{FIRST_WAIT, MAX_BUFFERED_PACKETS, MIN_WAIT},
};

#[cfg(test)]
mod tests;

/// Makes the frames of one incoming track from its packets.
///
/// After each [`push`](Self::push), and at [`deadline`](Self::deadline), call [`poll`](Self::poll) until it returns
/// `None`.
///
/// Frames come out in sequence order, each complete. Packets may come in any order; late and repeated ones are ignored.
/// A gap stays open for a while, because packets are repaired. Then audio goes on behind it. Video drops everything up
/// to the next complete key frame and asks for one, as what follows a gap cannot be decoded; it also begins with one.
/// A malformed payload counts as a gap.
///
/// A packet costs the copy of its payload and constant time. Nothing grows beyond
/// [`max_packets`](AssemblerConfig::max_packets).
#[derive(Debug)]
pub struct FrameAssembler {
    codec: Codec,
    config: AssemblerConfig,
    /// Sequence number of the first of `slots`; everything before it was taken or given up. `None`: no packet yet.
    next: Option<u64>,
    /// Packets that came ahead of a gap, and the gaps. Empty, or a gap first.
    slots: VecDeque<Slot>,
    open: Option<OpenFrame>,
    bytes: FrameBytes,
    /// The packet `next` is known to begin a frame.
    at_boundary: bool,
    /// The last packet of a frame is marked, as far as was seen. Not every sender does that.
    has_markers: bool,
    chain: Chain,
    packets_lost: u64,
    ready: VecDeque<AssembledFrame>,
}

impl FrameAssembler {
    /// Makes an assembler. Without [`start_at`](Self::start_at), the stream begins with the first packet that comes.
    #[must_use]
    pub fn new(codec: Codec, config: AssemblerConfig) -> Self {
        let max_packets = config.max_packets.clamp(1, MAX_BUFFERED_PACKETS);
        let max_wait = config.max_wait.max(MIN_WAIT);
        Self {
            codec,
            config: AssemblerConfig { max_wait, max_packets },
            next: None,
            slots: VecDeque::new(),
            open: None,
            bytes: FrameBytes::new(codec),
            at_boundary: false,
            has_markers: false,
            chain: Chain::at_start(codec),
            packets_lost: 0,
            ready: VecDeque::new(),
        }
    }

    /// Begins the stream anew, with the packet of this sequence number as the first of a frame.
    ///
    /// Everything from before is forgotten; earlier packets that still come are dropped, and this one is waited for.
    pub fn start_at(&mut self, sequence: u64) {
        *self = Self { next: Some(sequence), at_boundary: true, ..Self::new(self.codec, self.config) };
    }

    /// Takes one packet.
    pub fn push(&mut self, packet: Packet, now: Instant) {
        let next = *self.next.get_or_insert(packet.sequence);
        if packet.sequence < next {
            return;
        }
        self.make_room(packet.sequence, now);
        let offset = self.offset_of(packet.sequence);
        if offset == 0 && self.slots.is_empty() {
            self.next = Some(packet.sequence.saturating_add(1));
            return self.take(&packet, now);
        }
        let starts_keyframe = surely_starts_keyframe(self.codec, &packet.payload);
        while self.slots.len() <= offset {
            self.slots.push_back(Slot::Missing { since: now });
        }
        if let slot @ Slot::Missing { .. } = &mut self.slots[offset] {
            *slot = Slot::Here(packet);
        }
        self.take_front(now);
        if starts_keyframe {
            self.skip_to_keyframe(now);
        }
    }

    /// Returns the next event that is due.
    #[must_use = "a frame that is not taken is gone"]
    pub fn poll(&mut self, now: Instant) -> Option<AssemblerEvent> {
        while self.gap_ends().is_some_and(|end| end <= now) {
            self.give_up(now);
        }
        if let Some(frame) = self.ready.pop_front() {
            return Some(AssemblerEvent::Frame(frame));
        }
        if let Chain::Broken { request_at } = &mut self.chain
            && request_at.is_some_and(|at| at <= now)
        {
            *request_at = now.checked_add(self.config.max_wait);
            return Some(AssemblerEvent::KeyframeNeeded);
        }
        None
    }

    /// Returns when [`poll`](Self::poll) has something to do although no packet comes: an open gap is given up, or a
    /// key frame is asked for again. Holds once `poll` has returned `None`.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let request_at = match self.chain {
            Chain::Broken { request_at } => request_at,
            Chain::Whole | Chain::Unstarted => None,
        };
        self.gap_ends().into_iter().chain(request_at).min()
    }

    /// Makes the sequence number fit: gives up old gaps, or everything if the number is far off.
    fn make_room(&mut self, sequence: u64, now: Instant) {
        let max = self.config.max_packets;
        if self.offset_of(sequence) < max {
            return;
        }
        let jump = self.offset_of(sequence) - self.slots.len();
        if jump >= max {
            self.lose(self.slots.len(), now);
            self.packets_lost = self.packets_lost.saturating_add(jump as u64);
            self.next = Some(sequence);
        }
        // Ends: without slots, the distance is the jump.
        while self.offset_of(sequence) >= max {
            self.give_up(now);
        }
    }

    /// Gives up the gap in front and takes what follows it.
    fn give_up(&mut self, now: Instant) {
        let missing = self.slots.iter().take_while(|slot| matches!(slot, Slot::Missing { .. })).count();
        self.lose(missing, now);
        self.take_front(now);
        self.skip_to_keyframe(now);
    }

    /// With the stream broken, goes on at the first key frame that has begun to come: gaps before it are not worth
    /// waiting for, unless they are in a key frame themselves.
    fn skip_to_keyframe(&mut self, now: Instant) {
        let is_broken = matches!(self.chain, Chain::Broken { .. });
        if !is_broken || self.open.as_ref().is_some_and(|open| !open.is_broken) && self.bytes.is_keyframe() {
            return;
        }
        let starts_keyframe = |slot: &Slot| match slot {
            Slot::Here(packet) => surely_starts_keyframe(self.codec, &packet.payload),
            Slot::Missing { .. } => false,
        };
        if let Some(before) = self.slots.iter().position(starts_keyframe) {
            self.lose(before, now);
            self.take_front(now);
        }
    }

    /// Drops the first `count` slots and the frame that they cut.
    fn lose(&mut self, count: usize, now: Instant) {
        let missing = self.slots.drain(..count).filter(|slot| matches!(slot, Slot::Missing { .. })).count();
        self.packets_lost = self.packets_lost.saturating_add(missing as u64);
        self.next = self.next.map(|next| next.saturating_add(count as u64));
        self.drop_open();
        self.at_boundary = false;
        self.chain.cut(self.codec, now);
    }

    /// Drops what has come of the frame at hand.
    fn drop_open(&mut self) {
        self.open = None;
        self.bytes.clear();
        self.at_boundary = true;
    }

    /// Takes the packets in front of the first gap.
    fn take_front(&mut self, now: Instant) {
        while let Some(Slot::Here(packet)) = self.slots.pop_front_if(|slot| matches!(slot, Slot::Here(_))) {
            self.next = Some(packet.sequence.saturating_add(1));
            self.take(&packet, now);
        }
    }

    /// Takes the next packet in sequence.
    fn take(&mut self, packet: &Packet, now: Instant) {
        // Packets with padding only probe for bandwidth; they belong to no frame, whatever timestamp they have.
        if packet.payload.is_empty() {
            return;
        }
        if self.open.as_ref().is_some_and(|open| open.timestamp != packet.timestamp) {
            if self.has_markers && surely_starts_keyframe(self.codec, &packet.payload) {
                // A server that goes over to another encoding cuts off the frame that was under way.
                self.drop_open();
            } else {
                // The next timestamp ends a frame as well.
                self.finish(now);
            }
        }
        let (codec, at_boundary) = (self.codec, self.at_boundary);
        let open = self.open.get_or_insert_with(|| OpenFrame {
            timestamp: packet.timestamp,
            first_sequence: packet.sequence,
            last_sequence: packet.sequence,
            audio_level: packet.audio_level,
            is_broken: !at_boundary && !surely_starts_keyframe(codec, &packet.payload),
        });
        self.at_boundary = false;
        open.last_sequence = packet.sequence;
        // An Opus frame is one packet; its marker means the start of a talk spurt (RFC 7587 §4.1).
        let is_last = packet.marker || codec.kind() == MediaKind::Audio;
        self.has_markers |= packet.marker;
        open.is_broken = open.is_broken || self.bytes.push(&packet.payload, is_last).is_err();
        if is_last {
            self.finish(now);
        }
    }

    /// Ends the open frame: delivers it, or drops it if it is broken or cannot be decoded.
    fn finish(&mut self, now: Instant) {
        let Some(open) = self.open.take() else { return };
        self.at_boundary = true;
        let is_keyframe = self.bytes.is_keyframe();
        let is_decodable = is_keyframe || matches!(self.chain, Chain::Whole);
        // A caller that does not poll gets no more frames: a missing frame breaks the chain like a gap.
        let is_wanted = !open.is_broken && is_decodable && self.ready.len() < self.config.max_packets;
        match self.bytes.finish() {
            Ok(data) if is_wanted => {
                self.chain = Chain::Whole;
                self.ready.push_back(AssembledFrame {
                    data,
                    timestamp: open.timestamp,
                    is_keyframe,
                    packets_lost: std::mem::take(&mut self.packets_lost),
                    first_sequence: open.first_sequence,
                    last_sequence: open.last_sequence,
                    audio_level: open.audio_level,
                });
            }
            Ok(_) | Err(_) => self.chain.cut(self.codec, now),
        }
    }

    /// Returns when the gap in front is given up.
    fn gap_ends(&self) -> Option<Instant> {
        match self.slots.front()? {
            Slot::Missing { since } => since.checked_add(self.wait()),
            Slot::Here(_) => None,
        }
    }

    /// Returns how long the gap in front is waited for.
    fn wait(&self) -> Duration {
        let is_first = matches!(self.chain, Chain::Unstarted) && self.open.is_none();
        if is_first { self.config.max_wait.min(FIRST_WAIT) } else { self.config.max_wait }
    }

    /// Returns where in `slots` a sequence number belongs, which is not before the first.
    fn offset_of(&self, sequence: u64) -> usize {
        let offset = sequence - self.next.unwrap_or(sequence);
        usize::try_from(offset).unwrap_or(usize::MAX)
    }
}

/// How long and how much an assembler waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssemblerConfig {
    /// How long a gap may stay open, from the first packet behind it. Longer repairs more and freezes longer.
    ///
    /// Default for video: 1 s, three rounds of NACK on a path of 300 ms; after that a new key frame comes sooner than
    /// a repair. For audio: 100 ms, one round on most paths; more delay harms a conversation more than a concealed
    /// gap does. At least [`MIN_WAIT`]; less counts as that.
    pub max_wait: Duration,
    /// Most sequence numbers held behind a gap, and most frames held for [`FrameAssembler::poll`];
    /// 1 ..= [`MAX_BUFFERED_PACKETS`], other values count as the nearest. Memory grows with it.
    ///
    /// Default for video: 2048, one second at 20 Mbit/s. For audio: 64, more than a second of 20 ms frames.
    pub max_packets: usize,
}

impl AssemblerConfig {
    /// Returns the defaults for a codec.
    #[must_use]
    pub const fn for_codec(codec: Codec) -> Self {
        match codec.kind() {
            MediaKind::Audio => Self { max_wait: Duration::from_millis(100), max_packets: 64 },
            MediaKind::Video => Self { max_wait: Duration::from_secs(1), max_packets: 2048 },
        }
    }
}

/// One RTP packet, decrypted and parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Extended sequence number. A retransmitted packet has that of the original.
    pub sequence: u64,
    /// Extended RTP timestamp.
    pub timestamp: u64,
    /// Marker bit.
    pub marker: bool,
    /// Payload without padding; empty if the packet is only padding.
    pub payload: Arc<[u8]>,
    /// Loudness, from the header extension.
    pub audio_level: Option<AudioLevel>,
}

/// What an assembler has for the layer above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssemblerEvent {
    /// The next frame.
    Frame(AssembledFrame),
    /// Video cannot go on without a key frame: ask the sender for one (PLI). Comes again every
    /// [`max_wait`](AssemblerConfig::max_wait) until there is one.
    KeyframeNeeded,
}

/// A complete encoded frame that can be decoded after those delivered before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembledFrame {
    /// The encoded frame; H.264 in Annex-B form with 4-byte start codes.
    pub data: Vec<u8>,
    /// Extended RTP timestamp.
    pub timestamp: u64,
    /// Whether it can be decoded on its own.
    pub is_keyframe: bool,
    /// Packets that never came, or too late, since the last frame delivered.
    pub packets_lost: u64,
    /// Sequence number of its first packet.
    pub first_sequence: u64,
    /// Sequence number of its last packet.
    pub last_sequence: u64,
    /// Loudness that its first packet said.
    pub audio_level: Option<AudioLevel>,
}

/// Place of one sequence number.
#[derive(Debug)]
enum Slot {
    /// A later packet came, first at this time.
    Missing {
        since: Instant,
    },
    Here(Packet),
}

/// The frame that is being put together.
#[derive(Debug)]
struct OpenFrame {
    timestamp: u64,
    first_sequence: u64,
    last_sequence: u64,
    audio_level: Option<AudioLevel>,
    /// Its beginning is missing or one of its payloads is malformed.
    is_broken: bool,
}

/// Whether the next frame can be decoded even if it is no key frame.
#[derive(Debug, Clone, Copy)]
enum Chain {
    /// Yes: every frame before was delivered, back to a key frame.
    Whole,
    /// No: nothing was delivered or dropped yet.
    Unstarted,
    /// No: something was dropped. A key frame is asked for at this time; `None` is never.
    Broken { request_at: Option<Instant> },
}

impl Chain {
    const fn at_start(codec: Codec) -> Self {
        match codec.kind() {
            MediaKind::Audio => Self::Whole,
            MediaKind::Video => Self::Unstarted,
        }
    }

    fn cut(&mut self, codec: Codec, now: Instant) {
        if codec.kind() == MediaKind::Video && !matches!(self, Self::Broken { .. }) {
            *self = Self::Broken { request_at: Some(now) };
        }
    }
}
