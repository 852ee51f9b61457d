//! A participant's media without a wire: sections by number, frames as values.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use roomful_client::{MediaCommand, MediaNotice, MediaTransport};
use roomful_protocol::SlotMids;
use roomful_sfu::SourcePacket;
use roomful_state::TrackId;
use roomful_types::{Codec, MediaKind, Mid, PassedExtensions, Rid};

use super::super::frames::{self, Packet, Tag};

/// The transport of one participant.
#[derive(Debug, Default)]
pub(crate) struct FakedTransport {
    counts: [u16; 3],
    is_connected: bool,
    senders: BTreeMap<TrackId, Sender>,
    /// Numbers live as long as a section, whoever sends on it.
    numbers: BTreeMap<(Mid, Rid), u64>,
    timestamps: BTreeMap<Mid, u32>,
    receivers: BTreeMap<Mid, Receiver>,
    notices: VecDeque<MediaNotice>,
    /// Frames that were kept until it was known whose they are.
    shown: Vec<(TrackId, Packet)>,
}

#[derive(Debug)]
struct Sender {
    mid: Mid,
    codec: Codec,
    encodings: BTreeMap<Rid, Encoding>,
    is_active: bool,
}

#[derive(Debug)]
struct Encoding {
    is_paused: bool,
    needs_keyframe: bool,
}

#[derive(Debug)]
struct Receiver {
    track: TrackId,
    first_sequence: Option<u16>,
    held: Vec<Packet>,
    /// Whether everything is left out up to the next key frame, after a loss.
    is_broken: bool,
    newest: Option<u64>,
    is_video: bool,
}

/// Packets kept before it is known whose they are.
const HELD_MAX: usize = 512;

impl FakedTransport {
    pub(super) fn has_senders(&self, kind: MediaKind) -> bool {
        self.senders.values().any(|sender| sender.codec.kind() == kind)
    }

    pub(crate) fn keyframe_requested(&mut self, mid: Mid, rid: Rid) {
        let sender = self.senders.values_mut().find(|sender| sender.mid == mid);
        if let Some(encoding) = sender.and_then(|sender| sender.encodings.get_mut(&rid)) {
            encoding.needs_keyframe = true;
        }
    }

    /// Returns the frames of one kind that are sent now.
    pub(crate) fn frames(
        &mut self,
        kind: MediaKind,
        tags: &BTreeMap<TrackId, Tag>,
    ) -> Vec<(Mid, Rid, SourcePacket)> {
        let mut packets = Vec::new();
        for (track, sender) in self.senders.iter_mut().filter(|(_, sender)| sender.codec.kind() == kind) {
            let step = if kind == MediaKind::Audio { 960 } else { 3000 };
            let timestamp = self.timestamps.entry(sender.mid).or_default();
            *timestamp = timestamp.wrapping_add(step);
            for (rid, encoding) in &mut sender.encodings {
                if !sender.is_active || encoding.is_paused {
                    continue;
                }
                let is_keyframe = std::mem::take(&mut encoding.needs_keyframe) || kind == MediaKind::Audio;
                let audio_level = (kind == MediaKind::Audio)
                    .then(|| frames::level(tags[track], Codec::Opus.time((*timestamp).into())));
                let sequence = self.numbers.entry((sender.mid, *rid)).or_default();
                *sequence += 1;
                packets.push((
                    sender.mid,
                    *rid,
                    SourcePacket {
                        codec: sender.codec,
                        sequence: *sequence,
                        timestamp: *timestamp,
                        marker: true,
                        payload: frames::payload(sender.codec, is_keyframe, tags[track]),
                        captured: None,
                        extensions: PassedExtensions { audio_level, ..PassedExtensions::default() },
                    },
                ));
            }
        }
        packets
    }

    /// Takes a packet in. Returns the frames that are shown now, each under its track.
    pub(crate) fn receive(&mut self, mid: Mid, packet: &Packet) -> Vec<(TrackId, Packet)> {
        let mut shown = std::mem::take(&mut self.shown);
        let Some(receiver) = self.receivers.get_mut(&mid) else { return shown };
        if receiver.first_sequence.is_none() {
            if receiver.held.len() < HELD_MAX {
                receiver.held.push(*packet);
            }
            return shown;
        }
        shown.extend(receiver.show(packet));
        shown
    }

    /// Returns whether a picture is lost and should be asked for.
    pub(crate) fn needs_keyframe(&self, mid: Mid) -> bool {
        self.receivers.get(&mid).is_some_and(|receiver| receiver.is_broken)
    }

    fn offer(&mut self, counts: [u16; 3]) -> (Vec<Mid>, Vec<Mid>, Vec<SlotMids>) {
        let mid = |letter: char, number: u16| Mid::new(&format!("{letter}{number}")).expect("short");
        self.counts = [0, 1, 2].map(|index| self.counts[index].max(counts[index]));
        let [audio, video, slots] = self.counts;
        let slot = |number| SlotMids { audio: mid('a', number), video: mid('v', number) };
        (
            (0..audio).map(|number| mid('s', number)).collect(),
            (0..video).map(|number| mid('t', number)).collect(),
            (0..slots).map(slot).collect(),
        )
    }
}

impl Receiver {
    /// Decides whether a packet is the track's, and shows it if nothing is missing before it.
    fn show(&mut self, packet: &Packet) -> Option<(TrackId, Packet)> {
        let first = self.first_sequence?;
        if (packet.sequence as u16).wrapping_sub(first).cast_signed() < 0 {
            return None;
        }
        let expected = self.newest.is_none_or(|newest| packet.sequence == newest + 1);
        if self.newest.is_some_and(|newest| packet.sequence <= newest) {
            return None;
        }
        self.newest = Some(packet.sequence);
        if self.is_video {
            self.is_broken = !packet.is_keyframe && (self.is_broken || !expected);
        }
        (!self.is_broken).then_some((self.track, *packet))
    }
}

impl MediaTransport for FakedTransport {
    fn handle_command(&mut self, command: MediaCommand, _: Instant) {
        match command {
            MediaCommand::CreateOffer { offer, audio_senders, video_senders, slots, .. } => {
                let (audio_senders, video_senders, slots) = self.offer([audio_senders, video_senders, slots]);
                let sdp = "faked".to_owned();
                self.notices.push_back(MediaNotice::Offered {
                    offer,
                    sdp,
                    audio_senders,
                    video_senders,
                    slots,
                });
            }
            MediaCommand::AcceptAnswer { offer, .. } => {
                self.notices.push_back(MediaNotice::Negotiated { offer });
                if !std::mem::replace(&mut self.is_connected, true) {
                    self.notices.push_back(MediaNotice::Connected);
                }
            }
            MediaCommand::OpenSender { track, mid, codec, simulcast, .. } => {
                self.senders.retain(|_, sender| sender.mid != mid);
                let rids: &[Rid] = if simulcast { &Rid::ALL } else { &[Rid::High] };
                let encoding = |rid: &Rid| (*rid, Encoding { is_paused: false, needs_keyframe: true });
                let encodings = rids.iter().map(encoding).collect();
                self.senders.insert(track, Sender { mid, codec, encodings, is_active: false });
                // Behind everything that was sent there.
                let timestamp = self.timestamps.entry(mid).or_default();
                *timestamp = timestamp.wrapping_add(1);
                self.notices.push_back(MediaNotice::SenderOpened { track, first_timestamp: *timestamp });
            }
            MediaCommand::SetActive { track, active } => {
                if let Some(sender) = self.senders.get_mut(&track) {
                    sender.is_active = active;
                    sender.encodings.values_mut().for_each(|encoding| encoding.needs_keyframe |= !active);
                }
            }
            MediaCommand::SetPaused { track, rid, paused } => {
                let sender = self.senders.get_mut(&track);
                if let Some(encoding) = sender.and_then(|sender| sender.encodings.get_mut(&rid)) {
                    encoding.is_paused = paused;
                    encoding.needs_keyframe |= paused;
                }
            }
            MediaCommand::CloseSender { track } => {
                self.senders.remove(&track);
            }
            MediaCommand::OpenReceiver { track, mid } => {
                let is_video = mid.as_str().starts_with('v');
                let (first_sequence, held, newest) = (None, Vec::new(), None);
                self.receivers.insert(
                    mid,
                    Receiver { track, first_sequence, held, is_broken: false, newest, is_video },
                );
            }
            MediaCommand::BindReceiver { track, first_sequence, .. } => {
                let receiver = self.receivers.values_mut().find(|receiver| receiver.track == track);
                if let Some(receiver) = receiver {
                    let held = std::mem::take(&mut receiver.held);
                    if receiver.first_sequence.is_none() {
                        receiver.first_sequence = Some(first_sequence);
                        self.shown.extend(held.iter().filter_map(|packet| receiver.show(packet)));
                    }
                }
            }
            MediaCommand::CloseReceiver { track } => {
                self.receivers.retain(|_, receiver| receiver.track != track)
            }
            MediaCommand::Close => *self = Self::default(),
        }
    }

    fn poll_notice(&mut self) -> Option<MediaNotice> {
        self.notices.pop_front()
    }
}
