//! What moderators decided about the session of a room.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use roomful_protocol::{StreamUpdatedNotice, limits};
use roomful_types::{MediaKind, ParticipantId, StreamKey};

use crate::{
    admission::{Grant, GrantId},
    room::{Participant, Room},
    sfu::Outbox,
};

/// What moderators decided. Lasts as long as the session of the room.
#[derive(Debug, Default)]
pub(crate) struct Moderation {
    barred_grants: BTreeSet<GrantId>,
    barred_identities: BTreeSet<Arc<str>>,
    /// Who was removed and when, the latest ones.
    kicked: VecDeque<(Instant, ParticipantId)>,
    /// What is withheld: of all streams of a participant, those to come included, or of one of its streams.
    censored: BTreeMap<ParticipantId, Rules>,
    /// The same of whoever comes under an identity, or, without one, with a grant: it was withheld of somebody who did.
    censored_grants: BTreeMap<GrantId, Rules>,
    censored_identities: BTreeMap<Arc<str>, Rules>,
}

/// What is withheld: of one stream, or of all.
type Rules = BTreeSet<(Option<StreamKey>, MediaKind)>;

/// Whom a moderator means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everybody in the room but these.
    AllBut(BTreeSet<ParticipantId>),
    /// These, as far as they are in the room.
    These(BTreeSet<ParticipantId>),
}

impl Selection {
    /// Returns whether a participant is meant.
    #[must_use]
    pub fn has(&self, id: ParticipantId) -> bool {
        match self {
            Self::AllBut(excluded) => !excluded.contains(&id),
            Self::These(included) => included.contains(&id),
        }
    }
}

/// What a moderator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModerationRequest {
    /// These leave, and are not admitted again while the session lasts: neither with their grants nor under their identities.
    Kick(Selection),
    /// Media of these is withheld, or no longer.
    Censor {
        /// Whose.
        who: Selection,
        /// Of which stream; of all of theirs, those to come included, when none.
        stream: Option<StreamKey>,
        /// Which tracks.
        kind: MediaKind,
        /// Whether it is withheld.
        censored: bool,
    },
    /// Everybody leaves, and the session ends.
    EndSession,
}

/// Why a moderator's wish cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModerationError {
    /// No such session, or no longer.
    #[error("no such session is active")]
    UnknownSession,
    /// One of those who are meant is not in the room; nothing was done.
    #[error("participant {0} is not in the session")]
    UnknownParticipant(ParticipantId),
    /// One of those who are meant publishes no such stream; nothing was done.
    #[error("participant {0} publishes no such stream")]
    UnknownStream(ParticipantId),
}

impl Moderation {
    /// Keeps somebody's grants and identity out from now on.
    pub(crate) fn bar(
        &mut self,
        id: ParticipantId,
        grants: impl IntoIterator<Item = GrantId>,
        identity: Option<Arc<str>>,
        now: Instant,
    ) {
        if self.kicked.len() == limits::KICKED_MAX {
            self.kicked.pop_front();
        }
        self.kicked.push_back((now, id));
        self.barred_grants.extend(grants);
        self.barred_identities.extend(identity);
    }

    /// Who was censored stays so, also by coming again.
    pub(crate) fn on_entered(&mut self, id: ParticipantId, grant: GrantId, identity: Option<&str>) {
        let rules = match identity {
            Some(identity) => self.censored_identities.get(identity),
            None => self.censored_grants.get(&grant),
        };
        if let Some(rules) = rules {
            self.censored.insert(id, rules.clone());
        }
    }

    /// What is withheld of somebody is withheld of whoever comes with another grant of the same stay, too.
    pub(crate) fn on_admitted(&mut self, id: ParticipantId, grant: GrantId) {
        if let Some(rules) = self.censored.get(&id).filter(|rules| !rules.is_empty()) {
            self.censored_grants.entry(grant).or_default().extend(rules.iter().cloned());
        }
    }

    pub(crate) fn on_left(&mut self, id: ParticipantId) {
        self.censored.remove(&id);
    }

    /// Lets a track of somebody, and of whoever comes with the same grants or under the same identity, be withheld, or no longer.
    fn rule(&mut self, participant: &Participant, key: Option<&StreamKey>, kind: MediaKind, censored: bool) {
        let change = |rules: &mut Rules| match (censored, key) {
            (true, _) => {
                rules.insert((key.cloned(), kind));
            }
            (false, Some(key)) => {
                rules.remove(&(Some(key.clone()), kind));
            }
            (false, None) => rules.retain(|(_, ruled)| *ruled != kind),
        };
        change(self.censored.entry(participant.info.id).or_default());
        match &participant.info.identity {
            Some(identity) => change(self.censored_identities.entry(identity.clone()).or_default()),
            None => {
                for grant in participant.grants() {
                    change(self.censored_grants.entry(grant).or_default());
                }
            }
        }
        self.censored_grants.retain(|_, rules| !rules.is_empty());
        self.censored_identities.retain(|_, rules| !rules.is_empty());
    }

    /// Returns who was removed within this time before now, for those who were away.
    pub(crate) fn kicked(&self, within: Duration, now: Instant) -> impl Iterator<Item = ParticipantId> {
        let is_old = move |(at, _): &&(Instant, ParticipantId)| now.saturating_duration_since(*at) > within;
        self.kicked.iter().skip_while(is_old).map(|(_, id)| *id)
    }

    /// Returns whether nobody may come with a grant.
    pub(crate) fn bars_grant(&self, grant: GrantId) -> bool {
        self.barred_grants.contains(&grant)
    }

    /// Returns whether nobody may come with a grant or under its identity.
    pub(crate) fn is_barred(&self, grant: &Grant) -> bool {
        let identity = grant.identity.as_deref();
        self.bars_grant(grant.id)
            || identity.is_some_and(|identity| self.barred_identities.contains(identity))
    }

    pub(crate) fn is_censored(&self, id: ParticipantId, key: &StreamKey, kind: MediaKind) -> bool {
        self.censored
            .get(&id)
            .is_some_and(|all| all.contains(&(None, kind)) || all.contains(&(Some(key.clone()), kind)))
    }
}

impl Room {
    /// Returns those who are meant.
    ///
    /// # Errors
    /// [`ModerationError::UnknownParticipant`] when one of those who are named is not here.
    pub(crate) fn select(&self, who: &Selection) -> Result<Vec<ParticipantId>, ModerationError> {
        if let Selection::These(named) = who
            && let Some(absent) = named.iter().find(|id| !self.participants.contains_key(id))
        {
            return Err(ModerationError::UnknownParticipant(*absent));
        }
        Ok(self.participants.keys().copied().filter(|id| who.has(*id)).collect())
    }

    /// Withholds media, or no longer.
    pub(crate) fn censor(
        &mut self,
        who: &Selection,
        key: Option<&StreamKey>,
        kind: MediaKind,
        censored: bool,
        outbox: &mut Outbox,
    ) -> Result<(), ModerationError> {
        let selected = self.select(who)?;
        let has_stream = |id: &ParticipantId| {
            key.is_none_or(|key| self.participants.get(id).is_some_and(|one| one.streams.contains_key(key)))
        };
        if let Selection::These(_) = who
            && let Some(without) = selected.iter().find(|id| !has_stream(id))
        {
            return Err(ModerationError::UnknownStream(*without));
        }
        for id in selected {
            if let Some(participant) = self.participants.get(&id) {
                self.moderation.rule(participant, key, kind, censored);
            }
            let streams = self.participants.get(&id).map(|one| one.streams.clone()).unwrap_or_default();
            for (name, stream_id) in streams {
                if key.is_some_and(|key| *key != name) {
                    continue;
                }
                let stream = self.streams.get_mut(&stream_id);
                let track = stream.and_then(|stream| stream.track_info_mut(kind));
                let Some(track) = track.filter(|track| track.censored != censored) else { continue };
                track.censored = censored;
                let version = self.next_version();
                if let Some(stream) = self.streams.get(&stream_id).map(|stream| stream.info.clone()) {
                    outbox.send_all(self.sessions(), StreamUpdatedNotice { version, stream });
                }
                self.enable_source(stream_id, kind, outbox);
            }
        }
        Ok(())
    }
}
