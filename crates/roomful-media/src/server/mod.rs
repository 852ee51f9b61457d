//! A server's peer: RTP packets through, over one ICE-lite and DTLS association with a client. The client always offers.

mod arrivals;
mod clock;
mod congestion;
mod departures;
mod header;
mod missing;
mod ntp;
mod outgoing;
mod paths;
mod receiver;
mod reports;
mod sender;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    ops::Range,
    time::{Duration, Instant, SystemTime},
};

use roomful_srtp::{Opener, Sealer};
use roomful_types::{Bitrate, Codec, MediaKind, Mid, PassedExtensions, Rid};
use rtcp_types::{ReportBlock, Twcc};
use str0m::{
    Candidate, Event, IceConnectionState, Input, Rtc,
    change::SdpOffer,
    format::Codec as RtcCodec,
    net::{Protocol, Receive},
    rtp::Extension,
};

use crate::{
    candidates::Datagram,
    dtls::{Keys, ServerCertificate, WithheldKeys, build_withholding},
    rtc::{self, MediaError},
    sdp,
    stun::{is_nominating, is_success},
};
use arrivals::Arrivals;
use clock::PublisherClock;
pub use departures::Traffic;
use header::{ExtensionIds, Header};
pub use outgoing::{Datagrams, Outgoing};
use paths::Paths;
use receiver::{Receiver, SenderTime};
use reports::Bundle;
use sender::{Sender, Stamp, Wire};

/// One client's media at the server. str0m does ICE, DTLS and session descriptions; RTP and RTCP are ours.
#[derive(Debug)]
pub struct ServerPeer {
    rtc: Rtc,
    /// When str0m wants to be called again, and whether it was since it was last drained.
    rtc_deadline: Instant,
    rtc_was_called: bool,
    /// Whether media can flow, by what str0m said when it was last drained. While another path is looked for, it flows on the one
    /// there is (RFC 8445 §9).
    is_connected: bool,
    /// Whether nothing was heard on the path for so long that it counts as lost.
    is_lost: bool,
    keys: WithheldKeys,
    secured: Option<Secured>,
    paths: Paths,
    /// Who nominates the pair at this moment.
    nominating: Option<SocketAddr>,
    /// The source of ours that feedback speaks for.
    own: Option<u32>,
    /// Every section that was ever negotiated.
    mids: BTreeSet<Mid>,
    ids: ExtensionIds,
    /// What each payload type that comes is, and whether it is of repairs.
    codecs: BTreeMap<u8, (Codec, bool)>,
    receiver: Receiver,
    sender: Sender,
    arrivals: Arrivals,
    /// The source of the latest packet that was numbered over the whole transport.
    latest_ssrc: u32,
    clock: PublisherClock,
    /// Sources that owe a key frame, asked for in this turn.
    picture_losses: Vec<u32>,
    /// Empty, and used again for every report.
    bundle: Bundle,
    feedback_at: Option<Instant>,
    /// What the client says that it takes.
    asked: Option<Bitrate>,
    /// What was told last of how much gets through to it, and when something else may be.
    estimate: Option<Bitrate>,
    estimate_at: Instant,
    /// Packets that the client missed, and until when more of them count together.
    missing: usize,
    missing_until: Instant,
    report_at: Instant,
    measure_at: Instant,
    /// What the wall clock said at the beginning.
    wall: SystemTime,
    start: Instant,
    outputs: VecDeque<Output>,
    /// Packets that str0m would have sent under keys of its own.
    withheld: u64,
    now: Instant,
}

/// Both directions, once keys are agreed.
#[derive(Debug)]
struct Secured {
    sealer: Sealer,
    opener: Opener,
}

/// An RTP packet as it came from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedPacket {
    /// The section on which it came.
    pub mid: Mid,
    /// Of which encoding it is.
    pub rid: Rid,
    /// How it is encoded, by its payload type.
    pub codec: Codec,
    /// Extended sequence number.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// RTP payload.
    pub payload: Vec<u8>,
    /// When it was captured: on the publisher's clock moved by one distance for all its media, which may be a little in the future.
    /// None until the publisher has reported.
    pub captured: Option<Instant>,
    /// What else it says of itself.
    pub extensions: PassedExtensions,
}

/// An RTP packet for the client.
#[derive(Debug, Clone, Copy)]
pub struct SentPacket<'a> {
    /// The section that carries it.
    pub mid: Mid,
    /// How it is encoded.
    pub codec: Codec,
    /// Extended sequence number of the section. Begins below 2^15, and never comes twice.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// RTP payload.
    pub payload: &'a [u8],
    /// Bytes of padding behind it (RFC 3550 §5.1); a repair has none.
    pub padding: u8,
    /// When it was captured, if that is known.
    pub captured: Option<Instant>,
    /// What else it says of itself.
    pub extensions: &'a PassedExtensions,
}

/// What a peer has to say.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub enum Output {
    /// The client lost its picture on this section.
    KeyframeRequest(Mid),
    /// The client misses the packet with this number on this section.
    Missing(Mid, u16),
    /// So much gets through to the client: it says so, or it was seen. None: everything may.
    Estimated(Option<Bitrate>),
    /// How a section does, once a second.
    Measured(Measure),
}

/// How one section does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measure {
    /// The section.
    pub mid: Mid,
    /// Whether the client sends on it.
    pub is_inbound: bool,
    /// Packets sent on it so far, retransmissions excluded; for what the client sends, those that came.
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

/// Packets that a client may miss within so much time. More than are kept cannot be asked for in earnest.
const MISSING_MAX: usize = 512;
const MISSING_TIME: Duration = Duration::from_millis(10);

/// How often it is told what the client says that it gets: everything is allocated anew then.
const ESTIMATE_INTERVAL: Duration = Duration::from_millis(200);

/// How often the client hears how its media does (RFC 3550 §6.2).
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// str0m has nothing to report: it sees no packet.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Most media sections of one offer: twice the slots, and as many again for sending. Every poll of a peer walks over them.
const SECTIONS_MAX: usize = 256;

/// Most sections that a client names in its whole stay: numbers of one that is gone live on as long as the keys do. Clients use sections again.
const MIDS_MAX: usize = 2 * SECTIONS_MAX;

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
            rtc_deadline: now,
            rtc_was_called: true,
            is_connected: false,
            is_lost: false,
            keys,
            secured: None,
            paths: Paths::default(),
            nominating: None,
            own: None,
            mids: BTreeSet::new(),
            ids: ExtensionIds::default(),
            codecs: BTreeMap::new(),
            receiver: Receiver::new(now),
            sender: Sender::default(),
            arrivals: Arrivals::new(now),
            latest_ssrc: 0,
            clock: PublisherClock::default(),
            picture_losses: Vec::new(),
            bundle: Bundle::default(),
            feedback_at: None,
            asked: None,
            estimate: None,
            estimate_at: now,
            missing: 0,
            missing_until: now,
            report_at: now + REPORT_INTERVAL,
            measure_at: now + MEASURE_INTERVAL,
            wall,
            start: now,
            outputs: VecDeque::new(),
            withheld: 0,
            now,
        }
    }

    /// Answers an offer. Both sections of each pair get one msid stream id.
    ///
    /// # Errors
    /// [`MediaError::BadDescription`] when it cannot be followed; the sections are as before then, the association may have ended.
    pub fn accept_offer(&mut self, sdp: &str, pairs: &[(Mid, Mid)]) -> Result<String, MediaError> {
        let named = sdp.lines().filter_map(mid_of).filter(|mid| !self.mids.contains(mid));
        if sdp.matches("\nm=").count() > SECTIONS_MAX || self.mids.len() + named.count() > MIDS_MAX {
            return Err(MediaError::BadDescription);
        }
        let offer = SdpOffer::from_sdp_string(sdp).map_err(|_| MediaError::BadDescription)?;
        self.rtc_was_called = true;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(|_| MediaError::BadDescription)?;
        let answer = answer.to_sdp_string();
        answer.lines().filter_map(mid_of).for_each(|mid| self.learn(mid));
        if let Some(secured) = &mut self.secured {
            self.sender.bind(&mut secured.sealer);
        }
        Ok(sdp::pair_streams(&answer, pairs))
    }

    /// Notes what was negotiated for a section: numbers, names and sources are those of the answer.
    #[expect(clippy::wildcard_enum_match_arm, reason = "str0m knows more codecs than we offer")]
    fn learn(&mut self, mid: Mid) {
        self.mids.insert(mid);
        let Some(media) = self.rtc.media(rtc::mid_to(mid)) else { return };
        self.ids.learn(media.remote_extmap());
        let kind = if media.kind().is_audio() { MediaKind::Audio } else { MediaKind::Video };
        let (cname, negotiated) = (media.cname().to_owned(), media.remote_pts().to_vec());
        let mut payload_types: Vec<(Codec, u8, Option<u8>)> = Vec::new();
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
            self.codecs.insert(main, (codec, false));
            self.codecs.extend(repair.map(|repair| (repair, (codec, true))));
            if payload_types.iter().all(|(one, ..)| *one != codec) {
                payload_types.push((codec, main, repair));
            }
        }
        let has = |extension| media.remote_extmap().id_of(extension).is_some();
        let stamp = if has(Extension::TransportSequenceNumber) {
            Stamp::Number
        } else if has(Extension::AbsoluteSendTime) {
            Stamp::Time
        } else {
            Stamp::Nothing
        };
        let mut api = self.rtc.direct_api();
        let sent = api.stream_tx_by_mid(rtc::mid_to(mid), None);
        if let Some((main, repair)) = sent.map(|stream| (*stream.ssrc(), stream.rtx().map(|ssrc| *ssrc))) {
            self.speak_for(main, &cname);
            self.sender.add_section((mid, kind), (main, repair), &cname, payload_types, stamp);
            return;
        }
        let received = api.stream_rx_by_mid(rtc::mid_to(mid), None);
        let declared = received.map(|stream| (*stream.ssrc(), stream.rtx().map(|ssrc| *ssrc)));
        self.receiver.add_section(mid, kind, declared);
        self.speak_for(NOBODY, &cname);
    }

    /// Notes a source of ours, for which feedback may speak. The first that there is does so from then on.
    fn speak_for(&mut self, ssrc: u32, cname: &str) {
        if matches!(self.own, None | Some(NOBODY)) && self.own != Some(ssrc) {
            self.own = Some(ssrc);
            self.bundle.speak_for(ssrc, cname);
        }
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
    pub const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Returns how many packets of str0m's were held back: it should make none, and they would be under keys of its own.
    #[must_use]
    pub const fn packets_withheld(&self) -> u64 {
        self.withheld
    }

    /// Returns where the client's media goes, once ICE has nominated it.
    #[must_use]
    pub fn path(&self) -> Option<SocketAddr> {
        self.paths.current().map(|(_, destination)| destination)
    }

    /// Takes in a datagram, from an address that ICE has checked if it is media. Drain [`poll_output`](Self::poll_output) before the
    /// next: a second packet would replace the first.
    ///
    /// * `buffer`: what a packet is opened in, and its payload returned in. What is in it is of no use.
    ///
    /// # Errors
    /// The buffer when nothing of it is needed: the datagram was no media, or is to go nowhere.
    pub fn handle_datagram(
        &mut self,
        datagram: Datagram<'_>,
        mut buffer: Vec<u8>,
        now: Instant,
    ) -> Result<ReceivedPacket, Vec<u8>> {
        self.now = self.now.max(now);
        match datagram.bytes {
            // RFC 7983 §7, and RFC 5761 §4 for RTCP.
            [128..=191, 192..=223, ..] => {
                self.on_rtcp(datagram, &mut buffer);
                Err(buffer)
            }
            [128..=191, ..] => self.on_rtp(datagram, buffer),
            bytes => {
                self.nominating = is_nominating(bytes).then_some(datagram.source);
                self.rtc_was_called = true;
                rtc::receive(&mut self.rtc, datagram, self.now);
                Err(buffer)
            }
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant, outgoing: &mut Outgoing) {
        self.now = self.now.max(now);
        if self.rtc_deadline <= self.now {
            self.rtc_was_called = true;
            rtc::handle(&mut self.rtc, Input::Timeout(self.now));
        }
        self.report(outgoing);
    }

    /// Sends packets to the client, in this order. Nothing else is to be done for them. Returns whether the [`deadline`](Self::deadline) is
    /// another by that.
    pub fn send<'a>(
        &mut self,
        packets: impl Iterator<Item = SentPacket<'a>>,
        outgoing: &mut Outgoing,
        now: Instant,
    ) -> bool {
        self.now = self.now.max(now);
        let (now, is_connected) = (self.now, self.is_connected());
        let send_time = self.send_time();
        let Self { sender, paths, ids, secured, .. } = self;
        if let (true, Some(path), Some(Secured { sealer, .. })) = (is_connected, paths.current(), secured) {
            return sender.send(
                packets,
                &mut Wire { outgoing: outgoing.to(path), ids, send_time, sealer },
                now,
            );
        }
        false
    }

    /// Sends a packet again, as a repair, if it was sent before.
    pub fn repair(&mut self, packet: SentPacket<'_>, outgoing: &mut Outgoing) {
        let (is_connected, send_time) = (self.is_connected(), self.send_time());
        let Self { sender, paths, ids, secured, .. } = self;
        if let (true, Some(path), Some(Secured { sealer, .. })) = (is_connected, paths.current(), secured) {
            sender.repair(
                packet,
                &mut Wire { outgoing: outgoing.to(path), ids, send_time, sealer },
                self.now,
            );
        }
    }

    /// Returns what left for the client and arrived there since the last call.
    pub const fn take_traffic(&mut self) -> Traffic {
        self.sender.take_traffic()
    }

    /// Returns whether the client can take a codec on a section. What it cannot is not to be sent: its numbers would be lost.
    #[must_use]
    pub fn takes(&self, mid: Mid, codec: Codec) -> bool {
        self.sender.takes(mid, codec)
    }

    /// Returns how long a packet and its answer are under way, at least.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.sender.round_trip()
    }

    /// Asks the client for a key frame of an encoding on a section.
    pub fn request_keyframe(&mut self, mid: Mid, rid: Rid) {
        let ssrc = self.receiver.ssrc(mid, rid).filter(|ssrc| !self.picture_losses.contains(ssrc));
        self.picture_losses.extend(ssrc);
    }

    /// What occupied a section has gone. Its next occupant has a time of its own.
    pub fn leave_section(&mut self, mid: Mid) {
        self.sender.leave(mid);
    }

    /// Returns the next thing that it has to say; none at the end. Datagrams are among the outgoing ones by then.
    pub fn poll_output(&mut self, outgoing: &mut Outgoing) -> Option<Output> {
        if self.rtc_was_called {
            self.drain_rtc(outgoing);
            self.is_connected = self.secured.is_some()
                && self.paths.current().is_some()
                && self.rtc.is_alive()
                && !self.is_lost;
        }
        self.outputs.pop_front()
    }

    fn drain_rtc(&mut self, outgoing: &mut Outgoing) {
        while self.rtc_was_called {
            match self.rtc.poll_output() {
                // RTP and RTCP of str0m's would be under keys of its own.
                Ok(str0m::Output::Transmit(transmit))
                    if matches!(transmit.contents.first(), Some(128..=191)) =>
                {
                    self.withheld += 1;
                }
                Ok(str0m::Output::Transmit(transmit)) => {
                    let path = (transmit.source, transmit.destination);
                    let is_nominated =
                        self.nominating == Some(transmit.destination) && is_success(&transmit.contents);
                    if is_nominated && self.paths.nominate(path, self.now) {
                        self.sender.on_path_changed();
                    }
                    outgoing.to(path).push(|datagrams| {
                        datagrams.extend_from_slice(&transmit.contents);
                        Some(())
                    });
                }
                Ok(str0m::Output::Event(event)) => self.on_event(&event),
                Ok(str0m::Output::Timeout(until)) => {
                    self.rtc_deadline = until;
                    self.rtc_was_called = false;
                }
                Err(error) => {
                    tracing::debug!(%error, "peer failed");
                    self.rtc.disconnect();
                }
            }
        }
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        if !self.is_connected() {
            // There is nobody to report to.
            return self.rtc_deadline;
        }
        let estimate = (self.available() != self.estimate).then_some(self.estimate_at);
        let ours = [self.feedback_at, self.receiver.deadline(), self.sender.deadline(), estimate];
        let all = ours.into_iter().flatten().chain([self.report_at, self.measure_at]);
        all.fold(self.rtc_deadline, Instant::min)
    }

    /// Returns the time as packets say it. They know differences only, so any clock will do.
    fn send_time(&self) -> u32 {
        let passed = self.now.saturating_duration_since(self.start);
        let fraction = (u64::from(passed.subsec_nanos()) << 18) / 1_000_000_000;
        ((passed.as_secs() << 18) | fraction) as u32 & 0x00ff_ffff
    }

    fn on_event(&mut self, event: &Event) {
        if let Event::IceConnectionStateChange(state) = event {
            self.is_lost = match state {
                IceConnectionState::Disconnected => true,
                IceConnectionState::Connected | IceConnectionState::Completed => false,
                IceConnectionState::New | IceConnectionState::Checking => self.is_lost,
            };
        }
        if matches!(event, Event::Connected)
            && let Some(keys) = self.keys.take()
        {
            let Keys { local, remote } = keys;
            let mut sealer = Sealer::new(local);
            self.sender.bind(&mut sealer);
            self.secured = Some(Secured { sealer, opener: Opener::new(&remote) });
        }
    }

    fn on_rtp(&mut self, datagram: Datagram<'_>, mut buffer: Vec<u8>) -> Result<ReceivedPacket, Vec<u8>> {
        match self.open_rtp(datagram, &mut buffer) {
            None => Err(buffer),
            Some((packet, payload)) => {
                buffer.truncate(payload.end);
                buffer.drain(..payload.start);
                Ok(ReceivedPacket { payload: buffer, ..packet })
            }
        }
    }

    /// Opens a packet in the buffer and takes it in.
    fn open_rtp(
        &mut self,
        datagram: Datagram<'_>,
        buffer: &mut Vec<u8>,
    ) -> Option<(ReceivedPacket, Range<usize>)> {
        let Secured { opener, .. } = self.secured.as_mut()?;
        buffer.clear();
        buffer.extend_from_slice(datagram.bytes);
        let opened = opener.open_rtp(buffer).ok()?;
        self.hear_on(datagram);
        self.take(&buffer[..opened.length], opened.header, opened.index)
    }

    /// Takes in an authentic packet. Returns it without its payload, and where that is.
    ///
    /// * `header`: how long its header is.
    /// * `index`: its extended sequence number.
    fn take(&mut self, packet: &[u8], header: usize, index: u64) -> Option<(ReceivedPacket, Range<usize>)> {
        let (header, payload) = Header::read(packet, header, &self.ids)?;
        if let Some(number) = header.extensions.transport_sequence {
            self.arrivals.note(number, self.now);
            self.latest_ssrc = header.ssrc;
            self.feedback_at.get_or_insert(self.now + FEEDBACK_INTERVAL);
        }
        let (codec, is_repair) = *self.codecs.get(&header.payload_type)?;
        let end = payload.end;
        let placed = self.receiver.place(&header, index, &packet[payload], is_repair, self.now)?;
        let captured = placed.report.map(|report| report.captured(header.timestamp, placed.clock_rate));
        let packet = ReceivedPacket {
            mid: placed.mid,
            rid: placed.rid,
            codec,
            sequence: placed.sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            payload: Vec::new(),
            captured: captured.and_then(|captured| self.clock.map(captured, self.now)),
            extensions: header.extensions.passed,
        };
        Some((packet, end - placed.payload.len()..end))
    }

    fn on_rtcp(&mut self, datagram: Datagram<'_>, buffer: &mut Vec<u8>) {
        let Some(Secured { opener, .. }) = &mut self.secured else { return };
        buffer.clear();
        buffer.extend_from_slice(datagram.bytes);
        let Ok(length) = opener.open_rtcp(buffer) else { return };
        self.hear_on(datagram);
        reports::hear(&buffer[..length], self);
    }

    /// Notes on which pair of addresses something authentic came.
    fn hear_on(&mut self, datagram: Datagram<'_>) {
        if self.paths.hear((datagram.destination, datagram.source), self.now) {
            self.sender.on_path_changed();
        }
    }

    #[cfg(feature = "__fuzz")]
    pub(crate) fn hear(&mut self, packet: &[u8], now: Instant) {
        self.now = self.now.max(now);
        reports::hear(packet, self);
    }

    #[cfg(feature = "__fuzz")]
    pub(crate) fn take_opened(
        &mut self,
        packet: &[u8],
        header: usize,
        index: u64,
        now: Instant,
    ) -> Option<(ReceivedPacket, Range<usize>)> {
        self.now = self.now.max(now);
        self.take(packet, header, index)
    }

    #[cfg(feature = "__fuzz")]
    pub(crate) fn sources(&self) -> Vec<u32> {
        self.sender.sources().collect()
    }

    /// Returns how much gets through to the client, by what it says and by what was seen; none when there is no reason to think that not
    /// everything does.
    fn available(&self) -> Option<Bitrate> {
        self.asked.into_iter().chain(self.sender.limit()).min()
    }

    /// Sends whatever reports and requests are due.
    fn report(&mut self, outgoing: &mut Outgoing) {
        let (now, wall) = (self.now, self.wall + self.now.saturating_duration_since(self.start));
        if !self.is_connected() {
            // Whoever wanted a picture asks again.
            self.picture_losses.clear();
            return;
        }
        self.sender.pass(now);
        let available = self.available();
        if self.estimate_at <= now && available != self.estimate {
            self.estimate_at = now + ESTIMATE_INTERVAL;
            self.estimate = available;
            self.outputs.push_back(Output::Estimated(available));
        }
        let (own, mut bundle) = (self.own.unwrap_or(NOBODY), std::mem::take(&mut self.bundle));
        self.sender.report(now, wall, &mut bundle);
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
            let about = self.receiver.any_ssrc().unwrap_or(self.latest_ssrc);
            self.arrivals.report(own, about, &mut bundle);
        }
        if let (Some(path), Some(Secured { sealer, .. })) = (self.paths.current(), &mut self.secured) {
            let mut lane = outgoing.to(path);
            bundle.drain(|packet| {
                lane.push(|datagrams| {
                    let start = datagrams.len();
                    datagrams.extend_from_slice(packet);
                    datagrams.resize(start + packet.len() + RTCP_OVERHEAD, 0);
                    let end = sealer.seal_rtcp(&mut datagrams[start..], packet.len()).ok()?;
                    datagrams.truncate(start + end);
                    Some(())
                });
            });
        }
        self.bundle = bundle;
        if self.measure_at <= now {
            self.measure_at = now + MEASURE_INTERVAL;
            let Self { receiver, sender, outputs, .. } = self;
            outputs.extend(receiver.measure().chain(sender.measure()).map(Output::Measured));
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
        let Some(mid) = self.sender.section(ssrc) else { return };
        if self.missing_until <= self.now {
            (self.missing, self.missing_until) = (0, self.now + MISSING_TIME);
        }
        for number in numbers.take(MISSING_MAX - self.missing) {
            self.missing += 1;
            self.outputs.push_back(Output::Missing(mid, number));
        }
    }

    fn on_arrivals(&mut self, report: &Twcc<'_>) {
        self.sender.on_arrivals(report, self.now);
    }

    fn on_bandwidth(&mut self, available: Bitrate) {
        self.asked = Some(available);
    }

    fn on_picture_loss(&mut self, ssrc: u32) {
        self.outputs.extend(self.sender.section(ssrc).map(Output::KeyframeRequest));
    }
}

/// Who speaks while nothing is sent to the client.
const NOBODY: u32 = 1;

/// Returns the section that a line of a session description names (RFC 5888 §4).
fn mid_of(line: &str) -> Option<Mid> {
    Mid::new(line.strip_prefix("a=mid:")?).ok()
}

/// The most that sealing adds to an RTCP packet.
const RTCP_OVERHEAD: usize = 20;
