//! A client's peer: whole frames in and out, over one ICE and DTLS association with the server.

mod receiver;
mod sender;
mod stats;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use roomful_types::{AudioLevel, Bitrate, Codec, MediaKind, Mid, Rid, StreamKey};
use str0m::{
    Candidate, Event, IceConnectionState, Input, Rtc,
    bwe::BweKind,
    change::{SdpAnswer, SdpPendingOffer},
    media::{Direction, KeyframeRequestKind, Simulcast, SimulcastLayer},
    net::Protocol,
    rtp::RtpPacket,
};

use crate::{
    candidates::Datagram,
    rtc::{self, MediaError, Transmit},
};
use receiver::Receiver;
use sender::Sender;
use stats::RtpHead;
pub use stats::{ReceiverStats, SenderStats};

/// One client's media, on one peer connection. The client always offers.
#[derive(Debug)]
pub struct ClientPeer {
    rtc: Rtc,
    pending: Option<Pending>,
    sections: Sections,
    senders: BTreeMap<Mid, Sender>,
    /// What each source sends, and whether it repairs.
    sources: BTreeMap<u32, (Mid, Rid, bool)>,
    receivers: BTreeMap<Mid, Receiver>,
    negotiations: u64,
    clocks: BTreeMap<StreamKey, StreamClock>,
    is_connected: bool,
    target: Bitrate,
    /// What is to be received at most, and when the server is told of it next.
    receive_limit: Option<(Bitrate, Instant)>,
    outputs: VecDeque<Output>,
    now: Instant,
}

/// Settings of a client's peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The bandwidth to assume before anything is measured. Default 3 Mbit/s: a key frame of 360p is out in 100 ms. More
    /// starts faster and floods a slow uplink for a moment.
    pub initial_bitrate: Bitrate,
    /// The most that one video track is ever asked to send. Default 2.5 Mbit/s, enough for 720p.
    pub max_video_bitrate: Bitrate,
    /// The most that is to be received, all tracks together; the server is told once a second (REMB,
    /// draft-alvestrand-rmcat-remb-03). Default none: whatever gets through.
    pub max_receive_bitrate: Option<Bitrate>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            initial_bitrate: Bitrate::from_kbps(3000),
            max_video_bitrate: Bitrate::from_kbps(2500),
            max_receive_bitrate: None,
        }
    }
}

/// How often the server is told how much is to be received.
const RECEIVE_LIMIT_INTERVAL: Duration = Duration::from_secs(1);

/// An offer, and the sections that it has, new ones last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The session description.
    pub sdp: String,
    /// Sections that send audio.
    pub audio_senders: Vec<Mid>,
    /// Sections that send video.
    pub video_senders: Vec<Mid>,
    /// Pairs of sections that receive: audio, video.
    pub slots: Vec<(Mid, Mid)>,
}

/// One encoded frame to send.
#[derive(Debug, Clone)]
pub struct SentFrame {
    /// The frame.
    pub data: Bytes,
    /// When it belongs, on the stream's clock. Never goes back.
    pub media_time: Duration,
    /// Whether decoding can begin here; always for audio.
    pub is_keyframe: bool,
    /// How loud it is, when known.
    pub audio_level: Option<AudioLevel>,
}

/// What became of a frame that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is on its way.
    Sent,
    /// It was not sent: the track is muted or paused, or waits for its next key frame.
    Skipped,
}

/// One encoded frame as it arrived.
#[derive(Debug, Clone)]
pub struct ReceivedFrame {
    /// The frame, byte for byte as sent.
    pub data: Bytes,
    /// How it is encoded.
    pub codec: Codec,
    /// When it belongs, counted from the first frame of the track.
    pub media_time: Duration,
    /// When it was captured, on the publisher's clock moved by a constant; none until its sender reported.
    pub captured_at: Option<SystemTime>,
    /// Whether decoding can begin here; always for audio.
    pub is_keyframe: bool,
    /// Packets lost since the last frame of the track, never to arrive.
    pub packets_lost: u64,
    /// How loud it is, when known.
    pub audio_level: Option<AudioLevel>,
}

/// How the peer connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerStats {
    /// Round trip to the server, when known.
    pub round_trip_time: Option<Duration>,
    /// Bytes received, headers of IP and UDP excluded.
    pub bytes_received: u64,
    /// Bytes sent, headers of IP and UDP excluded.
    pub bytes_sent: u64,
    /// Estimated bandwidth towards the server.
    pub available_outgoing_bitrate: Option<Bitrate>,
    /// How often sections were negotiated: offers that were answered.
    pub negotiations: u64,
}

/// What a peer does.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Send this datagram.
    Transmit(Transmit),
    /// Media can flow.
    Connected,
    /// Media cannot flow any more; it may again.
    Disconnected,
    /// A frame arrived for the track that is bound to this section.
    Frame(Mid, ReceivedFrame),
    /// The receivers of this section need a key frame of an encoding.
    KeyframeRequest(Mid, Rid),
    /// This much may be sent of an encoding on this section.
    TargetBitrate(Mid, Rid, Bitrate),
    /// How the connection does, once a second.
    Stats(PeerStats),
    /// Nothing more; call [`ClientPeer::handle_timeout`] at this time at the latest.
    Wait(Instant),
}

#[derive(Debug)]
struct Pending {
    offer: SdpPendingOffer,
    sections: Sections,
}

#[derive(Debug, Clone, Default)]
struct Sections {
    audio_senders: Vec<Mid>,
    video_senders: Vec<Mid>,
    slots: Vec<(Mid, Mid)>,
}

/// Maps the media time that a stream's tracks share to the time of capture.
#[derive(Debug, Default)]
struct StreamClock {
    users: usize,
    zero: Option<Instant>,
}

/// How often the connection reports how it does.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

impl ClientPeer {
    /// Makes a peer that can be reached at these addresses.
    #[must_use]
    pub fn new(config: &ClientConfig, addresses: &[SocketAddr], now: Instant) -> Self {
        let estimate = str0m::bwe::Bitrate::bps(config.initial_bitrate.as_bps());
        let mut rtc =
            rtc::config().enable_bwe(Some(estimate)).set_stats_interval(Some(STATS_INTERVAL)).build(now);
        for address in addresses {
            if let Ok(candidate) = Candidate::host(*address, Protocol::Udp) {
                rtc.add_local_candidate(candidate);
            }
        }
        Self {
            rtc,
            pending: None,
            sections: Sections::default(),
            senders: BTreeMap::new(),
            sources: BTreeMap::new(),
            receivers: BTreeMap::new(),
            negotiations: 0,
            clocks: BTreeMap::new(),
            is_connected: false,
            target: config.max_video_bitrate,
            receive_limit: config.max_receive_bitrate.map(|limit| (limit, now)),
            outputs: VecDeque::new(),
            now,
        }
    }

    /// Makes one more address known at which the peer can be reached; the next offer that looks for a path uses it.
    pub fn add_address(&mut self, address: SocketAddr) {
        if let Ok(candidate) = Candidate::host(address, Protocol::Udp) {
            self.rtc.add_local_candidate(candidate);
        }
    }

    /// Offers at least this many sections, keeping all that there are, and with `restart` looks for a new path (ICE restart,
    /// RFC 8445 §9). A pending offer is given up.
    pub fn create_offer(
        &mut self,
        audio_senders: usize,
        video_senders: usize,
        slots: usize,
        restart: bool,
    ) -> Option<Offer> {
        let mut sections = self.sections.clone();
        let mut api = self.rtc.sdp_api();
        if restart {
            api.ice_restart(true);
        }
        let mut add = |kind: str0m::media::MediaKind, direction: Direction| {
            // Whoever publishes one encoding sends the first of them only.
            let is_sent_video = kind.is_video() && direction == Direction::SendOnly;
            let simulcast = is_sent_video.then(|| Simulcast {
                send: Rid::ALL.map(|rid| SimulcastLayer::new(rid.as_str())).into(),
                recv: Vec::new(),
            });
            rtc::mid_from(api.add_media(kind, direction, None, None, simulcast))
                .expect("str0m makes mids of letters")
        };
        use str0m::media::MediaKind::{Audio, Video};
        while sections.audio_senders.len() < audio_senders {
            sections.audio_senders.push(add(Audio, Direction::SendOnly));
        }
        while sections.video_senders.len() < video_senders {
            sections.video_senders.push(add(Video, Direction::SendOnly));
        }
        while sections.slots.len() < slots {
            sections.slots.push((add(Audio, Direction::RecvOnly), add(Video, Direction::RecvOnly)));
        }
        let (offer, pending) = api.apply()?;
        self.pending = Some(Pending { offer: pending, sections: sections.clone() });
        let Sections { audio_senders, video_senders, slots } = sections;
        Some(Offer { sdp: offer.to_sdp_string(), audio_senders, video_senders, slots })
    }

    /// Goes by the answer to the latest offer.
    ///
    /// # Errors
    /// [`MediaError::NoSuchOffer`] when none is pending, [`MediaError::BadDescription`] when it cannot be followed.
    pub fn accept_answer(&mut self, sdp: &str) -> Result<(), MediaError> {
        let Pending { offer, sections } = self.pending.take().ok_or(MediaError::NoSuchOffer)?;
        let answer = SdpAnswer::from_sdp_string(sdp).map_err(|_| MediaError::BadDescription)?;
        self.rtc.sdp_api().accept_answer(offer, answer).map_err(|_| MediaError::BadDescription)?;
        self.sections = sections;
        self.negotiations += 1;
        let mut api = self.rtc.direct_api();
        for mid in self.sections.audio_senders.iter().chain(&self.sections.video_senders) {
            for rid in Rid::ALL {
                let Some(stream) = rtc::stream_tx(&mut api, *mid, rid) else { continue };
                // A section with one encoding has it under every name; it is the highest.
                self.sources.entry(*stream.ssrc()).or_insert((*mid, rid, false));
                if let Some(repair) = stream.rtx() {
                    self.sources.entry(*repair).or_insert((*mid, rid, true));
                }
            }
        }
        Ok(())
    }

    /// Gets a section ready for a track and ends what was sent there before. Returns the RTP timestamp that the track begins
    /// at, at the earliest.
    ///
    /// # Errors
    /// [`MediaError::UnknownMid`] when the section was not negotiated for sending this codec.
    pub fn open_sender(
        &mut self,
        mid: Mid,
        codec: Codec,
        stream: &StreamKey,
        simulcast: bool,
    ) -> Result<u32, MediaError> {
        self.close_sender(mid);
        let media = self.rtc.media(rtc::mid_to(mid)).ok_or(MediaError::UnknownMid)?;
        let payload_type = rtc::payload_type(self.rtc.codec_config(), media.remote_pts(), codec);
        let payload_type = payload_type.ok_or(MediaError::UnknownMid)?;
        self.clocks.entry(stream.clone()).or_default().users += 1;
        let sender = self.senders.entry(mid).or_default();
        Ok(sender.open(codec, payload_type, stream.clone(), simulcast, self.now))
    }

    /// Sends what the section's track gives, or nothing. Video goes on at a key frame, which is asked for.
    pub fn set_active(&mut self, mid: Mid, active: bool) {
        self.change_sender(mid, |sender| sender.set_active(active));
        self.update_desired_bitrate();
    }

    /// Sends nothing of an encoding of the section's track while nobody takes it.
    pub fn set_paused(&mut self, mid: Mid, rid: Rid, paused: bool) {
        self.change_sender(mid, |sender| sender.set_paused(rid, paused));
        self.update_desired_bitrate();
    }

    /// Ends what is sent on a section.
    pub fn close_sender(&mut self, mid: Mid) {
        let Some(stream) = self.senders.get_mut(&mid).and_then(Sender::close) else { return };
        if let Some(clock) = self.clocks.get_mut(&stream) {
            clock.users -= 1;
            if clock.users == 0 {
                self.clocks.remove(&stream);
            }
        }
        self.update_desired_bitrate();
    }

    /// Sends one frame of an encoding of the section's track.
    ///
    /// # Errors
    /// [`MediaError::UnknownMid`] when no track is open there, [`MediaError::Packetize`] when the frame is not one of its codec.
    pub fn send(
        &mut self,
        mid: Mid,
        rid: Rid,
        frame: &SentFrame,
        now: Instant,
    ) -> Result<Delivery, MediaError> {
        self.now = self.now.max(now);
        let sender = self.senders.get_mut(&mid).ok_or(MediaError::UnknownMid)?;
        let clock =
            sender.stream().and_then(|stream| self.clocks.get_mut(stream)).ok_or(MediaError::UnknownMid)?;
        let zero =
            *clock.zero.get_or_insert_with(|| self.now.checked_sub(frame.media_time).unwrap_or(self.now));
        // A writer faster than real time is captured now: a report about the future would be none at all.
        let captured = zero.checked_add(frame.media_time).unwrap_or(self.now).min(self.now);
        let mut api = self.rtc.direct_api();
        let stream = rtc::stream_tx(&mut api, mid, rid).ok_or(MediaError::UnknownMid)?;
        let delivery = sender.send(rid, frame, captured, self.now, stream)?;
        if delivery == Delivery::Sent {
            if frame.is_keyframe {
                // Whoever was to be asked for one need not be any more.
                let is_served = |output: &Output| matches!(output, Output::KeyframeRequest(on, of) if (*on, *of) == (mid, rid));
                self.outputs.retain(|output| !is_served(output));
            }
            self.handle_timeout(now);
        }
        Ok(delivery)
    }

    /// Returns whether more frames of an encoding can be taken on a section without piling up.
    #[must_use]
    pub fn is_ready(&mut self, mid: Mid, rid: Rid) -> bool {
        let mut api = self.rtc.direct_api();
        let stream = rtc::stream_tx(&mut api, mid, rid);
        let queue = stream.as_ref().and_then(|stream| stream.queue_info());
        queue.is_none_or(|queue| queue.byte_size() < sender::QUEUE_MAX)
    }

    /// Keeps what arrives on a section for a new track, until [`bind_receiver`](Self::bind_receiver) says where it begins.
    pub fn open_receiver(&mut self, mid: Mid) {
        self.receivers.entry(mid).or_default().open();
    }

    /// The section's track begins at these numbers; what is older there is nobody's.
    pub fn bind_receiver(&mut self, mid: Mid, codec: Codec, first_sequence: u16, first_timestamp: u32) {
        if let Some(receiver) = self.receivers.get_mut(&mid) {
            receiver.bind(codec, first_sequence, first_timestamp, self.now);
            self.drain_receiver(mid);
        }
    }

    /// Delivers nothing more of a section.
    pub fn close_receiver(&mut self, mid: Mid) {
        if let Some(receiver) = self.receivers.get_mut(&mid) {
            receiver.close();
        }
    }

    /// Returns what was sent on a section, by encoding.
    #[must_use]
    pub fn sender_stats(&self, mid: Mid) -> BTreeMap<Rid, SenderStats> {
        self.senders.get(&mid).map(|sender| sender.stats(self.now)).unwrap_or_default()
    }

    /// Returns what came of the track that is bound to a section.
    #[must_use]
    pub fn receiver_stats(&self, mid: Mid) -> ReceiverStats {
        self.receivers.get(&mid).map(|receiver| receiver.stats(self.now)).unwrap_or_default()
    }

    /// Asks whoever sends on a section for a key frame.
    pub fn request_keyframe(&mut self, mid: Mid) {
        request_keyframe(&mut self.rtc, mid);
    }

    /// Takes in a datagram. What is none of ours is ignored.
    pub fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        self.now = self.now.max(now);
        rtc::receive(&mut self.rtc, datagram, self.now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        rtc::handle(&mut self.rtc, Input::Timeout(self.now));
        for mid in self.receivers.keys().copied().collect::<Vec<_>>() {
            self.drain_receiver(mid);
        }
        self.tell_receive_limit();
    }

    /// Tells the server how much is to be received at most, when it is time to.
    fn tell_receive_limit(&mut self) {
        let now = self.now;
        let Some((limit, at)) = self.receive_limit.as_mut().filter(|(_, at)| *at <= now) else { return };
        *at = now + RECEIVE_LIMIT_INTERVAL;
        let mut api = self.rtc.direct_api();
        // It is about all of them, whichever says it.
        let mut mids = self.receivers.keys();
        let speaker = mids.find(|mid| api.stream_rx_by_mid(rtc::mid_to(**mid), None).is_some());
        if let Some(stream) = speaker.and_then(|mid| api.stream_rx_by_mid(rtc::mid_to(*mid), None)) {
            stream.request_remb(str0m::bwe::Bitrate::bps(limit.as_bps()));
        }
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            match self.rtc.poll_output() {
                Ok(str0m::Output::Transmit(transmit)) => {
                    self.on_departure(&transmit.contents);
                    return Output::Transmit(transmit.into());
                }
                Ok(str0m::Output::Event(event)) => self.on_event(event),
                Ok(str0m::Output::Timeout(until)) => return Output::Wait(self.deadline(until)),
                Err(error) => {
                    tracing::debug!(%error, "peer failed");
                    self.rtc.disconnect();
                    self.disconnected();
                }
            }
        }
    }

    fn on_departure(&mut self, datagram: &[u8]) {
        let Some(head) = RtpHead::read(datagram) else { return };
        let Some((mid, rid, is_repair)) = self.sources.get(&head.ssrc) else { return };
        if let Some(sender) = self.senders.get_mut(mid) {
            sender.on_departure(*rid, &head, *is_repair, self.now);
        }
    }

    fn deadline(&self, until: Instant) -> Instant {
        let limit = self.receive_limit.map(|(_, at)| at);
        self.receivers.values().filter_map(Receiver::deadline).chain(limit).fold(until, Instant::min)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "str0m's events are not ours; most are for other uses of it"
    )]
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected => {
                self.is_connected = true;
                self.outputs.push_back(Output::Connected);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => self.disconnected(),
            Event::IceConnectionStateChange(
                IceConnectionState::Connected | IceConnectionState::Completed,
            ) if !self.is_connected && self.rtc.is_connected() => {
                self.is_connected = true;
                self.outputs.push_back(Output::Connected);
            }
            Event::RtpPacket(packet) => self.on_packet(packet),
            Event::KeyframeRequest(request) => {
                let rid = rtc::rid_from(request.rid);
                let mid = rtc::mid_from(request.mid);
                let crosses = |mid: &Mid| {
                    let sender = self.senders.get(mid);
                    sender.is_some_and(|sender| sender.is_keyframe_on_its_way(rid, self.now))
                };
                let mid = mid.filter(|mid| !crosses(mid));
                self.outputs.extend(mid.map(|mid| Output::KeyframeRequest(mid, rid)));
            }
            Event::MediaEgressStats(stats) => {
                let sender = rtc::mid_from(stats.mid).and_then(|mid| self.senders.get_mut(&mid));
                if let Some(sender) = sender {
                    sender.on_egress_stats(rtc::rid_from(stats.rid), stats);
                }
            }
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.on_estimate(Bitrate::from_bps(estimate.as_u64()));
            }
            Event::PeerStats(stats) => self.outputs.push_back(Output::Stats(PeerStats {
                round_trip_time: stats.rtt,
                bytes_received: stats.peer_bytes_rx,
                bytes_sent: stats.peer_bytes_tx,
                available_outgoing_bitrate: stats.bwe_tx.map(|rate| Bitrate::from_bps(rate.as_u64())),
                negotiations: self.negotiations,
            })),
            _ => {}
        }
    }

    fn disconnected(&mut self) {
        if std::mem::take(&mut self.is_connected) {
            self.outputs.push_back(Output::Disconnected);
        }
    }

    fn on_packet(&mut self, packet: RtpPacket) {
        let mut api = self.rtc.direct_api();
        let mid = api.stream_rx(&packet.header.ssrc).and_then(|stream| rtc::mid_from(stream.mid()));
        let Some(mid) = mid else { return };
        let now = self.now;
        self.receivers.entry(mid).or_default().push(packet, now);
        self.drain_receiver(mid);
    }

    fn drain_receiver(&mut self, mid: Mid) {
        let Some(receiver) = self.receivers.get_mut(&mid) else { return };
        while let Some(event) = receiver.poll(self.now) {
            match event {
                receiver::Event::Frame(frame) => self.outputs.push_back(Output::Frame(mid, frame)),
                receiver::Event::KeyframeNeeded => request_keyframe(&mut self.rtc, mid),
            }
        }
    }

    /// Shares the estimate out: audio first, the rest among the video tracks, larger encodings getting more of it.
    fn on_estimate(&mut self, estimate: Bitrate) {
        let audios = self.flowing(MediaKind::Audio).count() as u64;
        let rest = estimate.as_bps().saturating_sub(audios * AUDIO_BITRATE.as_bps());
        let videos: Vec<(Mid, Rid)> = self.flowing(MediaKind::Video).collect();
        let weights: u64 = videos.iter().map(|(_, rid)| weight(*rid)).sum();
        for (mid, rid) in videos {
            let share = Bitrate::from_bps(rest / weights * weight(rid)).min(self.most(rid));
            self.outputs.push_back(Output::TargetBitrate(mid, rid, share));
        }
    }

    /// Probing finds out no more than what the tracks could use.
    fn update_desired_bitrate(&mut self) {
        let audio = self.flowing(MediaKind::Audio).count() as u64 * AUDIO_BITRATE.as_bps();
        let video: u64 = self.flowing(MediaKind::Video).map(|(_, rid)| self.most(rid).as_bps()).sum();
        let desired = str0m::bwe::Bitrate::bps(audio + video);
        self.rtc.bwe().set_bitrate(str0m::bwe::Bitrate::ZERO, desired);
    }

    fn flowing(&self, kind: MediaKind) -> impl Iterator<Item = (Mid, Rid)> {
        let senders = self.senders.iter();
        senders.flat_map(move |(mid, sender)| sender.flowing(kind).map(|rid| (*mid, rid)))
    }

    /// The most that an encoding is ever asked to send.
    fn most(&self, rid: Rid) -> Bitrate {
        Bitrate::from_bps(self.target.as_bps() * weight(rid) / weight(Rid::High))
    }

    /// Changes a sender, and asks its writer for a key frame if it goes on with one.
    fn change_sender(&mut self, mid: Mid, change: impl FnOnce(&mut Sender)) {
        let Some(sender) = self.senders.get_mut(&mid) else { return };
        let before: Vec<Rid> = sender.flowing(MediaKind::Video).collect();
        change(sender);
        for rid in sender.flowing(MediaKind::Video).filter(|rid| !before.contains(rid)) {
            self.outputs.push_back(Output::KeyframeRequest(mid, rid));
        }
    }
}

fn request_keyframe(rtc: &mut Rtc, mid: Mid) {
    let mut api = rtc.direct_api();
    if let Some(stream) = api.stream_rx_by_mid(rtc::mid_to(mid), None) {
        stream.request_keyframe(KeyframeRequestKind::Pli);
    }
}

/// What an encoding takes beside the others: a third as much for half of the width and height, as is usual.
const fn weight(rid: Rid) -> u64 {
    match rid {
        Rid::High => 9,
        Rid::Medium => 3,
        Rid::Low => 1,
    }
}

/// What an audio track is taken to need; Opus speech is below it.
const AUDIO_BITRATE: Bitrate = Bitrate::from_kbps(64);
