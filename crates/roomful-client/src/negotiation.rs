//! Media sections: how many there are, who uses which, and the offers that make more.

use std::time::{Duration, Instant};

use roomful_protocol::{OfferId, OfferRequest, SlotMids, limits};
use roomful_state::{Action, Fault, TrackId};
use roomful_types::{MediaKind, Mid};

use crate::{client::Client, command::CommandError, media::MediaCommand, request::Request};

/// The sections of one peer connection.
#[derive(Debug, Default)]
pub(crate) struct Negotiation {
    is_connected: bool,
    /// Whether the next offer looks for a new path.
    needs_restart: bool,
    /// When the path that is looked for should have been found.
    restart_at: Option<Instant>,
    last_offer: u32,
    in_flight: Option<Offer>,
    /// What is asked for, at least.
    wanted: Counts,
    audio_senders: Vec<Section>,
    video_senders: Vec<Section>,
    pub(crate) slots: Vec<Slot>,
}

#[derive(Debug)]
struct Offer {
    id: OfferId,
    sections: Option<Sections>,
}

#[derive(Debug)]
struct Sections {
    audio_senders: Vec<Mid>,
    video_senders: Vec<Mid>,
    slots: Vec<SlotMids>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    audio_senders: u16,
    video_senders: u16,
    slots: u16,
}

#[derive(Debug)]
struct Section {
    mid: Mid,
    user: Option<TrackId>,
}

/// One pair of receiving sections.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) mids: SlotMids,
    pub(crate) is_used: bool,
}

impl Negotiation {
    /// Returns whether media can flow.
    pub(crate) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Returns when a new path is looked for again.
    pub(crate) const fn restart_at(&self) -> Option<Instant> {
        self.restart_at
    }

    /// Takes a free sending section, or asks for one more.
    pub(crate) fn take_sender(&mut self, kind: MediaKind, track: TrackId) -> Option<Mid> {
        let (sections, wanted) = match kind {
            MediaKind::Audio => (&mut self.audio_senders, &mut self.wanted.audio_senders),
            MediaKind::Video => (&mut self.video_senders, &mut self.wanted.video_senders),
        };
        let used = sections.iter().filter(|section| section.user.is_some()).count();
        *wanted = (*wanted).max(used as u16 + 1);
        let free = sections.iter_mut().find(|section| section.user.is_none())?;
        free.user = Some(track);
        Some(free.mid)
    }

    /// Hands the section of one track to another.
    pub(crate) fn hand_over(&mut self, from: TrackId, to: TrackId) -> Option<Mid> {
        let mut sections = self.audio_senders.iter_mut().chain(&mut self.video_senders);
        let section = sections.find(|section| section.user == Some(from))?;
        section.user = Some(to);
        Some(section.mid)
    }

    pub(crate) fn release_sender(&mut self, track: TrackId) {
        for section in self.audio_senders.iter_mut().chain(&mut self.video_senders) {
            section.user = section.user.filter(|user| *user != track);
        }
    }

    /// Takes the free slot of the lowest index.
    pub(crate) fn take_slot(&mut self) -> Option<u16> {
        let index = self.slots.iter().position(|slot| !slot.is_used)?;
        self.slots[index].is_used = true;
        Some(index as u16)
    }

    /// Asks for more slots. Doubling keeps the number of offers small while a page of subscriptions grows.
    pub(crate) fn want_slots(&mut self) {
        let more = (self.slots.len() * 2).clamp(1, limits::SLOTS_MAX) as u16;
        self.wanted.slots = self.wanted.slots.max(more);
    }

    pub(crate) fn release_slot(&mut self, slot: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
            slot.is_used = false;
        }
    }

    /// Panics when there are more slots than may be.
    pub(crate) fn check_invariants(&self) {
        assert!(self.slots.len() <= limits::SLOTS_MAX, "slots: {}", self.slots.len());
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_connected && self.in_flight.is_none() && self.counts() == Counts::default()
    }

    /// Returns how many sections and slots are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> (usize, usize) {
        let senders = self.audio_senders.iter().chain(&self.video_senders);
        let senders = senders.filter(|section| section.user.is_none()).count();
        (senders, self.slots.iter().filter(|slot| !slot.is_used).count())
    }

    /// Returns how many sections and slots there are.
    #[cfg(test)]
    pub(crate) const fn all(&self) -> (usize, usize) {
        (self.audio_senders.len() + self.video_senders.len(), self.slots.len())
    }

    fn counts(&self) -> Counts {
        Counts {
            audio_senders: self.audio_senders.len() as u16,
            video_senders: self.video_senders.len() as u16,
            slots: self.slots.len() as u16,
        }
    }
}

impl Counts {
    fn max(self, other: Self) -> Self {
        Self {
            audio_senders: self.audio_senders.max(other.audio_senders),
            video_senders: self.video_senders.max(other.video_senders),
            slots: self.slots.max(other.slots),
        }
    }
}

impl Client {
    /// Begins the first offer, so that media is up before it is needed.
    pub(crate) fn start_negotiation(&mut self) {
        let slots = self.config.initial_slots.clamp(1, limits::SLOTS_MAX as u16);
        self.negotiation.wanted = Counts { audio_senders: 1, video_senders: 1, slots };
        self.negotiate();
    }

    /// Makes an offer when more is wanted than there is and none is under way.
    pub(crate) fn negotiate(&mut self) {
        let negotiation = &mut self.negotiation;
        let counts = negotiation.wanted.max(negotiation.counts());
        let is_needed = negotiation.needs_restart || counts != negotiation.counts();
        if negotiation.in_flight.is_some() || !is_needed || !self.link.is_up() {
            return;
        }
        let restart = std::mem::take(&mut negotiation.needs_restart);
        if restart {
            negotiation.restart_at = Some(self.now + RESTART_TIMEOUT);
        }
        negotiation.last_offer += 1;
        let id = OfferId(negotiation.last_offer);
        negotiation.in_flight = Some(Offer { id, sections: None });
        let Counts { audio_senders, video_senders, slots } = counts;
        self.media(MediaCommand::CreateOffer { offer: id, audio_senders, video_senders, slots, restart });
    }

    pub(crate) fn on_offered(
        &mut self,
        id: OfferId,
        sdp: String,
        audio_senders: Vec<Mid>,
        video_senders: Vec<Mid>,
        slots: Vec<SlotMids>,
    ) {
        let Some(offer) = self.negotiation.in_flight.as_mut().filter(|offer| offer.id == id) else { return };
        offer.sections = Some(Sections { audio_senders, video_senders, slots: slots.clone() });
        self.request(Request::Offer, |request| OfferRequest { request, offer: id, sdp, slots }.into());
    }

    pub(crate) fn on_answer(&mut self, offer: OfferId, sdp: String) {
        if self.negotiation.in_flight.as_ref().is_some_and(|pending| pending.id == offer) {
            self.media(MediaCommand::AcceptAnswer { offer, sdp });
        }
    }

    pub(crate) fn on_negotiated(&mut self, id: OfferId) {
        let is_this = |offer: &mut Offer| offer.id == id;
        let Some(offer) = self.negotiation.in_flight.take_if(is_this) else { return };
        let Some(sections) = offer.sections else { return };
        add_sections(&mut self.negotiation.audio_senders, &sections.audio_senders);
        add_sections(&mut self.negotiation.video_senders, &sections.video_senders);
        let known = self.negotiation.slots.len();
        let new = sections.slots.iter().skip(known).map(|mids| Slot { mids: *mids, is_used: false });
        self.negotiation.slots.extend(new);
        self.advance();
    }

    pub(crate) fn on_media_connected(&mut self) {
        self.negotiation.is_connected = true;
        self.negotiation.restart_at = None;
        self.advance();
    }

    /// The path is lost. What waits for it waits on: another one is looked for.
    pub(crate) fn on_media_disconnected(&mut self) {
        if std::mem::take(&mut self.negotiation.is_connected) {
            self.apply(Action::Faulted { fault: Fault::MediaLost });
        }
        self.negotiation.needs_restart = true;
        self.negotiate();
    }

    /// Looks for another path when the last one that was looked for was not found.
    pub(crate) fn check_media_path(&mut self) {
        if self.negotiation.restart_at.take_if(|at| *at <= self.now).is_some() {
            self.on_media_disconnected();
        }
    }

    /// Fails everything that waits for media.
    pub(crate) fn on_media_failed(&mut self) {
        self.negotiation.is_connected = false;
        self.fail_negotiation(CommandError::MediaUnreachable);
    }

    /// Gives the offer under way up, and whatever waits for sections.
    pub(crate) fn fail_negotiation(&mut self, error: CommandError) {
        let is_awaited = self.publications.await_media() || self.subscriptions.await_media();
        if self.negotiation.in_flight.take().is_some() && !is_awaited {
            self.apply(Action::Faulted { fault: Fault::NegotiationRefused });
        }
        self.negotiation.wanted = self.negotiation.counts();
        self.fail_waiting_publications(error);
        self.fail_waiting_subscriptions(error);
        self.advance();
    }

    /// Goes on with everything that waited for sections or for the media path.
    pub(crate) fn advance(&mut self) {
        self.advance_publications();
        self.advance_subscriptions();
        let is_awaited = self.publications.await_media() || self.subscriptions.await_media();
        if is_awaited && self.negotiation.slots.is_empty() && self.negotiation.in_flight.is_none() {
            // The first offer came to nothing, but that need not be so for ever.
            return self.start_negotiation();
        }
        self.negotiate();
    }
}

/// How long finding a path may take before it is looked for anew.
const RESTART_TIMEOUT: Duration = Duration::from_secs(5);

fn add_sections(sections: &mut Vec<Section>, mids: &[Mid]) {
    let new = mids.iter().skip(sections.len()).map(|mid| Section { mid: *mid, user: None });
    sections.extend(new.collect::<Vec<_>>());
}
