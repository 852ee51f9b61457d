//! A server's peer: RTP packets through, over one ICE-lite and DTLS association with a client. The client always offers.

mod arrivals;
mod clock;
mod header;
mod missing;
mod ntp;
mod receiver;
mod reports;
mod sender;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use roomful_srtp::{Opener, Sealer};
use roomful_types::{AudioLevel, Codec, MediaKind, Mid, Rid};
use rtcp_types::ReportBlock;
use str0m::{
    Candidate, Event, Input, Rtc,
    change::SdpOffer,
    format::Codec as RtcCodec,
    net::{Protocol, Receive},
};

use crate::{
    candidates::Datagram,
    dtls::{ServerCertificate, WithheldKeys, build_withholding},
    rtc::{self, MediaError, Transmit},
    sdp,
    stun::{is_nominating, is_success},
};
use arrivals::Arrivals;
use clock::PublisherClock;
use header::{ExtensionIds, Header};
use receiver::{Receiver, SenderTime};
use reports::Bundle;
use sender::Sender;

/// One client's media at the server. str0m does ICE, DTLS and session descriptions; RTP and RTCP are ours.
#[derive(Debug)]
pub struct ServerPeer {
    rtc: Rtc,
    keys: WithheldKeys,
    secured: Option<Secured>,
    /// The pair of addresses that ICE nominated: ours, the client's.
    path: Option<(SocketAddr, SocketAddr)>,
    /// Who nominates the pair at this moment.
    nominating: Option<SocketAddr>,
    ids: ExtensionIds,
    /// What each payload type that comes is, and which are repairs.
    codecs: BTreeMap<u8, Codec>,
    repairs: BTreeSet<u8>,
    receiver: Receiver,
    sender: Sender,
    arrivals: Arrivals,
    clock: PublisherClock,
    /// Sources that owe a key frame, asked for in this turn.
    picture_losses: Vec<u32>,
    feedback_at: Option<Instant>,
    report_at: Instant,
    measure_at: Instant,
    /// What the wall clock said at the beginning.
    wall: SystemTime,
    start: Instant,
    outputs: VecDeque<Output>,
    /// Packets that str0m would have sent under keys of its own.
    dropped: u64,
    now: Instant,
}

/// Both directions, once keys are agreed.
#[derive(Debug)]
struct Secured {
    sealer: Sealer,
    opener: Opener,
}

/// An RTP packet as it came from the client.
#[derive(Debug, Clone)]
pub struct ReceivedPacket {
    /// Extended sequence number.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// RTP payload.
    pub payload: Arc<[u8]>,
    /// When it was captured: on the publisher's clock moved by one distance for all its media, which may be a little in the future.
    /// None until the publisher has reported.
    pub captured: Option<Instant>,
    /// How loud it is, if it says so.
    pub audio_level: Option<AudioLevel>,
}

/// An RTP packet for the client.
#[derive(Debug, Clone)]
pub struct SentPacket {
    /// The section that carries it.
    pub mid: Mid,
    /// How it is encoded.
    pub codec: Codec,
    /// The packet, with the sequence number and timestamp of the section.
    pub packet: ReceivedPacket,
}

/// What a peer does.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Send this datagram.
    Transmit(Transmit),
    /// A packet of an encoding arrived on this section.
    Packet(Mid, Rid, ReceivedPacket),
    /// The client lost its picture on this section.
    KeyframeRequest(Mid),
    /// How a section does, once a second.
    Measured(Measure),
    /// Nothing more; call [`ServerPeer::handle_timeout`] at this time at the latest.
    Wait(Instant),
}

/// How one section does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measure {
    /// The section.
    pub mid: Mid,
    /// Whether the client sends on it.
    pub is_inbound: bool,
    /// Packets sent on it so far, retransmissions included; for what the client sends, those that came.
    pub packets: u64,
    /// The highest sequence number that its receiver reported, extended; for what the client sends, the packets that came.
    pub progress: u64,
    /// Share of packets lost since the last report, before repair, 0 ..= 1.
    pub fraction_lost: f32,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Round trip, when known.
    pub round_trip_time: Option<Duration>,
}

/// How often it is told how sections do.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// How often the client hears what of its packets arrived, for its bandwidth estimation.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(50);

/// How often the client hears how its media does (RFC 3550 §6.2).
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// str0m has nothing to report: it sees no packet.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Most media sections of one offer: twice the slots, and as many again for sending. Every poll of a peer walks over them.
const SECTIONS_MAX: usize = 256;

impl ServerPeer {
    /// Makes a peer that clients reach at these addresses.
    ///
    /// * `wall`: what the wall clock says now, for the times in reports.
    #[must_use]
    pub fn new(
        certificate: &ServerCertificate,
        addresses: &[SocketAddr],
        now: Instant,
        wall: SystemTime,
    ) -> Self {
        let config = rtc::config()
            .set_ice_lite(true)
            .set_dtls_cert(certificate.0.clone())
            .set_rtcp_report_interval_audio(NEVER)
            .set_rtcp_report_interval_video(NEVER);
        let (mut rtc, keys) = build_withholding(config, now);
        for address in addresses {
            if let Ok(candidate) = Candidate::host(*address, Protocol::Udp) {
                rtc.add_local_candidate(candidate);
            }
        }
        Self {
            rtc,
            keys,
            secured: None,
            path: None,
            nominating: None,
            ids: ExtensionIds::default(),
            codecs: BTreeMap::new(),
            repairs: BTreeSet::new(),
            receiver: Receiver::new(now),
            sender: Sender::default(),
            arrivals: Arrivals::new(now),
            clock: PublisherClock::default(),
            picture_losses: Vec::new(),
            feedback_at: None,
            report_at: now + REPORT_INTERVAL,
            measure_at: now + MEASURE_INTERVAL,
            wall,
            start: now,
            outputs: VecDeque::new(),
            dropped: 0,
            now,
        }
    }

    /// Answers an offer. Both sections of each pair get one msid stream id.
    ///
    /// # Errors
    /// [`MediaError::BadDescription`] when it cannot be followed; the sections are as before then, the association may have ended.
    pub fn accept_offer(&mut self, sdp: &str, pairs: &[(Mid, Mid)]) -> Result<String, MediaError> {
        if sdp.matches("\nm=").count() > SECTIONS_MAX {
            return Err(MediaError::BadDescription);
        }
        let offer = SdpOffer::from_sdp_string(sdp).map_err(|_| MediaError::BadDescription)?;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(|_| MediaError::BadDescription)?;
        let answer = answer.to_sdp_string();
        answer
            .lines()
            .filter_map(|line| Mid::new(line.strip_prefix("a=mid:")?).ok())
            .for_each(|mid| self.learn(mid));
        if let Some(secured) = &mut self.secured {
            self.sender.bind(&mut secured.sealer);
        }
        Ok(sdp::pair_streams(&answer, pairs))
    }

    /// Notes what was negotiated for a section: numbers, names and sources are those of the answer.
    #[expect(clippy::wildcard_enum_match_arm, reason = "str0m knows more codecs than we offer")]
    fn learn(&mut self, mid: Mid) {
        let Some(media) = self.rtc.media(rtc::mid_to(mid)) else { return };
        self.ids.learn(media.remote_extmap());
        let kind = if media.kind().is_audio() { MediaKind::Audio } else { MediaKind::Video };
        let (cname, negotiated) = (media.cname().to_owned(), media.remote_pts().to_vec());
        let mut payload_types = BTreeMap::new();
        for params in self.rtc.codec_config().params() {
            let codec = match params.spec().codec {
                RtcCodec::Opus => Codec::Opus,
                RtcCodec::Vp8 => Codec::Vp8,
                RtcCodec::H264 => Codec::H264,
                // None of the others is offered.
                _ => continue,
            };
            if !negotiated.contains(&params.pt()) {
                continue;
            }
            let (main, repair) = (*params.pt(), params.resend().map(|repair| *repair));
            self.codecs.insert(main, codec);
            self.repairs.extend(repair);
            payload_types.entry(codec).or_insert((main, repair));
        }
        let mut api = self.rtc.direct_api();
        let sent = api.stream_tx_by_mid(rtc::mid_to(mid), None);
        if let Some((main, repair)) = sent.map(|stream| (*stream.ssrc(), stream.rtx().map(|ssrc| *ssrc))) {
            self.sender.add_section(mid, kind, (main, repair), &cname, payload_types);
            return;
        }
        let received = api.stream_rx_by_mid(rtc::mid_to(mid), None);
        let declared = received.map(|stream| (*stream.ssrc(), stream.rtx().map(|ssrc| *ssrc)));
        self.receiver.add_section(mid, kind, declared);
    }

    /// Returns the ICE user name fragment by which the client's first packets are known; may change with every offer.
    #[must_use]
    pub fn local_ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Returns whether a datagram is for this peer: from its nominated address, or with its ICE credentials.
    #[must_use]
    pub fn accepts(&self, datagram: Datagram<'_>) -> bool {
        let Datagram { source, destination, bytes } = datagram;
        let receive = Receive::new(Protocol::Udp, source, destination, bytes);
        receive.is_ok_and(|receive| self.rtc.accepts(&Input::Receive(self.now, receive)))
    }

    /// Returns whether media can flow: a path is found and its keys are agreed.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.secured.is_some() && self.path.is_some() && self.rtc.is_connected()
    }

    /// Takes in a datagram, from an address that ICE has checked if it is media. Drain [`poll_output`](Self::poll_output) before the
    /// next: a second packet would replace the first.
    pub fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        self.now = self.now.max(now);
        match datagram.bytes {
            // RFC 7983 §7, and RFC 5761 §4 for RTCP.
            [128..=191, 192..=223, ..] => self.on_rtcp(datagram),
            [128..=191, ..] => self.on_rtp(datagram),
            bytes => {
                self.nominating = is_nominating(bytes).then_some(datagram.source);
                rtc::receive(&mut self.rtc, datagram, self.now);
            }
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        rtc::handle(&mut self.rtc, Input::Timeout(self.now));
        self.report();
    }

    /// Sends packets to the client, in this order.
    pub fn send(&mut self, packets: impl IntoIterator<Item = SentPacket>, now: Instant) {
        self.now = self.now.max(now);
        let (true, Some(path)) = (self.is_connected(), self.path) else { return };
        let Some(Secured { sealer, .. }) = &mut self.secured else { return };
        for packet in packets {
            let datagram = self.sender.send(packet, &self.ids, sealer, self.now);
            self.outputs.extend(datagram.map(|bytes| Output::Transmit(transmit(path, bytes))));
        }
    }

    /// Asks the client for a key frame of an encoding on a section.
    pub fn request_keyframe(&mut self, mid: Mid, rid: Rid) {
        self.picture_losses.extend(self.receiver.ssrc(mid, rid));
    }

    /// Drops what was sent on a section: none of it is sent again, whoever asks.
    pub fn forget_history(&mut self, mid: Mid) {
        self.sender.forget_history(mid);
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            match self.rtc.poll_output() {
                // RTP and RTCP of str0m's would be under keys of its own.
                Ok(str0m::Output::Transmit(transmit))
                    if matches!(transmit.contents.first(), Some(128..=191)) =>
                {
                    self.dropped += 1;
                }
                Ok(str0m::Output::Transmit(transmit)) => {
                    if self.nominating == Some(transmit.destination) && is_success(&transmit.contents) {
                        self.path = Some((transmit.source, transmit.destination));
                    }
                    return Output::Transmit(transmit.into());
                }
                Ok(str0m::Output::Event(event)) => self.on_event(&event),
                Ok(str0m::Output::Timeout(until)) => return Output::Wait(self.deadline(until)),
                Err(error) => {
                    tracing::debug!(%error, "peer failed");
                    self.rtc.disconnect();
                }
            }
        }
    }

    fn on_event(&mut self, event: &Event) {
        if matches!(event, Event::Connected)
            && let Some(keys) = self.keys.take()
        {
            let mut sealer = Sealer::new(&keys.local);
            self.sender.bind(&mut sealer);
            self.secured = Some(Secured { sealer, opener: Opener::new(&keys.remote) });
        }
    }

    /// Returns when to come back: for str0m, or for reports of ours.
    fn deadline(&self, until: Instant) -> Instant {
        if !self.is_connected() {
            return until;
        }
        let ours = [self.feedback_at, self.receiver.deadline(), self.sender.deadline()];
        ours.into_iter().flatten().chain([self.report_at, self.measure_at]).fold(until, Instant::min)
    }

    fn on_rtp(&mut self, datagram: Datagram<'_>) {
        let Some(Secured { opener, .. }) = &mut self.secured else { return };
        let mut bytes = datagram.bytes.to_vec();
        let Ok(opened) = opener.open_rtp(&mut bytes) else { return };
        let Some((header, payload)) = Header::read(&bytes[..opened.length], opened.header, &self.ids) else {
            return;
        };
        if let Some(number) = header.extensions.transport_sequence {
            self.arrivals.note(number, self.now);
            self.feedback_at.get_or_insert(self.now + FEEDBACK_INTERVAL);
        }
        let is_repair = self.repairs.contains(&header.payload_type);
        if !is_repair && !self.codecs.contains_key(&header.payload_type) {
            return;
        }
        let placed = self.receiver.place(&header, opened.index, &bytes[payload], is_repair, self.now);
        let Some(placed) = placed else { return };
        let captured = placed.report.and_then(|report| report.captured(header.timestamp, placed.clock_rate));
        let captured = captured.and_then(|captured| self.clock.map(captured, self.now));
        let packet = ReceivedPacket {
            sequence: placed.sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            payload: placed.payload.into(),
            captured,
            audio_level: header.extensions.audio_level,
        };
        self.outputs.push_back(Output::Packet(placed.mid, placed.rid, packet));
    }

    fn on_rtcp(&mut self, datagram: Datagram<'_>) {
        let Some(Secured { opener, .. }) = &mut self.secured else { return };
        let mut bytes = datagram.bytes.to_vec();
        let Ok(length) = opener.open_rtcp(&mut bytes) else { return };
        reports::hear(&bytes[..length], self);
    }

    /// Sends whatever reports and requests are due.
    fn report(&mut self) {
        let (now, wall) = (self.now, self.wall + self.now.saturating_duration_since(self.start));
        if !self.is_connected() {
            return;
        }
        let (own, mut bundle) = (self.sender.own_ssrc(), Bundle::default());
        for (report, ssrc, cname) in self.sender.take_reports(now, wall) {
            bundle.add_sender_report(&report, ssrc, &cname);
        }
        if self.report_at <= now {
            self.report_at = now + REPORT_INTERVAL;
            bundle.add_reports(own, self.receiver.take_reports(now));
        }
        for (ssrc, numbers) in self.receiver.take_missing(now) {
            bundle.add_nack(own, ssrc, &numbers);
        }
        for ssrc in std::mem::take(&mut self.picture_losses) {
            bundle.add_picture_loss(own, ssrc);
        }
        if self.feedback_at.is_some_and(|at| at <= now) {
            self.feedback_at = None;
            while let Some(report) = self.arrivals.report() {
                bundle.add_arrivals(own, 0, &report);
            }
        }
        if let (Some(path), Some(Secured { sealer, .. })) = (self.path, &mut self.secured) {
            for mut packet in bundle.finish() {
                let length = packet.len();
                packet.resize(length + RTCP_OVERHEAD, 0);
                if let Ok(end) = sealer.seal_rtcp(&mut packet, length) {
                    packet.truncate(end);
                    self.outputs.push_back(Output::Transmit(transmit(path, packet)));
                }
            }
        }
        if self.measure_at <= now {
            self.measure_at = now + MEASURE_INTERVAL;
            let measures = self.receiver.measure().into_iter().chain(self.sender.measure());
            self.outputs.extend(measures.map(Output::Measured));
        }
    }
}

impl reports::Listener for ServerPeer {
    fn on_sender_time(&mut self, ssrc: u32, time: SenderTime) {
        self.receiver.on_sender_report(ssrc, time, self.now);
    }

    fn on_report(&mut self, block: &ReportBlock<'_>) {
        let wall = self.wall + self.now.saturating_duration_since(self.start);
        self.sender.on_report(block, ntp::from_system_time(wall));
    }

    fn on_nack(&mut self, ssrc: u32, numbers: &mut dyn Iterator<Item = u16>) {
        let (Some(path), Some(Secured { sealer, .. })) = (self.path, &mut self.secured) else { return };
        let repairs = self.sender.repair(ssrc, numbers, &self.ids, sealer, self.now);
        self.outputs.extend(repairs.into_iter().map(|bytes| Output::Transmit(transmit(path, bytes))));
    }

    fn on_picture_loss(&mut self, ssrc: u32) {
        self.outputs.extend(self.sender.section(ssrc).map(Output::KeyframeRequest));
    }
}

const fn transmit((source, destination): (SocketAddr, SocketAddr), bytes: Vec<u8>) -> Transmit {
    Transmit { source, destination, bytes }
}

/// The most that sealing adds to an RTCP packet.
const RTCP_OVERHEAD: usize = 20;
