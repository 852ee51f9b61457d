//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104): what comes taken apart, what goes put together.

use rtcp_types::{
    Fir, Nack, PayloadFeedback, Pli, ReceiverReport, ReportBlock, Sdes, SdesChunk, SdesItem, SenderReport,
    TransportFeedback, Twcc, prelude::*,
};

use roomful_types::Bitrate;

use super::receiver::SenderTime;

/// What a client says by RTCP, one thing after another.
pub(super) trait Listener {
    /// A source reports its time.
    fn on_sender_time(&mut self, ssrc: u32, time: SenderTime);

    /// A receiver reports about one of our sources.
    fn on_report(&mut self, block: &ReportBlock<'_>);

    /// Packets of one of our sources are asked for again.
    fn on_nack(&mut self, ssrc: u32, numbers: &mut dyn Iterator<Item = u16>);

    /// Packets of the whole transport arrived, or did not.
    fn on_arrivals(&mut self, report: &Twcc<'_>);

    /// So much gets through to the receiver, it says.
    fn on_bandwidth(&mut self, available: Bitrate);

    /// The picture of one of our sources is lost.
    fn on_picture_loss(&mut self, ssrc: u32);
}

/// Reports about the whole transport that one datagram may have: each is up to a thousand steps of work, in a few bytes.
const ARRIVALS_MAX: usize = 4;

/// Sources that one request for full pictures may name.
const FIR_MAX: usize = 16;

/// Takes a packet apart that SRTCP opened. What is damaged or unknown in it is passed over. A good-bye changes nothing: browsers send
/// it for encodings that they only pause.
pub(super) fn hear(bytes: &[u8], listener: &mut impl Listener) {
    let mut arrivals = 0;
    for packet in packets(bytes) {
        match packet[1] {
            SenderReport::PACKET_TYPE => {
                let Ok(report) = SenderReport::parse(packet) else { continue };
                let time = SenderTime { rtp: report.rtp_timestamp(), ntp: report.ntp_timestamp() };
                listener.on_sender_time(report.ssrc(), time);
                report.report_blocks().for_each(|block| listener.on_report(&block));
            }
            ReceiverReport::PACKET_TYPE => {
                let Ok(report) = ReceiverReport::parse(packet) else { continue };
                report.report_blocks().for_each(|block| listener.on_report(&block));
            }
            TransportFeedback::PACKET_TYPE => {
                let Ok(feedback) = TransportFeedback::parse(packet) else { continue };
                if let Ok(nack) = feedback.parse_fci::<Nack<'_>>() {
                    listener.on_nack(feedback.media_ssrc(), &mut nack.entries());
                } else if arrivals < ARRIVALS_MAX
                    && let Ok(report) = feedback.parse_fci::<Twcc<'_>>()
                {
                    arrivals += 1;
                    listener.on_arrivals(&report);
                }
            }
            PayloadFeedback::PACKET_TYPE => {
                let Ok(feedback) = PayloadFeedback::parse(packet) else { continue };
                if feedback.parse_fci::<Pli<'_>>().is_ok() {
                    listener.on_picture_loss(feedback.media_ssrc());
                } else if let Ok(fir) = feedback.parse_fci::<Fir<'_>>() {
                    fir.entries().take(FIR_MAX).for_each(|entry| listener.on_picture_loss(entry.ssrc()));
                } else if let Some(available) = read_remb(packet) {
                    listener.on_bandwidth(available);
                }
            }
            _ => {}
        }
    }
}

/// Reads what a receiver estimates to get through (draft-alvestrand-rmcat-remb-03 §2.2): application layer feedback with this name.
fn read_remb(packet: &[u8]) -> Option<Bitrate> {
    const FORMAT: u8 = 15;
    let [flags, _, _, _, _, _, _, _, _, _, _, _, b'R', b'E', b'M', b'B', _, b0, b1, b2] =
        *packet.first_chunk()?
    else {
        return None;
    };
    let (exponent, mantissa) = (b0 >> 2, u64::from(b0 & 3) << 16 | u64::from(b1) << 8 | u64::from(b2));
    let rate = u128::from(mantissa) << exponent;
    (flags & 0x1f == FORMAT).then(|| Bitrate::from_bps(u64::try_from(rate).unwrap_or(u64::MAX)))
}

/// Returns the packets of a compound one (RFC 3550 §6.1), up to the first that is not whole.
fn packets(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let [_, _, high, low] = *bytes.first_chunk()?;
        let length = 4 * (1 + usize::from(u16::from_be_bytes([high, low])));
        let (packet, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        Some(packet)
    })
}

/// Writes who a source is, as it is said with every report (RFC 3550 §6.5).
pub(super) fn description(ssrc: u32, cname: &str) -> Vec<u8> {
    let item = SdesItem::builder(SdesItem::CNAME, cname);
    let description = Sdes::builder().add_chunk(SdesChunk::builder(ssrc).add_item(item));
    let mut bytes = vec![0; description.calculate_size().unwrap_or_default()];
    description.write_into_unchecked(&mut bytes);
    bytes
}

/// What a source has sent, and when (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) ssrc: u32,
    pub(super) time: SenderTime,
    pub(super) packets: u32,
    pub(super) octets: u32,
}

/// How a source of the client arrives (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reception {
    pub(super) ssrc: u32,
    /// Share of packets lost since the last report, in 256ths.
    pub(super) fraction_lost: u8,
    /// Packets lost so far, of 24 bits.
    pub(super) lost: u32,
    /// The highest sequence number, extended.
    pub(super) highest: u32,
    /// In units of the source's clock.
    pub(super) jitter: u32,
    /// The middle of the time of the last sender report, and how long ago it came, in 65536ths of a second; zeros before the first.
    pub(super) sender_report: (u32, u32),
}

const RECEPTION: usize = 24;

impl Reception {
    fn write(&self, bytes: &mut Vec<u8>) {
        let loss = u32::from(self.fraction_lost) << 24 | self.lost & 0x00ff_ffff;
        let (last, delay) = self.sender_report;
        for word in [self.ssrc, loss, self.highest, self.jitter, last, delay] {
            bytes.extend(word.to_be_bytes());
        }
    }
}

/// Puts packets together until a datagram is full, then begins the next one. Used again and again.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    bytes: Vec<u8>,
    /// Where each datagram but the last ends.
    ends: Vec<usize>,
    /// What stands first in a datagram that does not begin with a report: an empty one, and who makes it.
    opening: Vec<u8>,
}

/// What fits into a datagram on any path, tag and index taken off.
const DATAGRAM: usize = 1150;

/// Reports about others that fit into one packet (RFC 3550 §6.4.2).
const BLOCKS: usize = 31;

impl Bundle {
    /// Says for whom everything speaks that is not a report of a source of ours. Every datagram begins with a report, as it must unless both
    /// sides agreed on less (RFC 3550 §6.1, RFC 5506 §5), and names its maker.
    pub(super) fn speak_for(&mut self, own: u32, cname: &str) {
        self.opening.clear();
        self.opening.extend([0x80, ReceiverReport::PACKET_TYPE, 0, 1]);
        self.opening.extend(own.to_be_bytes());
        self.opening.extend(description(own, cname));
    }

    /// Adds a report of our own, and who makes it.
    pub(super) fn add_sender_report(&mut self, sent: &Sent, description: &[u8]) {
        const WORDS: u8 = 6;
        self.make_room(4 + 4 * usize::from(WORDS) + description.len(), true);
        self.bytes.extend([0x80, SenderReport::PACKET_TYPE, 0, WORDS]);
        self.bytes.extend(sent.ssrc.to_be_bytes());
        self.bytes.extend(sent.time.ntp.to_be_bytes());
        for word in [sent.time.rtp, sent.packets, sent.octets] {
            self.bytes.extend(word.to_be_bytes());
        }
        self.bytes.extend_from_slice(description);
    }

    /// Adds reports about others.
    pub(super) fn add_reports(&mut self, own: u32, blocks: impl Iterator<Item = Reception>) {
        let mut blocks = blocks.peekable();
        while blocks.peek().is_some() {
            self.add_with(8 + BLOCKS * RECEPTION, |bytes| {
                let start = bytes.len();
                bytes.extend([0x80, ReceiverReport::PACKET_TYPE, 0, 0]);
                bytes.extend(own.to_be_bytes());
                let mut count = 0;
                for block in blocks.by_ref().take(BLOCKS) {
                    block.write(bytes);
                    count += 1;
                }
                bytes[start] |= count;
                bytes[start + 3] = 1 + count * (RECEPTION / 4) as u8;
            });
        }
    }

    /// Adds a request for packets of a source.
    pub(super) fn add_nack(&mut self, own: u32, ssrc: u32, numbers: &[u16]) {
        let nack = numbers.iter().fold(Nack::builder(), |nack, number| nack.add_rtp_sequence(*number));
        self.add(&TransportFeedback::builder(&nack).sender_ssrc(own).media_ssrc(ssrc));
    }

    /// Adds a request for a key frame of a source.
    pub(super) fn add_picture_loss(&mut self, own: u32, ssrc: u32) {
        self.add(&PayloadFeedback::builder(&Pli::builder()).sender_ssrc(own).media_ssrc(ssrc));
    }

    /// Adds what `write` puts behind what is there.
    ///
    /// * `most`: how long it is at most.
    pub(super) fn add_with(&mut self, most: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.make_room(most, false);
        write(&mut self.bytes);
    }

    /// Takes the datagrams out, not sealed yet.
    pub(super) fn drain(&mut self, mut each: impl FnMut(&[u8])) {
        let mut start = 0;
        for end in self.ends.drain(..).chain([self.bytes.len()]) {
            if end > start {
                each(&self.bytes[start..end]);
            }
            start = end;
        }
        self.bytes.clear();
    }

    fn add(&mut self, packet: &dyn RtcpPacketWriter) {
        let Ok(size) = packet.calculate_size() else { return };
        self.make_room(size, false);
        let start = self.bytes.len();
        self.bytes.resize(start + size, 0);
        packet.write_into_unchecked(&mut self.bytes[start..]);
    }

    /// Begins the next datagram when so much does not fit into this one, and opens it for what is no report of a source of ours.
    fn make_room(&mut self, size: usize, is_report: bool) {
        let start = self.ends.last().copied().unwrap_or_default();
        let length = self.bytes.len() - start;
        if length > 0 && length + size > DATAGRAM {
            self.ends.push(self.bytes.len());
        } else if length > 0 {
            return;
        }
        if !is_report {
            self.bytes.extend_from_slice(&self.opening);
        }
    }
}
