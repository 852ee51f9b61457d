//! A participant's media as it is: ICE, DTLS and RTP by `roomful-media`, in datagrams.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use roomful_client::{MediaCommand, MediaNotice, MediaTransport};
use roomful_media::{ClientConfig, ClientOutput, ClientPeer, Datagram, Delivery, Offer, SentFrame, Transmit};
use roomful_protocol::{OfferId, SlotMids};
use roomful_state::TrackId;
use roomful_types::{Bitrate, Codec, MediaKind, Mid, Rid};

use super::super::frames::{self, Tag};

/// The transport of one participant: one peer connection after another.
#[derive(Debug)]
pub(crate) struct RealTransport {
    address: SocketAddr,
    start: Instant,
    peer: Option<ClientPeer>,
    senders: BTreeMap<TrackId, Sender>,
    receivers: BTreeMap<TrackId, Mid>,
    notices: VecDeque<MediaNotice>,
    outgoing: VecDeque<Transmit>,
    shown: VecDeque<(TrackId, Tag)>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Sender {
    mid: Mid,
    codec: Codec,
    encodings: BTreeMap<Rid, Encoding>,
}

#[derive(Debug)]
struct Encoding {
    needs_keyframe: bool,
    target: Bitrate,
}

impl RealTransport {
    pub(super) const fn new(address: SocketAddr, now: Instant) -> Self {
        Self {
            address,
            start: now,
            peer: None,
            senders: BTreeMap::new(),
            receivers: BTreeMap::new(),
            notices: VecDeque::new(),
            outgoing: VecDeque::new(),
            shown: VecDeque::new(),
            deadline: None,
        }
    }

    pub(super) fn has_senders(&self, kind: MediaKind) -> bool {
        self.senders.values().any(|sender| sender.codec.kind() == kind)
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Sends the frames of one kind that are due now.
    pub(crate) fn send_frames(&mut self, kind: MediaKind, tags: &BTreeMap<TrackId, Tag>, now: Instant) {
        let media_time = now - self.start;
        let mut due = Vec::new();
        for (track, sender) in self.senders.iter().filter(|(_, sender)| sender.codec.kind() == kind) {
            for (rid, encoding) in &sender.encodings {
                let is_keyframe = encoding.needs_keyframe || kind == MediaKind::Audio;
                let data = frames::frame(sender.codec, is_keyframe, tags[track], encoding.target);
                let audio_level = (kind == MediaKind::Audio).then(|| frames::level(tags[track], media_time));
                due.push((sender.mid, *rid, SentFrame { data, media_time, is_keyframe, audio_level }));
            }
        }
        for (mid, rid, frame) in due {
            let Some(peer) = &mut self.peer else { return };
            let delivery = peer.send(mid, rid, &frame, now).expect("a frame of an open section");
            if delivery == Delivery::Sent
                && let Some(encoding) = self.encoding(mid, rid)
            {
                encoding.needs_keyframe = false;
            }
            self.drain();
        }
    }

    pub(crate) fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        if let Some(peer) = &mut self.peer {
            peer.handle_datagram(datagram, now);
            self.drain();
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(peer) = self.peer.as_mut().filter(|_| self.deadline.is_some_and(|at| at <= now)) {
            peer.handle_timeout(now);
            self.drain();
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outgoing.pop_front()
    }

    /// Returns the next frame that is shown, and under which track.
    pub(crate) fn poll_shown(&mut self) -> Option<(TrackId, Tag)> {
        self.shown.pop_front()
    }

    /// Takes out all that the peer has.
    fn drain(&mut self) {
        loop {
            let Some(peer) = &mut self.peer else { return };
            match peer.poll_output() {
                ClientOutput::Wait(until) => {
                    self.deadline = Some(until);
                    return;
                }
                ClientOutput::Transmit(transmit) => self.outgoing.push_back(transmit),
                ClientOutput::Connected => self.notices.push_back(MediaNotice::Connected),
                ClientOutput::Disconnected => self.notices.push_back(MediaNotice::Disconnected),
                ClientOutput::Frame(mid, frame) => {
                    let track = self.receivers.iter().find(|(_, section)| **section == mid);
                    if let Some((track, _)) = track {
                        self.shown.push_back((*track, frames::tag_of_frame(&frame.data)));
                    }
                }
                ClientOutput::KeyframeRequest(mid, rid) => {
                    if let Some(encoding) = self.encoding(mid, rid) {
                        encoding.needs_keyframe = true;
                    }
                }
                ClientOutput::TargetBitrate(mid, rid, target) => {
                    if let Some(encoding) = self.encoding(mid, rid) {
                        encoding.target = target;
                    }
                }
                ClientOutput::Stats(_) => {}
            }
        }
    }

    fn encoding(&mut self, mid: Mid, rid: Rid) -> Option<&mut Encoding> {
        self.senders.values_mut().find(|sender| sender.mid == mid)?.encodings.get_mut(&rid)
    }

    fn with_sender(&mut self, track: TrackId, tell: impl FnOnce(&mut ClientPeer, Mid)) {
        if let (Some(peer), Some(sender)) = (&mut self.peer, self.senders.get(&track)) {
            tell(peer, sender.mid);
            self.drain();
        }
    }

    fn create_offer(&mut self, offer: OfferId, counts: [u16; 3], restart: bool, now: Instant) {
        let address = self.address;
        let peer =
            self.peer.get_or_insert_with(|| ClientPeer::new(&ClientConfig::default(), &[address], now));
        let [audio, video, slots] = counts.map(usize::from);
        let notice = match peer.create_offer(audio, video, slots, restart) {
            Some(Offer { sdp, audio_senders, video_senders, slots }) => {
                let slots = slots.into_iter().map(|(audio, video)| SlotMids { audio, video }).collect();
                MediaNotice::Offered { offer, sdp, audio_senders, video_senders, slots }
            }
            None => MediaNotice::Failed,
        };
        self.notices.push_back(notice);
        self.drain();
    }
}

impl MediaTransport for RealTransport {
    fn handle_command(&mut self, command: MediaCommand, now: Instant) {
        match command {
            MediaCommand::CreateOffer { offer, audio_senders, video_senders, slots, restart } => {
                self.create_offer(offer, [audio_senders, video_senders, slots], restart, now);
            }
            MediaCommand::AcceptAnswer { offer, sdp } => {
                let accepted = self.peer.as_mut().map(|peer| peer.accept_answer(&sdp));
                self.notices.push_back(match accepted {
                    Some(Ok(())) => MediaNotice::Negotiated { offer },
                    Some(Err(_)) | None => MediaNotice::Failed,
                });
                self.drain();
            }
            MediaCommand::OpenSender { track, mid, codec, stream, simulcast } => {
                self.senders.retain(|_, sender| sender.mid != mid);
                let Some(peer) = &mut self.peer else { return };
                let opened = peer.open_sender(mid, codec, &stream, simulcast);
                let first_timestamp = opened.expect("the engine opens what was negotiated");
                let rids: &[Rid] = if simulcast { &Rid::ALL } else { &[Rid::High] };
                let encoding = || Encoding { needs_keyframe: true, target: Bitrate::from_kbps(2500) };
                let encodings = rids.iter().map(|rid| (*rid, encoding())).collect();
                self.senders.insert(track, Sender { mid, codec, encodings });
                self.notices.push_back(MediaNotice::SenderOpened { track, first_timestamp });
                self.drain();
            }
            MediaCommand::SetActive { track, active } => {
                self.with_sender(track, |peer, mid| peer.set_active(mid, active));
            }
            MediaCommand::SetPaused { track, rid, paused } => {
                self.with_sender(track, |peer, mid| peer.set_paused(mid, rid, paused));
            }
            MediaCommand::CloseSender { track } => {
                self.with_sender(track, |peer, mid| peer.close_sender(mid));
                self.senders.remove(&track);
            }
            MediaCommand::OpenReceiver { track, mid } => {
                self.receivers.retain(|_, section| *section != mid);
                self.receivers.insert(track, mid);
                if let Some(peer) = &mut self.peer {
                    peer.open_receiver(mid);
                }
            }
            MediaCommand::BindReceiver { track, codec, first_sequence, first_timestamp } => {
                if let (Some(peer), Some(mid)) = (&mut self.peer, self.receivers.get(&track)) {
                    peer.bind_receiver(*mid, codec, first_sequence, first_timestamp);
                    self.drain();
                }
            }
            MediaCommand::CloseReceiver { track } => {
                if let (Some(peer), Some(mid)) = (&mut self.peer, self.receivers.remove(&track)) {
                    peer.close_receiver(mid);
                }
            }
            MediaCommand::Close => *self = Self::new(self.address, self.start),
        }
    }

    fn poll_notice(&mut self) -> Option<MediaNotice> {
        self.notices.pop_front()
    }
}
