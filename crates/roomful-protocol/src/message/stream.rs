//! The compact encoding of streams, of which a large room has thousands: as it would be derived, but in few large pieces. Half of the
//! time of a notice would go into its many small ones.

use minicbor::{
    Decode, Decoder, Encode, Encoder,
    decode::Error as DecodeError,
    encode::{Error as EncodeError, Write},
};
use roomful_types::{Codec, ParticipantId, StreamId, StreamKey};

use super::{StreamInfo, TrackInfo};

const MAP: u8 = 0xa0;
const ID: u8 = 0x40 | 16;
/// A map, two ids with their numbers, and the number of the key.
const HEAD: usize = 1 + 2 * (2 + 16) + 1;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
/// The map of a track that is not censored.
const USUAL: u8 = MAP | 2;

impl<C> Encode<C> for StreamInfo {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        let Self { id, participant_id, key, audio, video } = self;
        let tracks = [(3, audio), (4, video)];
        let fields = 3 + tracks.iter().filter(|(_, track)| track.is_some()).count() as u8;
        let mut head = [0; HEAD];
        head[..3].copy_from_slice(&[MAP | fields, 0, ID]);
        head[3..19].copy_from_slice(id.as_bytes());
        head[19..21].copy_from_slice(&[1, ID]);
        head[21..37].copy_from_slice(participant_id.as_bytes());
        head[37] = 2;
        e.writer_mut().write_all(&head).map_err(EncodeError::write)?;
        e.str(key.as_str())?;
        for (number, track) in tracks {
            if let Some(track) = track {
                let (map, length) = track.to_map();
                let [m0, m1, m2, m3, m4, m5, m6] = map;
                let piece = [number, m0, m1, m2, m3, m4, m5, m6];
                e.writer_mut().write_all(&piece[..1 + length]).map_err(EncodeError::write)?;
            }
        }
        Ok(())
    }
}

impl TrackInfo {
    /// Returns the bytes of its map, and how many of them count.
    fn to_map(self) -> ([u8; 7], usize) {
        let codec = match self.codec {
            Codec::Opus => 0,
            Codec::Vp8 => 1,
            Codec::H264 => 2,
        };
        let [enabled, censored] = [self.enabled, self.censored].map(|flag| FALSE + u8::from(flag));
        let fields = 2 + u8::from(self.censored);
        ([MAP | fields, 0, codec, 1, enabled, 2, censored], 1 + 2 * usize::from(fields))
    }
}

impl<C> Encode<C> for TrackInfo {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        let (map, length) = self.to_map();
        e.writer_mut().write_all(&map[..length]).map_err(EncodeError::write)
    }
}

/// The fields in any order, and later ones.
#[derive(Decode)]
#[cbor(map)]
struct StreamFields {
    #[n(0)]
    id: StreamId,
    #[n(1)]
    participant_id: ParticipantId,
    #[n(2)]
    key: StreamKey,
    #[n(3)]
    audio: Option<TrackInfo>,
    #[n(4)]
    video: Option<TrackInfo>,
}

#[derive(Decode)]
#[cbor(map)]
struct TrackFields {
    #[n(0)]
    codec: Codec,
    #[n(1)]
    enabled: bool,
    #[cbor(n(2), default)]
    censored: bool,
}

impl<'b, C> Decode<'b, C> for StreamInfo {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let start = d.position();
        if let Some(stream) = Self::decode_pieces(d) {
            return Ok(stream);
        }
        d.set_position(start);
        let StreamFields { id, participant_id, key, audio, video } = d.decode_with(context)?;
        Ok(Self { id, participant_id, key, audio, video })
    }
}

impl StreamInfo {
    /// Reads what we write ourselves; none when it is written otherwise.
    fn decode_pieces(d: &mut Decoder<'_>) -> Option<Self> {
        let head: &[u8; HEAD] = take(d)?;
        let [map @ (0xa3..=0xa5), 0, ..] = *head else { return None };
        let ([.., 1], [.., 2]) = (&head[..20], &head[20..]) else { return None };
        let [id, participant_id] = [&head[2..19], &head[20..37]];
        let id = minicbor::decode(id).ok()?;
        let participant_id = minicbor::decode(participant_id).ok()?;
        let key = d.decode().ok()?;
        let mut stream = Self { id, participant_id, key, audio: None, video: None };
        for _ in 3..map - MAP {
            let track = match take(d)? {
                [3] => &mut stream.audio,
                [4] => &mut stream.video,
                _ => return None,
            };
            *track = Some(d.decode().ok()?);
        }
        Some(stream)
    }
}

/// Takes the next bytes as they are.
fn take<'b, const N: usize>(d: &mut Decoder<'b>) -> Option<&'b [u8; N]> {
    let bytes = d.input().get(d.position()..)?.first_chunk()?;
    d.set_position(d.position() + N);
    Some(bytes)
}

impl<'b, C> Decode<'b, C> for TrackInfo {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let start = d.position();
        if let Some([USUAL, 0, codec, 1, flag @ (FALSE | TRUE)]) = take(d)
            && let Some(codec) = [Codec::Opus, Codec::Vp8, Codec::H264].get(usize::from(*codec))
        {
            return Ok(Self { codec: *codec, enabled: *flag == TRUE, censored: false });
        }
        d.set_position(start);
        let TrackFields { codec, enabled, censored } = d.decode_with(context)?;
        Ok(Self { codec, enabled, censored })
    }

    fn nil() -> Option<Self> {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn track() -> impl Strategy<Value = TrackInfo> {
        (prop::sample::select(vec![Codec::Opus, Codec::Vp8, Codec::H264]), any::<bool>(), any::<bool>())
            .prop_map(|(codec, enabled, censored)| TrackInfo { codec, enabled, censored })
    }

    prop_compose! {
        fn stream()(
            ids: [[u8; 16]; 2],
            key in "[a-zäß]{1,32}",
            audio in prop::option::of(track()),
            video in prop::option::of(track()),
        ) -> StreamInfo {
            StreamInfo {
                id: StreamId::from_random(ids[0]),
                participant_id: ParticipantId::from_random(ids[1]),
                key: StreamKey::new(&key).expect("short"),
                audio,
                video,
            }
        }
    }

    proptest! {
        #[test]
        fn fields_come_in_any_order_and_later_ones_are_skipped(
            stream in stream(),
            order in Just([0_u8, 1, 2, 3, 4, 9]).prop_shuffle(),
        ) {
            let mut e = Encoder::new(Vec::new());
            let tracks = [stream.audio, stream.video].iter().flatten().count();
            e.map(4 + tracks as u64).unwrap();
            for number in order {
                match number {
                    0 => e.u8(0).unwrap().encode(stream.id).unwrap(),
                    1 => e.u8(1).unwrap().encode(stream.participant_id).unwrap(),
                    2 => e.u8(2).unwrap().encode(&stream.key).unwrap(),
                    3 if stream.audio.is_some() => e.u8(3).unwrap().encode(stream.audio).unwrap(),
                    4 if stream.video.is_some() => e.u8(4).unwrap().encode(stream.video).unwrap(),
                    9 => e.u8(9).unwrap().str("later").unwrap(),
                    _ => &mut e,
                };
            }
            prop_assert_eq!(minicbor::decode::<StreamInfo>(e.writer()).unwrap(), stream);
        }

        #[test]
        fn whatever_is_cut_off_is_no_stream(stream in stream(), share in 0.0..1.0) {
            let bytes = minicbor::to_vec(&stream).unwrap();
            prop_assert_eq!(minicbor::decode::<StreamInfo>(&bytes).unwrap(), stream);
            let length = (bytes.len() as f64 * share) as usize;
            prop_assert!(minicbor::decode::<StreamInfo>(&bytes[..length]).is_err());
        }
    }
}
