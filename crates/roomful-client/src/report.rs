//! What the server tells of speakers and of networks.

use std::{collections::BTreeMap, sync::Arc};

use roomful_protocol::{NetworkMetricsNotice, QualityNotice, SpeakingNotice, TrackMetricsInfo};
use roomful_state::{Action, Direction, ParticipantMetrics, Quality, StreamMetrics, TrackMetrics};
use roomful_types::{ParticipantId, StreamKey};

use crate::client::Client;

impl Client {
    pub(crate) fn on_speaking(&mut self, notice: &SpeakingNotice) {
        let SpeakingNotice { participant_id: participant, stream_id: stream, speaking } = *notice;
        self.apply(Action::SpeakingChanged { participant, stream, speaking });
    }

    /// A resume tells again what may be known.
    pub(crate) fn on_quality(&mut self, notice: &QualityNotice) {
        let QualityNotice { stream_id: stream, quality: level } = *notice;
        if self.qualities.insert(stream, level) != Some(level) {
            self.apply(Action::StreamQualityChanged { stream, quality: quality(level) });
        }
    }

    pub(crate) fn on_network_metrics(&mut self, notice: &NetworkMetricsNotice) {
        let metrics = notice.participants.iter().map(|info| {
            let metrics = ParticipantMetrics {
                connection_quality: quality(info.quality),
                streams: info.tracks.as_deref().map(|tracks| self.stream_metrics(tracks)),
            };
            (info.participant_id, metrics)
        });
        let metrics = Arc::new(metrics.collect());
        self.apply(Action::NetworkMetricsMeasured { metrics });
    }

    /// Names the streams; one that ended meanwhile has no name.
    fn stream_metrics(
        &self,
        tracks: &[TrackMetricsInfo],
    ) -> BTreeMap<(ParticipantId, StreamKey), StreamMetrics> {
        let mut streams: BTreeMap<_, StreamMetrics> = BTreeMap::new();
        for track in tracks {
            let Some(stream) = self.state.stream(track.stream_id) else { continue };
            let direction = if track.outbound { Direction::Outbound } else { Direction::Inbound };
            let metrics = streams.entry((stream.participant_id, stream.key.clone())).or_default();
            *metrics.of_mut(track.kind) = Some(TrackMetrics { direction, quality: quality(track.quality) });
        }
        streams
    }
}

/// Reads a level; one that this version does not know is the best.
fn quality(level: u8) -> Quality {
    Quality::ALL.get(usize::from(level)).copied().unwrap_or(Quality::Excellent)
}
