//! Ogg Opus: worked examples of RFC 7845, round trips, and files that lie.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// CELT, fullband, 20 ms, mono, one frame.
const TOC: u8 = 31 << 3;

fn frame(samples: u64, data: &[u8]) -> MediaFrame {
    let media_time = Codec::Opus.time(samples);
    let end = samples + opus::samples(data).expect("a valid packet");
    MediaFrame {
        data: Bytes::copy_from_slice(data),
        media_time,
        duration: Codec::Opus.time(end) - media_time,
        is_keyframe: true,
        audio_level: None,
    }
}

fn write(frames: &[MediaFrame]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), 1, 7).unwrap();
    frames.iter().for_each(|frame| writer.write(frame).unwrap());
    writer.finish().unwrap()
}

fn read(file: &[u8]) -> Vec<MediaFrame> {
    Reader::new(Cursor::new(file)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn rfc_7845_section_5_1_identification_header() {
    let file = write(&[]);
    let reader = Reader::new(Cursor::new(&file)).unwrap();
    assert_eq!(
        *reader.head(),
        Head { channels: 1, pre_skip: 312, input_sample_rate: 48_000, output_gain: 0 }
    );
    assert_eq!(reader.count(), 0);
    let mut head = reader_head().to_bytes();
    assert_eq!(Head::parse(&head), Some(reader_head()));
    head[8] = 16; // another major version
    assert_eq!(Head::parse(&head), None);
    assert!(Writer::new(Vec::new(), 3, 7).is_err());
}

fn reader_head() -> Head {
    Head { channels: 2, pre_skip: 3_840, input_sample_rate: 16_000, output_gain: -256 }
}

#[test]
fn rfc_7845_section_4_1_a_gap_is_filled_with_packets_that_conceal() {
    let frames = [frame(0, &[TOC, 1]), frame(960 * 9, &[TOC, 2])];
    let file = write(&frames);
    assert_eq!(read(&file), frames);
    // 8 frames are missing: one packet of six, one of two; the granule position counts all.
    let mut packets = PacketReader::new(Cursor::new(&file));
    let packets: Vec<_> = std::iter::from_fn(|| packets.read_packet().unwrap()).skip(2).collect();
    let data: Vec<_> = packets.iter().map(|packet| &packet.data[..]).collect();
    assert_eq!(data, [&[TOC, 1][..], &[TOC | 3, 6], &[TOC | 3, 2], &[TOC, 2]]);
    assert_eq!(packets[3].absgp_page(), 9_600);
    assert!(packets[3].last_in_stream());
}

#[test]
fn a_gap_shorter_than_a_frame_is_made_up_for_later() {
    // 5 ms late each: after four, one frame is filled in.
    let frames: Vec<_> = (0..6).map(|index| frame(index * 1_200, &[TOC, 1])).collect();
    let times: Vec<_> = read(&write(&frames)).iter().map(|frame| frame.media_time.as_millis()).collect();
    assert_eq!(times, [0, 20, 40, 60, 100, 120]);
    assert!(
        Writer::new(Vec::new(), 1, 7)
            .unwrap()
            .write(&MediaFrame { data: Bytes::new(), ..frames[0].clone() })
            .is_err()
    );
}

#[test]
fn a_time_more_than_a_day_later_is_refused() {
    let mut writer = Writer::new(Vec::new(), 1, 7).unwrap();
    writer.write(&frame(0, &[TOC, 1])).unwrap();
    assert!(writer.write(&frame(MAX_GAP + 961, &[TOC, 1])).is_err());
    writer.write(&frame(MAX_GAP, &[TOC, 1])).unwrap();
}

#[test]
fn a_file_never_lacks_more_than_a_second() {
    let mut writer = Writer::new(Vec::new(), 1, 7).unwrap();
    for index in 0..200 {
        writer.write(&frame(index * 960, &[TOC, 1, index as u8])).unwrap();
        let there = read(writer.packets.inner()).len() as u64; // as after kill -9
        assert!(index + 1 - there < 50, "{there} of {}", index + 1);
    }
}

#[test]
fn a_file_cut_off_anywhere_reads_up_to_there() {
    let frames: Vec<_> = (0..120).map(|index| frame(index * 960, &[TOC, index as u8])).collect();
    let file = write(&frames);
    for length in 0..file.len() {
        if let Ok(reader) = Reader::new(Cursor::new(&file[..length])) {
            let read: Vec<_> = reader.map(Result::unwrap).collect();
            assert_eq!(read, frames[..read.len()]);
        }
    }
}

#[test]
fn other_streams_in_the_file_are_passed_over() {
    let mut packets = PacketWriter::new(Vec::new());
    packets.write_packet(&b"\x80theora"[..], 1, PacketWriteEndInfo::EndPage, 0).unwrap();
    packets.write_packet(reader_head().to_bytes(), 2, PacketWriteEndInfo::EndPage, 0).unwrap();
    packets.write_packet(tags(), 2, PacketWriteEndInfo::EndPage, 0).unwrap();
    // It begins at sample 10,000 (§4.3) and has a hole of one frame before its last page.
    packets.write_packet(&[TOC, 1][..], 2, PacketWriteEndInfo::EndPage, 10_960).unwrap();
    packets.write_packet(&b"picture"[..], 1, PacketWriteEndInfo::EndPage, 5).unwrap();
    packets.write_packet(&[TOC, 2][..], 2, PacketWriteEndInfo::EndStream, 12_880).unwrap();
    assert_eq!(read(&packets.into_inner()), [frame(0, &[TOC, 1]), frame(1_920, &[TOC, 2])]);
}

#[test]
fn what_is_not_opus_is_refused() {
    assert!(matches!(Reader::new(Cursor::new(b"RIFF")), Err(ReadError::WrongFormat { .. })));
    let mut packets = PacketWriter::new(Vec::new());
    packets.write_packet(&b"\x01vorbis"[..], 1, PacketWriteEndInfo::EndStream, 0).unwrap();
    let file = packets.into_inner();
    assert!(matches!(Reader::new(Cursor::new(&file)), Err(ReadError::WrongFormat { .. })));
    let endless = vec![0; 2 * MAX_BYTES_WITHOUT_PACKET];
    assert!(Reader::new(Cursor::new(&endless)).is_err());
}

/// Pages that are right in their checksum and wrong in everything else.
fn page() -> impl Strategy<Value = Vec<u8>> {
    let lacing = prop::collection::vec(prop_oneof![Just(255_u8), Just(0), 0..20_u8], 0..6);
    (0..8_u8, any::<u64>(), 0..2_u32, any::<u32>(), lacing, any::<u8>()).prop_map(
        |(flags, granule, serial, sequence, lacing, fill)| {
            let mut page = b"OggS\0".to_vec();
            page.push(flags);
            page.extend_from_slice(&granule.to_le_bytes());
            page.extend_from_slice(&serial.to_le_bytes());
            page.extend_from_slice(&sequence.to_le_bytes());
            page.extend_from_slice(&[0; 4]);
            page.push(lacing.len() as u8);
            page.extend_from_slice(&lacing);
            page.resize(page.len() + lacing.iter().map(|&length| usize::from(length)).sum::<usize>(), fill);
            let sum = checksum(&page);
            page[22..26].copy_from_slice(&sum.to_le_bytes());
            page
        },
    )
}

/// CRC with polynomial 0x04c11db7, high bit first, from 0 (RFC 3533 §6).
fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0_u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte) << 24, |sum, _| {
            sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        packets in prop::collection::vec((0..32_u8, 0..3_u64, prop::collection::vec(any::<u8>(), 1..600)), 1..80),
    ) {
        let mut position = 0;
        let mut written = Vec::new();
        let mut last_frame = 0;
        for (config, gap, body) in packets {
            if !written.is_empty() {
                position += gap * last_frame;
            }
            let data = [&[config << 3][..], &body].concat();
            written.push(frame(position, &data));
            last_frame = opus::frame_samples(data[0]);
            position += last_frame;
        }
        prop_assert_eq!(read(&write(&written)), written);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let file = [&write(&[])[..], &bytes].concat();
        for file in [&file, &bytes] {
            if let Ok(reader) = Reader::new(Cursor::new(file)) {
                prop_assert!(reader.count() <= file.len());
            }
        }
    }

    #[test]
    fn no_pages_make_it_panic(pages in prop::collection::vec(page(), 0..8), serial in 0..2_u32) {
        let mut packets = PacketWriter::new(Vec::new());
        packets.write_packet(reader_head().to_bytes(), serial, PacketWriteEndInfo::EndPage, 0).unwrap();
        packets.write_packet(tags(), serial, PacketWriteEndInfo::EndPage, 0).unwrap();
        let mut file = packets.into_inner();
        file.extend(pages.concat());
        for file in [&file, &pages.concat()] {
            if let Ok(reader) = Reader::new(Cursor::new(file)) {
                prop_assert!(reader.count() <= file.len());
            }
        }
    }
}
