//! `cargo xtask fixtures`: makes the encoded media that the demo plays and the tests read.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use crate::{failure::Failure, step, workspace};

/// Makes every fixture and `FIXTURES.md`, which says how.
///
/// # Errors
/// When ffmpeg is missing or fails, or when the files exceed the bound.
pub(crate) fn run() -> Result<(), Failure> {
    let folder = workspace::root().join(FOLDER);
    write_failing(&folder, fs::create_dir_all(&folder))?;
    for fixture in all() {
        let path = folder.join(fixture.name);
        let arguments: Vec<&str> = fixture.arguments.iter().map(String::as_str).collect();
        step::run(fixture.name, "ffmpeg", &arguments, &[])?;
        if fixture.name.ends_with(".h264") {
            let stream = fs::read(&path)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
            write_failing(&path, fs::write(&path, canonical(&stream)))?;
        }
        if fixture.name.ends_with(".ogg") {
            write_levels(&path)?;
        }
    }
    let notes = folder.join("FIXTURES.md");
    write_failing(&notes, fs::write(&notes, notes_text()))?;
    check_size(&folder)
}

/// One file and the command that makes it.
struct Fixture {
    name: &'static str,
    what: &'static str,
    arguments: Vec<String>,
}

fn all() -> Vec<Fixture> {
    vec![
        vp8("camera-360.ivf", "VP8, 640×360, 600 kbit/s", "640:360", "600k"),
        vp8("camera-180.ivf", "VP8, 320×180, 200 kbit/s", "320:180", "200k"),
        vp8("camera-90.ivf", "VP8, 160×90, 80 kbit/s", "160:90", "80k"),
        h264("camera-360.h264", "H.264 constrained baseline, 640×360, 600 kbit/s", "600k"),
        voice(
            "voice-a.ogg",
            "Opus, mono, 32 kbit/s, a woman's voice",
            "slt",
            "Welcome to the room. This is the first voice. I will count to ten and then start again. \
             One. Two. Three. Four. Five. Six. Seven. Eight. Nine. Ten.",
            1,
        ),
        voice(
            "voice-b.ogg",
            "Opus, mono, 32 kbit/s, a man's voice",
            "rms",
            "Hello. I am the second voice. The quick brown fox jumps over the lazy dog. \
             Look at the clock in the picture. When my words keep time with it all is well.",
            2,
        ),
    ]
}

/// 10 s at 30 frames per second, a key frame every 60 frames, no invisible frames.
fn vp8(name: &'static str, what: &'static str, size: &str, rate: &str) -> Fixture {
    let filter = format!("scale={size}:flags=area,format=yuv420p");
    let mut arguments = words("-hide_banner -loglevel warning -nostdin -y -f lavfi -i");
    arguments.extend([PICTURE.to_owned(), "-vf".to_owned(), filter]);
    arguments.extend(words(&format!(
        "-c:v libvpx -b:v {rate} -maxrate {rate} -bufsize {rate} -deadline good -cpu-used 0 -auto-alt-ref 0 \
         -lag-in-frames 0 -g 60 -keyint_min 60 -threads 1 -fflags +bitexact -flags +bitexact -f ivf {FOLDER}/{name}"
    )));
    Fixture { name, what, arguments }
}

/// The same picture; one slice per frame, parameter sets before every IDR picture, neither SEI nor delimiters.
fn h264(name: &'static str, what: &'static str, rate: &str) -> Fixture {
    let mut arguments = words("-hide_banner -loglevel warning -nostdin -y -f lavfi -i");
    arguments.extend([PICTURE.to_owned()]);
    arguments.extend(words(&format!(
        "-vf format=yuv420p -c:v libx264 -profile:v baseline -level 3.1 -preset slow -b:v {rate} -maxrate {rate} \
         -bufsize {rate} -g 60 -keyint_min 60 -sc_threshold 0 -bf 0 -threads 1 \
         -x264-params slices=1:aud=0:repeat-headers=1 -bsf:v filter_units=remove_types=6|9 \
         -fflags +bitexact -flags +bitexact -f h264 {FOLDER}/{name}"
    )));
    Fixture { name, what, arguments }
}

/// Synthetic speech over quiet noise, so that no two packets are alike, cut so that it gives 500 packets of 20 ms.
fn voice(name: &'static str, what: &'static str, speaker: &str, text: &str, seed: u8) -> Fixture {
    let speech = format!("flite=voice={speaker}:text='{text}'");
    let noise = format!("anoisesrc=color=pink:amplitude=0.004:sample_rate=48000:seed={seed}");
    // libopus puts 312 samples of delay in front; 480,000 − 312 samples fill exactly 500 packets.
    let mix = "[0]aresample=48000,apad[v];[v][1]amix=inputs=2:normalize=0,atrim=end_sample=479688";
    let mut arguments = words("-hide_banner -loglevel warning -nostdin -y -f lavfi -i");
    arguments.push(speech);
    arguments.extend(words("-f lavfi -i"));
    arguments.extend([noise, "-filter_complex".to_owned(), mix.to_owned()]);
    arguments.extend(words(&format!(
        "-ac 1 -c:a libopus -b:a 32k -frame_duration 20 -application voip -fflags +bitexact -flags +bitexact \
         -f ogg {FOLDER}/{name}"
    )));
    Fixture { name, what, arguments }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Rewrites an Annex B stream with a 4-byte start code before every NAL unit and nothing between them.
fn canonical(stream: &[u8]) -> Vec<u8> {
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    while at + 3 <= stream.len() {
        if stream[at..at + 3] == [0, 0, 1] {
            starts.push(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    let mut out = Vec::with_capacity(stream.len() + starts.len());
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(stream.len(), |next| next - 3);
        let unit = &stream[start..end];
        let used = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if used > 0 {
            out.extend_from_slice(&[0, 0, 0, 1]);
            out.extend_from_slice(&unit[..used]);
        }
    }
    out
}

fn notes_text() -> String {
    let mut text = String::from(
        "# Fixtures\n\n\
         Ten seconds each, made to be looped; pictures at 30 frames per second with a key frame every 60 frames, sound in\n\
         Opus packets of 20 ms. `cargo xtask fixtures` makes them and this file with ffmpeg (last: 5.1, of Debian 12) from\n\
         nothing but its own sources; other versions of ffmpeg give other bytes. No two frames of a file are alike.\n\n\
         Beside each voice, `.levels` says how loud each packet is, in −dBov: ffmpeg decodes it, and the square mean is taken.\n\n\
         The H.264 file is then brought into the form that `roomful::file::annexb::Writer` writes: a 4-byte start code before\n\
         every NAL unit, no access unit delimiters. The commands run in the workspace's root.\n",
    );
    for fixture in all() {
        let command: Vec<&str> = fixture.arguments.iter().map(String::as_str).collect();
        write!(
            text,
            "\n## `{}`\n\n{}.\n\n```sh\n{}\n```\n",
            fixture.name,
            fixture.what,
            wrapped("ffmpeg", &command)
        )
        .expect("a string takes all");
    }
    text
}

/// Writes beside a file of audio how loud each packet is (`Clip::with_audio_levels`).
fn write_levels(path: &Path) -> Result<(), Failure> {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i"])
        .arg(path)
        .args(words("-f s16le -ac 1 -ar 48000 -"))
        .output()
        .map_err(|error| Failure::new(format!("cannot start ffmpeg: {error}; is it installed?")))?;
    if !output.status.success() {
        return Err(Failure::new(format!("ffmpeg cannot decode {}", path.display())));
    }
    let samples: Vec<i16> =
        output.stdout.chunks_exact(2).map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]])).collect();
    // What libopus puts in front is decoded and left out, so the first packet has fewer samples.
    let first = samples.len() % PACKET_SAMPLES;
    let packets = [&samples[..first]].into_iter().filter(|packet| !packet.is_empty());
    let packets = packets.chain(samples[first..].chunks_exact(PACKET_SAMPLES));
    let text: String = packets.map(|packet| format!("{}\n", level(packet))).collect();
    let beside = path.with_extension("ogg.levels");
    write_failing(&beside, fs::write(&beside, text))
}

/// Returns the loudness of samples in −dBov: the square mean against that of a square wave at full scale (RFC 6464 §3).
fn level(samples: &[i16]) -> u8 {
    let square = |sample: &i16| (f64::from(*sample) / f64::from(i16::MAX)).powi(2);
    let mean = samples.iter().map(square).sum::<f64>() / samples.len().max(1) as f64;
    (-10.0 * mean.log10()).round().clamp(0.0, 127.0) as u8
}

/// The command over several lines, each ended as a shell wants it.
fn wrapped(program: &str, arguments: &[&str]) -> String {
    let mut lines = vec![program.to_owned()];
    for word in arguments.iter().map(|word| folded(&step::quoted(word))) {
        let line = lines.last_mut().expect("starts with one");
        if line.len() + word.len() > LINE {
            lines.push(format!("  {word}"));
        } else {
            line.push(' ');
            line.push_str(&word);
        }
    }
    lines.join(" \\\n")
}

/// A long word in double quotes, over several lines: the shell takes a line's last backslash and its end out again.
fn folded(word: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for part in word.split_inclusive(' ') {
        if word.starts_with('"') && column + part.len() > LINE {
            text.push_str("\\\n");
            column = 0;
        }
        text.push_str(part);
        column += part.len();
    }
    text
}

fn check_size(folder: &Path) -> Result<(), Failure> {
    let mut total = 0;
    for fixture in all() {
        let path = folder.join(fixture.name);
        let size = fs::metadata(&path)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?
            .len();
        println!("{:>9} bytes  {}", size, fixture.name);
        total += size;
    }
    println!("{total:>9} bytes together, of {MAX_BYTES}");
    if total > MAX_BYTES {
        return Err(Failure::new(format!("fixtures of {total} bytes exceed {MAX_BYTES}; lower a bit rate")));
    }
    Ok(())
}

fn write_failing(path: &Path, result: std::io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

const FOLDER: &str = "crates/roomful-cli/fixtures";

/// ffmpeg's moving test picture; it shows the time and the frame's number.
const PICTURE: &str = "testsrc2=size=640x360:rate=30:duration=10";

/// 20 ms of Opus, which is always decoded at 48 kHz.
const PACKET_SAMPLES: usize = 960;

/// They are committed and built into the `roomful` command.
const MAX_BYTES: u64 = 3_000_000;

/// Columns of a command in the notes; a single long word may exceed it.
const LINE: usize = 110;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_become_four_bytes_long() {
        let stream = [0, 0, 1, 0x67, 7, 0, 0, 0, 1, 0x68, 8, 0, 0, 1, 0x65, 5, 0];
        let expected = [0, 0, 0, 1, 0x67, 7, 0, 0, 0, 1, 0x68, 8, 0, 0, 0, 1, 0x65, 5];
        assert_eq!(canonical(&stream), expected);
        assert_eq!(canonical(&expected), expected);
        assert_eq!(canonical(&[1, 2, 3]), [0_u8; 0]);
    }

    #[test]
    fn loudness_is_that_of_the_signal() {
        assert_eq!(level(&[0; 960]), 127);
        assert_eq!(level(&[i16::MAX; 960]), 0);
        assert_eq!(level(&[i16::MAX / 10, -i16::MAX / 10]), 20);
    }

    #[test]
    fn the_notes_name_every_command() {
        let text = notes_text();
        for fixture in all() {
            assert!(text.contains(&format!("## `{}`", fixture.name)));
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120));
    }
}
