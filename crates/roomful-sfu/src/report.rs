//! Reports of how networks do, to those who asked for them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use roomful_protocol::{
    DisableMetricsRequest, DoneResponse, EnableMetricsRequest, ErrorCode, NetworkMetricsNotice,
    ParticipantMetricsInfo, QualityNotice, TrackMetricsInfo, limits,
};
use roomful_types::{MediaKind, Mid, ParticipantId, StreamId};

use crate::{
    media::SectionMeasure,
    quality::{EXCELLENT, Level},
    room::{Participant, Reply, Room},
    sfu::Outbox,
};

/// What a participant wants to be told.
#[derive(Debug)]
pub(crate) struct Report {
    about: BTreeSet<ParticipantId>,
    include_streams: bool,
    interval: Duration,
    next_at: Instant,
}

/// One track between a participant and the server.
struct Way {
    stream: StreamId,
    kind: MediaKind,
    mid: Mid,
    is_outbound: bool,
    /// The rate that comes against the rate that is wanted.
    share: f64,
}

impl Room {
    pub(crate) fn enable_metrics(
        &mut self,
        id: ParticipantId,
        request: &EnableMetricsRequest,
        now: Instant,
    ) -> Reply {
        let EnableMetricsRequest { request, participants, include_streams, interval_ms } = request;
        if participants.iter().any(|one| !self.participants.contains_key(one)) {
            return Err(ErrorCode::UnknownParticipant);
        }
        let bounds = limits::METRICS_INTERVAL_MS;
        let interval = Duration::from_millis((*interval_ms).clamp(*bounds.start(), *bounds.end()).into());
        let participant = self.participants.get_mut(&id).ok_or(ErrorCode::BadRequest)?;
        // Who asks again gets no more of them for it.
        let soonest =
            participant.reported_at.map_or(now, |at| at + Duration::from_millis((*bounds.start()).into()));
        let before = participant.report.as_ref().map(|report| report.about.clone());
        let mut about = before.unwrap_or_default();
        about.extend(participants);
        if about.len() > limits::METRICS_PARTICIPANTS_MAX {
            return Err(ErrorCode::LimitReached);
        }
        participant.report =
            Some(Report { about, include_streams: *include_streams, interval, next_at: soonest.max(now) });
        Ok(DoneResponse { request: *request }.into())
    }

    pub(crate) fn disable_metrics(&mut self, id: ParticipantId, request: &DisableMetricsRequest) -> Reply {
        let participant = self.participants.get_mut(&id).ok_or(ErrorCode::BadRequest)?;
        if let (Some(report), Some(ids)) = (&mut participant.report, &request.participants) {
            report.about.retain(|one| !ids.contains(one));
        }
        let is_over = participant.report.as_ref().is_some_and(|report| report.about.is_empty());
        if is_over || request.participants.is_none() {
            participant.report = None;
        }
        Ok(DoneResponse { request: request.request }.into())
    }

    /// Returns when the next report is due.
    pub(crate) fn next_report(&self) -> Option<Instant> {
        self.participants.values().filter_map(|one| Some(one.report.as_ref()?.next_at)).min()
    }

    /// Sends the reports that are due.
    pub(crate) fn report(&mut self, now: Instant, outbox: &mut Outbox) {
        let mut due = Vec::new();
        for (id, participant) in &mut self.participants {
            if let Some(report) = participant.report.as_mut().filter(|report| report.next_at <= now) {
                report.next_at = now + report.interval;
                participant.reported_at = Some(now);
                due.push(*id);
            }
        }
        for id in due {
            let Some(participant) = self.participants.get(&id) else { continue };
            let (Some(report), Some(session)) = (&participant.report, participant.line.session()) else {
                continue;
            };
            let about = report.about.iter().filter_map(|one| self.participants.get(one));
            let all = about.map(|one| self.metrics_of(one, report.include_streams));
            for participants in in_notices(all) {
                outbox.send_all(vec![session], NetworkMetricsNotice { participants });
            }
        }
    }

    /// Nobody asks about somebody who left.
    pub(crate) fn forget_reports_of(&mut self, id: ParticipantId) {
        for participant in self.participants.values_mut() {
            if let Some(report) = &mut participant.report {
                report.about.remove(&id);
            }
            participant.report.take_if(|report| report.about.is_empty());
        }
    }

    /// Takes a measurement in, and tells its participant when a stream of its own does otherwise than before.
    pub(crate) fn on_measured(&mut self, id: ParticipantId, measure: SectionMeasure, outbox: &mut Outbox) {
        let Some(participant) = self.participants.get(&id) else { return };
        let ways = self.ways(participant);
        let is_expected = ways.iter().any(|way| way.mid == measure.mid && way.is_outbound);
        let Some(participant) = self.participants.get_mut(&id) else { return };
        participant.quality.add(measure, is_expected);
        let Some(way) = ways.iter().find(|way| way.mid == measure.mid) else { return };
        let own = ways.iter().filter(|one| one.stream == way.stream);
        let levels = own.filter_map(|one| participant.quality.level(one.mid, one.kind, one.share));
        let (Some(quality), stream_id) = (levels.min(), way.stream) else { return };
        let Some(participant) = self.participants.get_mut(&id) else { return };
        if participant.quality.tell(stream_id, quality) {
            outbox.send_all(
                participant.line.session().into_iter().collect(),
                QualityNotice { stream_id, quality },
            );
        }
    }

    fn metrics_of(&self, participant: &Participant, include_streams: bool) -> ParticipantMetricsInfo {
        let ways = self.ways(participant);
        let level = |way: &Way| participant.quality.level(way.mid, way.kind, way.share);
        let worst = ways.iter().filter_map(level).min().unwrap_or(EXCELLENT);
        let tracks = include_streams.then(|| {
            let info = |way: &Way| {
                let Way { stream: stream_id, kind, is_outbound: outbound, .. } = *way;
                Some(TrackMetricsInfo { stream_id, kind, outbound, quality: level(way)? })
            };
            ways.iter().filter_map(info).collect()
        });
        // Whose connection is lost is not there, whatever was measured before.
        let quality: Level = if participant.line.session().is_some() { worst } else { 0 };
        ParticipantMetricsInfo { participant_id: participant.info.id, quality, tracks }
    }

    /// Returns everything that is on its way between a participant and the server.
    fn ways(&self, participant: &Participant) -> Vec<Way> {
        let mut ways = Vec::new();
        for stream in participant.streams.values().filter_map(|id| self.streams.get(id)) {
            for (kind, track) in &stream.tracks {
                if stream.flows(*kind) && track.takers().next().is_some() {
                    let (stream, kind, mid) = (stream.info.id, *kind, track.mid);
                    ways.push(Way { stream, kind, mid, is_outbound: true, share: 1.0 });
                }
            }
        }
        for (stream, subscription) in &participant.subscriptions {
            let Some(slot) = participant.slots.get(usize::from(subscription.slot)) else { continue };
            let Some(found) = self.streams.get(stream) else { continue };
            for (kind, track) in &found.tracks {
                if !found.flows(*kind) || !subscription.wants(*kind) {
                    continue;
                }
                let share = match (kind, subscription.allocated) {
                    (MediaKind::Video, Some(layer)) if layer < subscription.preferred() => {
                        let rate = |rid| track.rate(rid).as_bps() as f64;
                        (rate(layer) / rate(subscription.preferred()).max(1.0)).min(1.0)
                    }
                    _ => 1.0,
                };
                let (stream, kind, mid) = (*stream, *kind, slot.of(*kind));
                ways.push(Way { stream, kind, mid, is_outbound: false, share });
            }
        }
        ways
    }
}

/// Splits a report so that every part can be read (`limits::SIGNAL_TO_CLIENT_MAX`).
fn in_notices(all: impl Iterator<Item = ParticipantMetricsInfo>) -> Vec<Vec<ParticipantMetricsInfo>> {
    let (mut notices, mut tracks) = (vec![Vec::new()], 0);
    for one in all {
        tracks += one.tracks.as_ref().map_or(0, Vec::len);
        if tracks > TRACKS_PER_NOTICE {
            tracks = one.tracks.as_ref().map_or(0, Vec::len);
            notices.push(Vec::new());
        }
        if let Some(last) = notices.last_mut() {
            last.push(one);
        }
    }
    notices
}

/// Tracks that one report may be about, unless one participant alone has more: each is about 140 bytes of JSON, participants themselves are
/// few beside them.
const TRACKS_PER_NOTICE: usize = 1 << 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_report_comes_in_parts_that_can_be_read() {
        let track = TrackMetricsInfo {
            stream_id: StreamId::from_random([7; 16]),
            kind: MediaKind::Audio,
            outbound: false,
            quality: EXCELLENT,
        };
        let about = |number: u16| ParticipantMetricsInfo {
            participant_id: ParticipantId::from_random([(number % 251) as u8; 16]),
            quality: EXCELLENT,
            tracks: Some(vec![track; 160]),
        };
        let notices = in_notices((0..1000).map(about));
        assert_eq!(notices.iter().map(Vec::len).sum::<usize>(), 1000);
        assert!(notices.len() > 1);
        for participants in notices {
            let written = serde_json::to_string(&NetworkMetricsNotice { participants }).expect("JSON").len();
            assert!(written < limits::SIGNAL_TO_CLIENT_MAX / 2, "{written}");
        }
        assert_eq!(in_notices(std::iter::empty()).len(), 1, "nobody is somebody to hear of");
    }
}
