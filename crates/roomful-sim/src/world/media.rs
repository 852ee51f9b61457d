//! What passes between participants and server besides signalling: frames as values, or datagrams.

use std::time::Duration;

use roomful_media::Transmit;
use roomful_shard::Datagram;
use roomful_state::TrackId;
use roomful_types::{MediaKind, Mid, Rid};

use super::{
    Happening, World,
    frames::{self, Tag},
    transport::Way,
    wire::{Rtp, Stream},
};
use crate::{Input, MediaInput, MediaOutput};

/// How long frames may still come after the server has stopped granting them: what is on its way and in queues.
const STOPS_WITHIN: Duration = Duration::from_secs(2);

/// Returns how long a datagram is taken to be: signatures are of any length, so messages of DTLS (RFC 7983 §7) count as long as they may be.
const fn size_on_wire(bytes: &[u8]) -> usize {
    match bytes {
        [20..=63, ..] => 1200,
        _ => bytes.len(),
    }
}

impl World {
    /// The server hands faked media out.
    pub(super) fn on_media(&mut self, output: MediaOutput) {
        match output {
            MediaOutput::Packet(peer, mid, packet) => {
                // What the engine has answered by now is in force by now.
                self.model.observe(&mut self.server);
                let tag = frames::tag_of(&packet.payload);
                let owner = self.tags.get(tag);
                if let Err(why) = self.model.grants(peer, owner) {
                    panic!("media of {owner:?} goes to {peer} {why}");
                }
                let Some(node) = self.node_at(peer) else { return };
                if self.parameters.link.duplicate == 0.0 {
                    // What comes twice is sorted out by SRTP, which faked media has not.
                    self.wire.note(node, Stream::Faked(peer, mid), packet.sequence as u16);
                }
                let path = &mut self.paths[node];
                if path.is_cut {
                    return;
                }
                let bytes = packet.payload.len() + 40;
                for at in path.down.send(bytes, self.now).into_iter().flatten() {
                    let arrived = frames::Packet::of(&packet);
                    self.timeline.put(at, Happening::MediaDown(node, mid, arrived));
                }
            }
            MediaOutput::KeyframeRequest(peer, mid, rid) => {
                let Some(node) = self.node_at(peer).filter(|node| !self.paths[*node].is_cut) else { return };
                for at in self.paths[node].down.send(60, self.now).into_iter().flatten() {
                    self.timeline.put(at, Happening::KeyframeDown(node, mid, rid));
                }
            }
            MediaOutput::Notice(_) | MediaOutput::Transmit(_) => {}
        }
    }

    /// A faked packet arrives at a participant.
    pub(super) fn deliver(&mut self, index: usize, mid: Mid, packet: &frames::Packet) {
        let Way::Faked(faked) = &mut self.nodes[index].transport.way else { return };
        let delivered = faked.receive(mid, packet);
        let needs_keyframe = faked.needs_keyframe(mid);
        for (track, packet) in delivered {
            self.show(index, track, packet.tag);
        }
        if needs_keyframe && let Some(peer) = self.nodes[index].id {
            self.media_up(index, MediaInput::KeyframeRequest(peer, mid));
        }
    }

    /// A participant is asked for a key frame of its faked media.
    pub(super) fn keyframe_down(&mut self, index: usize, mid: Mid, rid: Rid) {
        if let Way::Faked(faked) = &mut self.nodes[index].transport.way {
            faked.keyframe_requested(mid, rid);
        }
    }

    fn media_up(&mut self, index: usize, input: MediaInput) {
        if self.paths[index].is_cut {
            return;
        }
        let bytes = match &input {
            MediaInput::Packet(.., packet) => packet.payload.len() + 40,
            MediaInput::KeyframeRequest(..) => 60,
        };
        for at in self.paths[index].up.send(bytes, self.now).into_iter().flatten() {
            self.timeline.put(at, Happening::MediaUp(input.clone()));
        }
    }

    /// Sends the frames of one kind that are due, and comes back for the next ones while there are tracks.
    pub(super) fn send_frames(&mut self, index: usize, kind: MediaKind) {
        let Some(peer) = self.nodes[index].id else { return self.nodes[index].transport.stopped(kind) };
        for (mid, rid, packet) in self.nodes[index].transport.send_frames(kind, self.now) {
            self.media_up(index, MediaInput::Packet(peer, mid, rid, packet));
        }
        if matches!(self.nodes[index].transport.way, Way::Real(_)) {
            self.turn(index);
        }
        if self.nodes[index].transport.has_senders(kind) {
            let interval = match kind {
                MediaKind::Audio => Duration::from_millis(20),
                MediaKind::Video => Duration::from_micros(33_333),
            };
            self.timeline.put(self.now + interval, Happening::Frames(index, kind));
        } else {
            self.nodes[index].transport.stopped(kind);
        }
    }

    /// The server sends a datagram.
    pub(super) fn on_transmit(&mut self, datagram: Transmit) {
        let Some(index) = self.paths.iter().position(|path| path.nat.owns(datagram.destination)) else {
            return;
        };
        if let Some(packet) = Rtp::read(&datagram.bytes) {
            if let Err(why) = self.model.grants_source(packet.ssrc) {
                panic!("media leaves for participant {index} {why}");
            }
            self.wire.note_rtp(index, &packet, self.model.repaired_by(packet.ssrc), self.now);
        }
        let path = &mut self.paths[index];
        if path.is_cut {
            return;
        }
        for at in path.down.send(size_on_wire(&datagram.bytes), self.now).into_iter().flatten() {
            self.timeline.put(at, Happening::DatagramDown(index, datagram.clone()));
        }
    }

    /// A datagram arrives at the server.
    pub(super) fn datagram_up(&mut self, datagram: &Transmit) {
        let Transmit { source, destination, bytes } = datagram;
        let datagram = Datagram { source: *source, destination: *destination, bytes };
        self.server.handle_input(Input::Datagram(datagram), self.now);
    }

    /// A datagram arrives at a participant.
    pub(super) fn datagram_down(&mut self, index: usize, datagram: &Transmit) {
        let Way::Real(real) = &mut self.nodes[index].transport.way else { return };
        let Transmit { source, destination, bytes } = datagram;
        let inside = self.paths[index].nat.incoming(*source, *destination, self.now);
        let Some(destination) = inside else { return };
        let datagram = Datagram { source: *source, destination, bytes };
        real.handle_datagram(datagram, self.now);
        self.turn(index);
    }

    /// Lets time pass for a participant's media.
    pub(super) fn pass_time(&mut self, index: usize) {
        if let Way::Real(real) = &mut self.nodes[index].transport.way {
            real.handle_timeout(self.now);
        }
    }

    /// Sends a participant's datagrams.
    pub(super) fn transmit(&mut self, index: usize) {
        let Way::Real(real) = &mut self.nodes[index].transport.way else { return };
        let path = &mut self.paths[index];
        while let Some(mut datagram) = real.poll_transmit() {
            datagram.source = path.nat.outgoing(datagram.source, datagram.destination, self.now);
            if path.is_cut {
                continue;
            }
            for at in path.up.send(size_on_wire(&datagram.bytes), self.now).into_iter().flatten() {
                self.timeline.put(at, Happening::DatagramUp(datagram.clone()));
            }
        }
    }

    /// Looks at the frames of real media that a participant is shown.
    pub(super) fn look_at_shown(&mut self, index: usize) {
        while let Way::Real(real) = &mut self.nodes[index].transport.way
            && let Some((track, tag)) = real.poll_shown()
        {
            self.show(index, track, tag);
            self.check_stopping(index, tag);
        }
    }

    /// A frame is shown to a participant.
    fn show(&mut self, index: usize, track: TrackId, tag: Tag) {
        self.frames_delivered += 1;
        self.nodes[index].watch.on_frame(track, self.tags.get(tag), self.now);
    }

    /// What nobody grants any more stops within a bound where it is shown, too: what had left before is on its way for a while.
    fn check_stopping(&mut self, index: usize, tag: Tag) {
        let Some(peer) = self.nodes[index].id else { return };
        if self.model.grants(peer, self.tags.get(tag)).is_ok() {
            self.refused.remove(&(index, tag));
            return;
        }
        let (since, latest) = self.refused.entry((index, tag)).or_insert((self.now, self.now));
        // After a pause it is another decision that it comes late after.
        if self.now - *latest > STOPS_WITHIN / 4 {
            *since = self.now;
        }
        *latest = self.now;
        assert!(self.now - *since < STOPS_WITHIN, "{:?} goes on to {peer}", self.tags.get(tag));
    }
}
