//! What str0m cannot say in a session description.

use roomful_types::Mid;

/// Gives both sections of each pair one msid stream id (RFC 8830 §2), so that a browser plays them in step. A section's own
/// track id stays.
pub(crate) fn pair_streams(sdp: &str, pairs: &[(Mid, Mid)]) -> String {
    let mut paired = String::with_capacity(sdp.len() + pairs.len() * 32);
    for section in sdp.split_inclusive("\r\nm=") {
        let mid = section.lines().find_map(|line| line.strip_prefix("a=mid:"));
        let is_of = |pair: &(Mid, Mid)| mid == Some(pair.0.as_str()) || mid == Some(pair.1.as_str());
        match pairs.iter().position(is_of) {
            None => paired.push_str(section),
            Some(index) => {
                section.split_inclusive("\r\n").for_each(|line| push_line(&mut paired, line, index))
            }
        }
    }
    paired
}

/// Adds a line, with the stream id of its `msid` replaced: `a=msid:<stream> <track>`, `a=ssrc:<n> msid:<stream> <track>`.
fn push_line(sdp: &mut String, line: &str, slot: usize) {
    let is_msid = line.starts_with("a=msid:") || (line.starts_with("a=ssrc:") && line.contains(" msid:"));
    let parts = line.split_once("msid:").and_then(|(head, value)| Some((head, value.split_once(' ')?.1)));
    match parts.filter(|_| is_msid) {
        Some((head, track)) => {
            *sdp += head;
            *sdp += &format!("msid:slot-{slot} {track}");
        }
        None => *sdp += line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sections_of_a_pair_get_one_stream_id() {
        let sdp = "v=0\r\na=group:BUNDLE a v x\r\nm=audio 9 X 111\r\na=mid:a\r\na=msid:s1 t1\r\n\
                   a=ssrc:5 msid:s1 t1\r\nm=video 9 X 96\r\na=mid:v\r\na=msid:s2 t2\r\n\
                   m=video 9 X 96\r\na=mid:x\r\na=msid:s3 t3\r\n";
        let pair = (Mid::new("a").expect("short"), Mid::new("v").expect("short"));
        let expected = sdp.replace("s1", "slot-0").replace("s2", "slot-0");
        assert_eq!(pair_streams(sdp, &[pair]), expected);
        assert_eq!(pair_streams(sdp, &[]), sdp);
    }
}
