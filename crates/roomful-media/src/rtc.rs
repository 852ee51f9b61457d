//! What clients and servers have in common: codecs, settings and errors.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use roomful_types::{AudioLevel, Codec, Mid, Rid};
use str0m::{
    Input, Rtc, RtcConfig,
    change::DirectApi,
    format::{Codec as RtcCodec, CodecConfig, PayloadParams},
    media::{Mid as RtcMid, Pt, Rid as RtcRid},
    net::{Protocol, Receive},
    rtp::{Extension, ExtensionValues, StreamTx, rtcp::SenderInfo},
};

use crate::{candidates::Datagram, dtls::crypto_provider};

/// How often senders report the time of their media (RFC 3550 §6.4.1). A receiver cannot put sound and picture in step
/// before the first report.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// One datagram to send.
#[derive(Debug, Clone)]
pub struct Transmit {
    /// The local candidate address to send it from.
    pub source: SocketAddr,
    /// Where to send it.
    pub destination: SocketAddr,
    /// The payload of the UDP datagram.
    pub bytes: Vec<u8>,
}

impl From<str0m::net::Transmit> for Transmit {
    fn from(transmit: str0m::net::Transmit) -> Self {
        let (source, destination) = (transmit.source, transmit.destination);
        Self { source, destination, bytes: transmit.contents.into() }
    }
}

/// Why a peer could not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Not a session description, or not one that the peer can follow with.
    #[error("the session description was not accepted")]
    BadDescription,
    /// The answer is not to the latest offer.
    #[error("the answer does not belong to the latest offer")]
    NoSuchOffer,
    /// There is no such media section, or it does not send.
    #[error("no such media section")]
    UnknownMid,
    /// A frame cannot be split into packets.
    #[error(transparent)]
    Packetize(#[from] roomful_rtp::PacketizeError),
}

/// Returns the settings of every peer: RTP packets in and out, the codecs that roomful forwards, and one
/// configuration of DTLS.
pub(crate) fn config() -> RtcConfig {
    let mut config = RtcConfig::new()
        .set_crypto_provider(crypto_provider())
        .set_rtp_mode(true)
        .clear_codecs()
        .set_extension(7, Extension::PlayoutDelay)
        .set_extension(8, Extension::AbsoluteCaptureTime)
        .set_rtcp_report_interval_audio(REPORT_INTERVAL)
        .set_rtcp_report_interval_video(REPORT_INTERVAL);
    let codecs = config.codec_config();
    codecs.enable_opus(true, false);
    codecs.enable_vp8(true);
    codecs.add_h264(H264.into(), Some(H264_RTX.into()), true, CONSTRAINED_BASELINE);
    config
}

/// Takes in a datagram. What is none of the peer's is ignored.
pub(crate) fn receive(rtc: &mut Rtc, datagram: Datagram<'_>, now: Instant) {
    let Datagram { source, destination, bytes } = datagram;
    if let Ok(receive) = Receive::new(Protocol::Udp, source, destination, bytes) {
        handle(rtc, Input::Receive(now, receive));
    }
}

/// Takes in an input. str0m reports malformed packets of a peer as errors too; the association goes on.
pub(crate) fn handle(rtc: &mut Rtc, input: Input<'_>) {
    if let Err(error) = rtc.handle_input(input) {
        tracing::debug!(%error, "input ignored");
    }
}

/// Returns how a codec is called on a section that negotiated these payload types.
pub(crate) fn payload_type(codecs: &CodecConfig, negotiated: &[Pt], codec: Codec) -> Option<Pt> {
    let params =
        |pt: &&Pt| codecs.params().iter().any(|params| params.pt() == **pt && is_codec(params, codec));
    negotiated.iter().find(params).copied()
}

fn is_codec(params: &PayloadParams, codec: Codec) -> bool {
    let spec = params.spec();
    match codec {
        Codec::Opus => spec.codec == RtcCodec::Opus,
        Codec::Vp8 => spec.codec == RtcCodec::Vp8,
        Codec::H264 => spec.codec == RtcCodec::H264,
    }
}

/// Converts a media section id. Both hold at most 16 bytes of ASCII.
pub(crate) fn mid_from(mid: RtcMid) -> Option<Mid> {
    Mid::new(&mid).ok()
}

/// Converts a media section id back.
pub(crate) fn mid_to(mid: Mid) -> RtcMid {
    mid.as_str().into()
}

/// Returns the header extensions of a packet that is this loud. Without a word about voice str0m leaves the level out; whether it
/// is voice, nobody says here.
pub(crate) fn extensions(audio_level: Option<AudioLevel>) -> ExtensionValues {
    let level = audio_level.map(|level| -(level.as_negative_dbov() as i8));
    let voice_activity = audio_level.map(|_| false);
    ExtensionValues { audio_level: level, voice_activity, ..ExtensionValues::default() }
}

/// Converts the id of an encoding; a section without any has one, the highest.
pub(crate) fn rid_from(rid: Option<RtcRid>) -> Rid {
    rid.and_then(|rid| rid.parse().ok()).unwrap_or_default()
}

/// Returns where an encoding is sent.
pub(crate) fn stream_tx<'a>(api: &'a mut DirectApi<'_>, mid: Mid, rid: Rid) -> Option<&'a mut StreamTx> {
    // Sections without encodings of their own know none by name.
    let named = api.stream_tx_by_mid(mid_to(mid), Some(rid.as_str().into())).is_some();
    api.stream_tx_by_mid(mid_to(mid), named.then(|| rid.as_str().into()))
}

/// Returns when something with this RTP timestamp was captured, by its sender's report (RFC 3550 §6.4.1).
pub(crate) fn captured_at(report: &SenderInfo, timestamp: u32, clock_rate: u32) -> Option<SystemTime> {
    let ticks = timestamp.wrapping_sub(report.rtp_time.numer() as u32) as i32;
    let distance = Duration::from_secs_f64(f64::from(ticks.unsigned_abs()) / f64::from(clock_rate));
    match ticks < 0 {
        true => report.ntp_time.checked_sub(distance),
        false => report.ntp_time.checked_add(distance),
    }
}

/// Dynamic payload types (RFC 3551 §3), those that browsers use.
const H264: u8 = 102;
const H264_RTX: u8 = 103;

/// profile-level-id of constrained baseline, level 3.1 (RFC 6184 §8.1): what every browser decodes.
const CONSTRAINED_BASELINE: u32 = 0x42_e0_1f;
