//! A server's peer: RTP packets through, over one ICE-lite and DTLS association with a client. The client always offers.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use roomful_types::{AudioLevel, Bitrate, Codec, Mid, Rid};
use str0m::{
    Candidate, Event, Input, Rtc,
    bwe::BweKind,
    change::SdpOffer,
    media::{KeyframeRequestKind, Pt},
    net::{Protocol, Receive},
    rtp::{RtpPacket, RtpWrite},
    stats::{MediaEgressStats, MediaIngressStats},
};

use crate::{
    candidates::Datagram,
    dtls::ServerCertificate,
    rtc::{self, MediaError, Transmit},
    sdp,
};

/// One client's media at the server.
#[derive(Debug)]
pub struct ServerPeer {
    rtc: Rtc,
    /// What a codec is called on each sending section.
    payload_types: BTreeMap<(Mid, Codec), Pt>,
    clock: PublisherClock,
    outputs: VecDeque<Output>,
    now: Instant,
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
    /// When it was captured: on the publisher's clock moved by one constant for all its media, never in the future. None until
    /// the publisher has reported.
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
    /// How much gets through to the client.
    Estimated(Bitrate),
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

/// Packets of one video stream kept for retransmission, and for how long: two round trips of a bad network at 2.5 Mbit/s.
const HISTORY_PACKETS: usize = 512;
const HISTORY_TIME: Duration = Duration::from_secs(2);

/// The most that retransmissions may be of what is sent. Half lets a link through that loses a third, and bounds what a flood
/// of requests can cause.
const RETRANSMISSION_SHARE: Option<f32> = Some(0.5);

/// What a time of capture that is not known yet lies ahead. str0m cannot hold its reports back; about the future it reports RTP
/// time 0, which is how a [`ClientPeer`](crate::ClientPeer) knows that there is nothing to know.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// How often it is told how sections do.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// Most media sections of one offer: twice the slots, and as many again for sending. Every poll of a peer walks over them.
const SECTIONS_MAX: usize = 256;

impl ServerPeer {
    /// Makes a peer that clients reach at these addresses.
    #[must_use]
    pub fn new(certificate: &ServerCertificate, addresses: &[SocketAddr], now: Instant) -> Self {
        let config = rtc::config()
            .set_ice_lite(true)
            .set_dtls_cert(certificate.0.clone())
            .set_stats_interval(Some(STATS_INTERVAL));
        let mut rtc = config.build(now);
        for address in addresses {
            if let Ok(candidate) = Candidate::host(*address, Protocol::Udp) {
                rtc.add_local_candidate(candidate);
            }
        }
        Self {
            rtc,
            payload_types: BTreeMap::new(),
            clock: PublisherClock::default(),
            outputs: VecDeque::new(),
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
        Ok(sdp::pair_streams(&answer.to_sdp_string(), pairs))
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
        self.rtc.is_connected()
    }

    /// Takes in a datagram. Drain [`poll_output`](Self::poll_output) before the next: a second packet would replace the first.
    pub fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        self.now = self.now.max(now);
        rtc::receive(&mut self.rtc, datagram, self.now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        rtc::handle(&mut self.rtc, Input::Timeout(self.now));
    }

    /// Queues packets for the client, in this order; they leave with the next [`handle_timeout`](Self::handle_timeout).
    pub fn send(&mut self, packets: impl IntoIterator<Item = SentPacket>) {
        if !self.is_connected() {
            // Nothing would ever take the packets out of the queue.
            return;
        }
        for SentPacket { mid, codec, packet } in packets {
            let Some(payload_type) = self.payload_type(mid, codec) else { continue };
            let mut api = self.rtc.direct_api();
            let Some(stream) = api.stream_tx_by_mid(rtc::mid_to(mid), None) else { continue };
            let (sequence, timestamp) = (packet.sequence.into(), packet.timestamp);
            let captured = packet.captured.unwrap_or(self.now + NEVER);
            let write = RtpWrite::new(payload_type, sequence, timestamp, captured, packet.payload)
                .marker(packet.marker)
                .ext_vals(rtc::extensions(packet.audio_level))
                .nackable(codec.kind() == roomful_types::MediaKind::Video);
            // Only queues, so the packets of one turn need one drain and not one each.
            stream.write_rtp(write);
        }
    }

    /// Asks the client for a key frame of an encoding on a section.
    pub fn request_keyframe(&mut self, mid: Mid, rid: Rid) {
        let mut api = self.rtc.direct_api();
        if let Some(stream) = rtc::stream_rx(&mut api, mid, rid) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    /// Drops what was sent on a section: none of it is sent again, whoever asks.
    pub fn forget_history(&mut self, mid: Mid) {
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(rtc::mid_to(mid), None) {
            stream.set_rtx_cache(HISTORY_PACKETS, HISTORY_TIME, RETRANSMISSION_SHARE);
        }
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            match self.rtc.poll_output() {
                Ok(str0m::Output::Transmit(transmit)) => return Output::Transmit(transmit.into()),
                Ok(str0m::Output::Event(event)) => self.on_event(event),
                Ok(str0m::Output::Timeout(until)) => return Output::Wait(until),
                Err(error) => {
                    tracing::debug!(%error, "peer failed");
                    self.rtc.disconnect();
                }
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "str0m's events are not ours; most are for other uses of it"
    )]
    fn on_event(&mut self, event: Event) {
        match event {
            Event::RtpPacket(packet) => self.on_packet(packet),
            Event::KeyframeRequest(request) => {
                let mid = rtc::mid_from(request.mid);
                self.outputs.extend(mid.map(Output::KeyframeRequest));
            }
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.outputs.push_back(Output::Estimated(Bitrate::from_bps(estimate.as_u64())));
            }
            Event::MediaIngressStats(stats) => self.on_ingress_stats(&stats),
            Event::MediaEgressStats(stats) => self.on_egress_stats(&stats),
            _ => {}
        }
    }

    fn on_ingress_stats(&mut self, stats: &MediaIngressStats) {
        // A section is as good as its best encoding: the others may be paused.
        let Some(mid) = rtc::mid_from(stats.mid) else { return };
        if rtc::rid_from(stats.rid) != Rid::High {
            return;
        }
        let measure = Measure {
            mid,
            is_inbound: true,
            packets: stats.packets,
            progress: stats.packets,
            fraction_lost: stats.loss.unwrap_or_default(),
            jitter: self.rtp_time(stats.jitter, stats.mid),
            round_trip_time: stats.rtt,
        };
        self.outputs.push_back(Output::Measured(measure));
    }

    fn on_egress_stats(&mut self, stats: &MediaEgressStats) {
        let Some(mid) = rtc::mid_from(stats.mid) else { return };
        let measure = Measure {
            mid,
            is_inbound: false,
            packets: stats.packets,
            progress: stats.remote.as_ref().map_or(0, |remote| *remote.maximum_sequence_number),
            fraction_lost: stats.loss.unwrap_or_default(),
            jitter: self.rtp_time(stats.remote.as_ref().map_or(0, |remote| remote.jitter), stats.mid),
            round_trip_time: stats.rtt,
        };
        self.outputs.push_back(Output::Measured(measure));
    }

    /// Converts a duration in units of the RTP clock of a section.
    fn rtp_time(&self, ticks: u32, mid: str0m::media::Mid) -> Duration {
        let is_audio = self.rtc.media(mid).is_some_and(|media| media.kind().is_audio());
        let codec = if is_audio { Codec::Opus } else { Codec::Vp8 };
        codec.time(ticks.into())
    }

    fn on_packet(&mut self, packet: RtpPacket) {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx(&packet.header.ssrc);
        let place = stream.and_then(|stream| Some((rtc::mid_from(stream.mid())?, stream.rid())));
        let Some((mid, rid)) = place else { return };
        let rid = rtc::rid_from(rid);
        let captured = self.clock.captured(&packet, self.now);
        let level = packet.header.ext_vals.audio_level;
        let received = ReceivedPacket {
            sequence: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: packet.payload,
            captured,
            audio_level: level.map(|level| AudioLevel::from_negative_dbov(level.unsigned_abs())),
        };
        self.outputs.push_back(Output::Packet(mid, rid, received));
    }

    /// Returns what a codec is called on a section, and sets the section's history up when it is first asked for.
    fn payload_type(&mut self, mid: Mid, codec: Codec) -> Option<Pt> {
        if let Some(payload_type) = self.payload_types.get(&(mid, codec)) {
            return Some(*payload_type);
        }
        let media = self.rtc.media(rtc::mid_to(mid))?;
        let payload_type = rtc::payload_type(self.rtc.codec_config(), media.remote_pts(), codec)?;
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(rtc::mid_to(mid), None) {
            stream.set_rtx_cache(HISTORY_PACKETS, HISTORY_TIME, RETRANSMISSION_SHARE);
        }
        self.payload_types.insert((mid, codec), payload_type);
        Some(payload_type)
    }
}

/// Maps the time of capture that a publisher reports to the server's clock. One constant serves all media of a publisher, so
/// that what was in step stays in step.
#[derive(Debug, Default)]
struct PublisherClock {
    /// A time on the publisher's clock, and the same on ours: by the packet that was fastest on its way.
    anchor: Option<(SystemTime, Instant)>,
}

impl PublisherClock {
    fn captured(&mut self, packet: &RtpPacket, now: Instant) -> Option<Instant> {
        let report = packet.last_sender_info.filter(|report| report.sender_packet_count > 0);
        let report = report?;
        let clock_rate = packet.time.frequency().get();
        let captured = rtc::captured_at(&report, packet.header.timestamp, clock_rate);
        let captured = captured?;
        let (theirs, ours) = *self.anchor.get_or_insert((captured, now));
        let mapped = match captured.duration_since(theirs) {
            Ok(later) => ours.checked_add(later),
            Err(earlier) => ours.checked_sub(earlier.duration()),
        };
        match mapped {
            Some(mapped) if mapped <= now => Some(mapped),
            // Faster on its way than the anchor: take it instead, or a report would speak of the future.
            _ => {
                self.anchor = Some((captured, now));
                Some(now)
            }
        }
    }
}
