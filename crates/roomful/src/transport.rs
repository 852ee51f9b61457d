//! The media transport of a native client: str0m, through `roomful-media`.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use roomful_client::{MediaCommand, MediaNotice, MediaTransport};
use roomful_media::{
    ClientConfig, ClientOutput, ClientPeer, Datagram, Offer, PeerStats, SentFrame, Transmit,
};
use roomful_protocol::{OfferId, SlotMids};
use roomful_state::TrackId;
use roomful_types::{MediaKind, Mid, Rid};

use crate::{
    stats::{InboundVideoStats, OutboundVideoStats, WebRtcStats},
    track::{Attachment, Feed, LocalTrack, Pushed, RemoteTrack, Wake},
};

/// One peer connection after another, and the tracks on it.
#[derive(Debug)]
pub(crate) struct Transport {
    config: ClientConfig,
    /// Where the server may reach us.
    addresses: Vec<SocketAddr>,
    peer: Option<ClientPeer>,
    video_slots: Vec<Mid>,
    /// Tracks that commands speak of.
    tracks: BTreeMap<TrackId, LocalTrack>,
    senders: BTreeMap<TrackId, (Mid, Attachment)>,
    receivers: BTreeMap<TrackId, (Mid, Feed)>,
    /// Tracks whose subscription nobody has got yet.
    opened: BTreeMap<TrackId, RemoteTrack>,
    notices: VecDeque<MediaNotice>,
    outgoing: VecDeque<Transmit>,
    stats: PeerStats,
    wake: Arc<Wake>,
}

/// Frames sent per turn, so that a fast writer leaves time for everything else.
const FRAMES_PER_TURN: usize = 64;

impl Transport {
    pub(crate) const fn new(config: ClientConfig, addresses: Vec<SocketAddr>, wake: Arc<Wake>) -> Self {
        Self {
            config,
            addresses,
            peer: None,
            video_slots: Vec::new(),
            tracks: BTreeMap::new(),
            senders: BTreeMap::new(),
            receivers: BTreeMap::new(),
            opened: BTreeMap::new(),
            notices: VecDeque::new(),
            outgoing: VecDeque::new(),
            stats: PeerStats {
                round_trip_time: None,
                bytes_received: 0,
                bytes_sent: 0,
                available_outgoing_bitrate: None,
                negotiations: 0,
            },
            wake,
        }
    }

    /// Makes a track known before it is opened.
    pub(crate) fn know(&mut self, track: LocalTrack) {
        self.tracks.insert(track.id(), track);
    }

    /// Hands out the reading end of a track, once.
    pub(crate) fn take_opened(&mut self, track: Option<TrackId>) -> Option<RemoteTrack> {
        self.opened.remove(&track?)
    }

    pub(crate) const fn stats(&self) -> PeerStats {
        self.stats
    }

    /// Takes in a datagram, and what the peer makes of it: the next one must find the peer drained.
    pub(crate) fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        if let Some(peer) = &mut self.peer {
            peer.handle_datagram(datagram, now);
            while let Ok(transmit) = self.poll_peer() {
                self.outgoing.push_back(transmit);
            }
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(peer) = &mut self.peer {
            peer.handle_timeout(now);
        }
    }

    /// Sends what writers wrote. Returns whether more waits.
    pub(crate) fn send_frames(&mut self, now: Instant) -> bool {
        let Some(peer) = &mut self.peer else { return false };
        let mut budget = FRAMES_PER_TURN;
        for (mid, attachment) in self.senders.values() {
            for rid in attachment.rids() {
                while budget > 0 && peer.is_ready(*mid, rid) {
                    let Some(frame) = attachment.next_frame(rid) else { break };
                    budget -= 1;
                    let sent = SentFrame {
                        data: frame.data,
                        media_time: frame.media_time,
                        is_keyframe: frame.is_keyframe,
                        audio_level: frame.audio_level,
                    };
                    if let Err(error) = peer.send(*mid, rid, &sent, now) {
                        tracing::warn!(%error, "frame dropped");
                    }
                }
            }
        }
        budget == 0
    }

    /// Delivers what the peer has and returns the next datagram to send, or when to let time pass.
    pub(crate) fn poll(&mut self) -> Result<Transmit, Option<Instant>> {
        self.outgoing.pop_front().map_or_else(|| self.poll_peer(), Ok)
    }

    fn poll_peer(&mut self) -> Result<Transmit, Option<Instant>> {
        loop {
            let Some(peer) = &mut self.peer else { return Err(None) };
            match peer.poll_output() {
                ClientOutput::Transmit(transmit) => return Ok(transmit),
                ClientOutput::Wait(until) => return Err(Some(until)),
                ClientOutput::Connected => self.notices.push_back(MediaNotice::Connected),
                ClientOutput::Disconnected => self.notices.push_back(MediaNotice::Disconnected),
                ClientOutput::Frame(mid, frame) => {
                    let feed = self.receivers.values_mut().find(|(section, _)| *section == mid);
                    if feed.is_some_and(|(_, feed)| feed.push(frame) == Pushed::NeedsKeyframe) {
                        peer.request_keyframe(mid);
                    }
                }
                ClientOutput::KeyframeRequest(mid, rid) => {
                    self.attached(mid, |attachment| attachment.request_keyframe(rid));
                }
                ClientOutput::TargetBitrate(mid, rid, target) => {
                    self.attached(mid, |attachment| attachment.set_target(rid, target));
                }
                ClientOutput::Stats(stats) => self.stats = stats,
            }
        }
    }

    /// Returns what the tracks of a stream have sent and received so far.
    pub(crate) fn stream_stats(&self, audio: Option<TrackId>, video: Option<TrackId>) -> WebRtcStats {
        let mut stats = WebRtcStats::default();
        let Some(peer) = &self.peer else { return stats };
        let sender = |track: Option<TrackId>| self.senders.get(&track?);
        let receiver = |track: Option<TrackId>| self.receivers.get(&track?);
        if let Some((mid, _)) = sender(audio) {
            stats.senders.audio = peer.sender_stats(*mid).get(&Rid::High).map(Into::into);
        }
        if let Some((mid, attachment)) = sender(video) {
            let encodings = peer.sender_stats(*mid).into_iter();
            let outbound =
                encodings.map(|(rid, stats)| (rid, OutboundVideoStats::new(attachment.codec(), &stats)));
            stats.senders.video = outbound.collect();
        }
        if let Some((mid, _)) = receiver(audio) {
            stats.receivers.audio = Some((&peer.receiver_stats(*mid)).into());
        }
        if let Some((mid, feed)) = receiver(video) {
            let dropped = feed.report().frames_dropped;
            stats.receivers.video = Some(InboundVideoStats::new(&peer.receiver_stats(*mid), dropped));
        }
        stats
    }

    fn attached(&self, mid: Mid, tell: impl FnOnce(&Attachment)) {
        if let Some((_, attachment)) = self.senders.values().find(|(section, _)| *section == mid) {
            tell(attachment);
        }
    }

    /// Makes an address known at which the server may reach us from now on.
    pub(crate) fn add_address(&mut self, address: SocketAddr) {
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
            if let Some(peer) = &mut self.peer {
                peer.add_address(address);
            }
        }
    }

    fn create_offer(&mut self, offer: OfferId, counts: [u16; 3], restart: bool, now: Instant) {
        let peer = self.peer.get_or_insert_with(|| ClientPeer::new(&self.config, &self.addresses, now));
        let [audio, video, slots] = counts.map(usize::from);
        let Some(made) = peer.create_offer(audio, video, slots, restart) else {
            return self.notices.push_back(MediaNotice::Failed);
        };
        let Offer { sdp, audio_senders, video_senders, slots } = made;
        self.video_slots = slots.iter().map(|(_, video)| *video).collect();
        let slots = slots.into_iter().map(|(audio, video)| SlotMids { audio, video }).collect();
        self.notices.push_back(MediaNotice::Offered { offer, sdp, audio_senders, video_senders, slots });
    }

    fn open_receiver(&mut self, id: TrackId, mid: Mid) {
        let kind = if self.video_slots.contains(&mid) { MediaKind::Video } else { MediaKind::Audio };
        let (track, feed) = RemoteTrack::new(id, kind);
        self.opened.insert(id, track);
        self.receivers.insert(id, (mid, feed));
        if let Some(peer) = &mut self.peer {
            peer.open_receiver(mid);
        }
    }

    fn close_receiver(&mut self, track: TrackId) {
        self.opened.remove(&track);
        let Some((mid, _)) = self.receivers.remove(&track) else { return };
        let is_reused = self.receivers.values().any(|(section, _)| *section == mid);
        if let Some(peer) = self.peer.as_mut().filter(|_| !is_reused) {
            peer.close_receiver(mid);
        }
    }

    /// Speaks to the sender of a track.
    fn with_sender(&mut self, track: TrackId, tell: impl FnOnce(&mut ClientPeer, Mid, &Attachment)) {
        if let (Some(peer), Some((mid, attachment))) = (&mut self.peer, self.senders.get(&track)) {
            tell(peer, *mid, attachment);
        }
    }
}

impl MediaTransport for Transport {
    fn handle_command(&mut self, command: MediaCommand, now: Instant) {
        match command {
            MediaCommand::CreateOffer { offer, audio_senders, video_senders, slots, restart } => {
                self.create_offer(offer, [audio_senders, video_senders, slots], restart, now);
            }
            MediaCommand::AcceptAnswer { offer, sdp } => {
                let accepted = self.peer.as_mut().map(|peer| peer.accept_answer(&sdp));
                let notice = match accepted {
                    Some(Ok(())) => MediaNotice::Negotiated { offer },
                    Some(Err(_)) | None => MediaNotice::Failed,
                };
                self.notices.push_back(notice);
            }
            MediaCommand::OpenSender { track, mid, codec, stream, simulcast } => {
                // Whatever was sent on this section before is sent no more.
                self.senders.retain(|_, (section, _)| *section != mid);
                let (Some(peer), Some(local)) = (&mut self.peer, self.tracks.get(&track)) else { return };
                match peer.open_sender(mid, codec, &stream, simulcast) {
                    Ok(first_timestamp) => {
                        self.senders.insert(track, (mid, Attachment::new(local.clone(), self.wake.clone())));
                        self.notices.push_back(MediaNotice::SenderOpened { track, first_timestamp });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "track cannot be sent");
                        self.notices.push_back(MediaNotice::Failed);
                    }
                }
            }
            MediaCommand::SetActive { track, active } => {
                self.with_sender(track, |peer, mid, _| peer.set_active(mid, active));
            }
            MediaCommand::SetPaused { track, rid, paused } => {
                self.with_sender(track, |peer, mid, attachment| {
                    attachment.set_paused(rid, paused);
                    peer.set_paused(mid, rid, paused);
                });
            }
            MediaCommand::CloseSender { track } => {
                self.with_sender(track, |peer, mid, _| peer.close_sender(mid));
                self.senders.remove(&track);
                self.tracks.remove(&track);
            }
            MediaCommand::OpenReceiver { track, mid } => self.open_receiver(track, mid),
            MediaCommand::BindReceiver { track, codec, first_sequence, first_timestamp } => {
                if let (Some(peer), Some((mid, _))) = (&mut self.peer, self.receivers.get(&track)) {
                    peer.bind_receiver(*mid, codec, first_sequence, first_timestamp);
                }
            }
            MediaCommand::CloseReceiver { track } => self.close_receiver(track),
            MediaCommand::Close => {
                let (config, addresses) = (self.config.clone(), std::mem::take(&mut self.addresses));
                *self = Self::new(config, addresses, self.wake.clone());
            }
        }
    }

    fn poll_notice(&mut self) -> Option<MediaNotice> {
        self.notices.pop_front()
    }
}
