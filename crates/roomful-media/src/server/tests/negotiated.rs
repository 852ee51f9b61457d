//! What is negotiated is what is on the wire, and what is not is counted all the same.

use rtcp_types::TwccPacketStatus;

use super::*;
use crate::{ClientConfig, ClientPeer};

/// A server's peer whose client offered a video section to send on and a slot; the offer, the answer.
fn peer() -> (ServerPeer, String, String) {
    let (now, address) = (Instant::now(), ([127, 0, 0, 1], 1000).into());
    let mut client = ClientPeer::new(&ClientConfig::default(), &[address], now);
    let certificate = ServerCertificate::generate();
    let mut server = ServerPeer::new(&certificate, &[address], now, SystemTime::UNIX_EPOCH);
    let offer = client.create_offer(1, 1, 2, false).expect("new sections");
    let answer = server.accept_offer(&offer.sdp, &offer.slots).expect("a good offer");
    (server, offer.sdp, answer)
}

#[test]
fn the_sources_that_are_sent_are_those_of_the_answer() {
    let (server, _, answer) = peer();
    let number = |text: &str| text.split(' ').next().and_then(|word| word.parse::<u32>().ok());
    let named = answer.lines().filter_map(|line| number(line.strip_prefix("a=ssrc:")?));
    let named: BTreeSet<u32> = named.collect();
    assert_eq!(named, server.sender.sources().collect());
    // Two slots of sound and picture, pictures with repairs; each pair is a group (RFC 5576 §4.2).
    assert_eq!(named.len(), 6);
    let groups = answer.lines().filter_map(|line| line.strip_prefix("a=ssrc-group:FID "));
    let pairs: Vec<Vec<u32>> = groups.map(|group| group.split(' ').filter_map(number).collect()).collect();
    assert_eq!(pairs.len(), 2);
    assert!(pairs.iter().all(|pair| server.sender.is_pair(pair[0], pair[1])), "{pairs:?}");
    // Every source is called what the answer calls it, and reports say so too.
    for line in answer.lines().filter(|line| line.contains(" cname:")) {
        let (source, cname) =
            line.strip_prefix("a=ssrc:").and_then(|line| line.split_once(" cname:")).expect("both");
        let ssrc = source.parse().expect("a number");
        assert!(server.sender.description(ssrc).is_none_or(|told| told == reports::description(ssrc, cname)));
    }
}

#[test]
fn a_stay_names_only_so_many_sections() {
    let (mut server, offer, _) = peer();
    // Others in the place of the same ones, again and again.
    let again = |round: usize| {
        let mut lines: Vec<String> = offer.lines().map(String::from).collect();
        for line in &mut lines {
            if let Some(mid) = line.strip_prefix("a=mid:") {
                *line = format!("a=mid:{mid}-{round}");
            }
        }
        lines.join("\r\n") + "\r\n"
    };
    let accepted = (0..200).filter(|round| server.accept_offer(&again(*round), &[]).is_ok()).count();
    assert!(server.mids.len() <= MIDS_MAX, "{} of {accepted} offers", server.mids.len());
    assert!(server.accept_offer(&again(1000), &[]).is_err());
}

#[test]
fn what_belongs_to_no_section_is_reported_all_the_same() {
    let (mut server, ..) = peer();
    let ids = server.ids;
    let take = |server: &mut ServerPeer, ssrc, payload_type, number: u16| {
        let extensions = Extensions { transport_sequence: Some(number), ..Extensions::default() };
        let header = Header { payload_type, marker: false, sequence: number, timestamp: 0, ssrc, extensions };
        let mut bytes = Vec::new();
        header.write(&ids, true, &mut bytes);
        let length = bytes.len();
        // Padding alone.
        bytes.extend([0, 0, 0, 4]);
        server.take(&bytes, length, number.into()).is_some()
    };
    let of_repairs = *server.codecs.iter().find(|(_, (_, is_repair))| *is_repair).expect("negotiated").0;
    // Probes without a source, a payload type that nobody agreed on, and padding as repairs of what never came.
    assert!(!take(&mut server, 0, 127, 1));
    assert!(!take(&mut server, 77, 127, 2));
    assert!(!take(&mut server, 78, of_repairs, 4));
    assert!(server.feedback_at.is_some());
    let (mut bundle, mut told) = (Bundle::default(), Vec::new());
    server.arrivals.report(1, 2, &mut bundle);
    bundle.drain(|packet| {
        let feedback = TransportFeedback::parse(packet).expect("feedback");
        let report = feedback.parse_fci::<Twcc<'_>>().expect("about the whole transport");
        let all = report.packets().map(|packet| packet.expect("whole"));
        told.extend(
            all.filter(|(_, status)| !matches!(status, TwccPacketStatus::NotReceived))
                .map(|(number, _)| number),
        );
    });
    assert_eq!(told, [1, 2, 4]);
}
