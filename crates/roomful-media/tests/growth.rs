//! A peer of a hundred sections for an hour of virtual time: nothing grows, and str0m says nothing of media.

use std::time::{Duration, Instant, UNIX_EPOCH};

use roomful_media::{
    ClientConfig, ClientOutput, ClientPeer, Datagram, Datagrams, Outgoing, ServerCertificate, ServerPeer,
    Transmit,
};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const STEP: Duration = Duration::from_millis(500);
const HOUR: u32 = 2 * 3600;

#[test]
fn nothing_grows_and_str0m_says_nothing_of_media_however_long_it_lasts() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let start = Instant::now();
    let [client_at, server_at] =
        ["127.0.0.1:1000", "127.0.0.1:2000"].map(|at| at.parse().expect("an address"));
    let mut client = ClientPeer::new(&ClientConfig::default(), &[client_at], start);
    let mut server = ServerPeer::new(&ServerCertificate::generate(), &[server_at], start, UNIX_EPOCH);
    let offer = client.create_offer(20, 20, 30, false).expect("new sections");
    let answer = server.accept_offer(&offer.sdp, &offer.slots).expect("a good offer");
    client.accept_answer(&answer).expect("a good answer");
    let (mut outgoing, mut after_a_while) = (Outgoing::new(), 0);
    for step in 0..HOUR {
        let now = start + STEP * step;
        client.handle_timeout(now);
        server.handle_timeout(now, &mut outgoing);
        loop {
            let mut moved = false;
            while let ClientOutput::Transmit(Transmit { source, destination, bytes }) = client.poll_output() {
                let datagram = Datagram { source, destination, bytes: &bytes };
                let _ = server.handle_datagram(datagram, Vec::new(), now);
                while server.poll_output(&mut outgoing).is_some() {}
                moved = true;
            }
            while server.poll_output(&mut outgoing).is_some() {}
            while let Some(run) = outgoing.next_run() {
                let Datagrams { source, destination, .. } = run;
                for bytes in run.iter() {
                    // Nobody sends anything, so there is nothing to report: what looks like media would be str0m's.
                    assert!(!matches!(bytes, [128..=191, ..]), "media of nobody at {step}");
                    client.handle_datagram(Datagram { source, destination, bytes }, now);
                }
                moved = true;
            }
            if !moved {
                break;
            }
        }
        if step == HOUR / 6 {
            after_a_while = dhat::HeapStats::get().curr_bytes;
        }
    }
    assert!(server.is_connected());
    assert_eq!(server.packets_withheld(), 0, "str0m wanted to send media");
    let grown = dhat::HeapStats::get().curr_bytes.saturating_sub(after_a_while);
    assert!(grown < 4096, "{grown} bytes in fifty minutes");
}
