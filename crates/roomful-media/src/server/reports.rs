//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104): what comes taken apart, what goes put together.

use rtcp_types::{
    Compound, Fir, Nack, Packet, PayloadFeedback, Pli, ReceiverReport, ReportBlock, ReportBlockBuilder, Sdes,
    SdesChunk, SdesItem, SenderReportBuilder, TransportFeedback, TwccBuilder, prelude::*,
};

use super::receiver::SenderTime;

/// What a client says by RTCP, one thing after another.
pub(super) trait Listener {
    /// A source reports its time.
    fn on_sender_time(&mut self, ssrc: u32, time: SenderTime);

    /// A receiver reports about one of our sources.
    fn on_report(&mut self, block: &ReportBlock<'_>);

    /// Packets of one of our sources are asked for again.
    fn on_nack(&mut self, ssrc: u32, numbers: &mut dyn Iterator<Item = u16>);

    /// The picture of one of our sources is lost.
    fn on_picture_loss(&mut self, ssrc: u32);
}

/// Sources that one request for full pictures may name.
const FIR_MAX: usize = 16;

/// Takes a packet apart that SRTCP opened. What is damaged or unknown in it is passed over. A good-bye changes nothing: browsers send
/// it for encodings that they only pause.
pub(super) fn hear(bytes: &[u8], listener: &mut impl Listener) {
    let Ok(compound) = Compound::parse(bytes) else { return };
    for packet in compound.flatten() {
        match packet {
            Packet::Sr(report) => {
                let time = SenderTime { rtp: report.rtp_timestamp(), ntp: report.ntp_timestamp() };
                listener.on_sender_time(report.ssrc(), time);
                report.report_blocks().for_each(|block| listener.on_report(&block));
            }
            Packet::Rr(report) => report.report_blocks().for_each(|block| listener.on_report(&block)),
            Packet::TransportFeedback(feedback) => {
                if let Ok(nack) = feedback.parse_fci::<Nack<'_>>() {
                    listener.on_nack(feedback.media_ssrc(), &mut nack.entries());
                }
            }
            Packet::PayloadFeedback(feedback) => {
                if feedback.parse_fci::<Pli<'_>>().is_ok() {
                    listener.on_picture_loss(feedback.media_ssrc());
                } else if let Ok(fir) = feedback.parse_fci::<Fir<'_>>() {
                    fir.entries().take(FIR_MAX).for_each(|entry| listener.on_picture_loss(entry.ssrc()));
                }
            }
            Packet::App(_) | Packet::Bye(_) | Packet::Sdes(_) | Packet::Xr(_) | Packet::Unknown(_) => {}
        }
    }
}

/// Puts packets together until a datagram is full, then begins the next one.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    full: Vec<Vec<u8>>,
    open: Vec<u8>,
}

/// What fits into a datagram on any path, tag and index taken off.
const DATAGRAM: usize = 1150;

/// Reports about others that fit into one packet (RFC 3550 §6.4.2).
const BLOCKS: usize = 31;

impl Bundle {
    /// Adds a report of our own, and who makes it.
    pub(super) fn add_sender_report(&mut self, report: &SenderReportBuilder, ssrc: u32, cname: &str) {
        self.add(report);
        let item = SdesItem::builder(SdesItem::CNAME, cname);
        self.add(&Sdes::builder().add_chunk(SdesChunk::builder(ssrc).add_item(item)));
    }

    /// Adds reports about others.
    pub(super) fn add_reports(&mut self, own: u32, mut blocks: Vec<ReportBlockBuilder>) {
        while !blocks.is_empty() {
            let rest = blocks.split_off(blocks.len().min(BLOCKS));
            let report = blocks
                .into_iter()
                .fold(ReceiverReport::builder(own), |report, block| report.add_report_block(block));
            self.add(&report);
            blocks = rest;
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

    /// Adds a report about arrivals.
    pub(super) fn add_arrivals(&mut self, own: u32, ssrc: u32, report: &TwccBuilder) {
        self.add(&TransportFeedback::builder(report).sender_ssrc(own).media_ssrc(ssrc));
    }

    /// Returns the datagrams, not sealed yet.
    pub(super) fn finish(mut self) -> Vec<Vec<u8>> {
        if !self.open.is_empty() {
            self.full.push(self.open);
        }
        self.full
    }

    fn add(&mut self, packet: &dyn RtcpPacketWriter) {
        let Ok(size) = packet.calculate_size() else { return };
        if self.open.len() + size > DATAGRAM && !self.open.is_empty() {
            self.full.push(std::mem::take(&mut self.open));
        }
        let start = self.open.len();
        self.open.resize(start + size, 0);
        packet.write_into_unchecked(&mut self.open[start..]);
    }
}
