//! Real sockets on loopback.

use std::net::SocketAddr;
use std::time::Instant;

use crate::{Batch, Socket, local_addresses};

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[tokio::test]
async fn runs_arrive_as_the_datagrams_that_they_were() {
    let sender = Socket::bind(loopback()).expect("a free port");
    let mut receiver = Socket::bind(loopback()).expect("a free port");
    let destination = receiver.local_addr();
    let sizes = [100, 100, 100, 40, 100, 1200, 1200, 7, 8];
    let mut batch = Batch::new();
    for (index, size) in sizes.iter().enumerate() {
        batch.push(&sender, sender.local_addr().ip(), destination, &vec![index as u8; *size]);
    }
    batch.flush(&sender, Instant::now());
    let mut received = Vec::new();
    while received.len() < sizes.len() {
        receiver.readable().await.expect("the runtime lives");
        let keep = |arrival: crate::Arrival<'_>| {
            assert_eq!((arrival.source, arrival.destination), (sender.local_addr(), destination));
            received.push(arrival.bytes.to_vec());
        };
        receiver.receive(keep).expect("nothing is wrong with loopback");
    }
    let expected: Vec<Vec<u8>> =
        sizes.iter().enumerate().map(|(index, size)| vec![index as u8; *size]).collect();
    assert_eq!(received, expected);
    assert_eq!((batch.is_waiting(), batch.dropped()), (false, 0));
}

#[tokio::test]
async fn a_run_put_together_elsewhere_leaves_behind_what_was_pushed_before() {
    let sender = Socket::bind(loopback()).expect("a free port");
    let mut receiver = Socket::bind(loopback()).expect("a free port");
    let (source, destination) = (sender.local_addr().ip(), receiver.local_addr());
    let mut batch = Batch::new();
    batch.push(&sender, source, destination, &[1; 9]);
    // More datagrams than any system sends at once.
    batch.push_run(&sender, source, destination, 100, &[2; 100 * 199 + 7]);
    batch.flush(&sender, Instant::now());
    let mut received = Vec::new();
    while received.len() < 201 {
        receiver.readable().await.expect("the runtime lives");
        receiver
            .receive(|arrival| received.push(arrival.bytes.len()))
            .expect("nothing is wrong with loopback");
    }
    assert_eq!((received[0], received[1], received[200]), (9, 100, 7));
}

#[tokio::test]
async fn a_closed_port_harms_nobody_else() {
    let sender = Socket::bind(loopback()).expect("a free port");
    let closed = Socket::bind(loopback()).expect("a free port").local_addr();
    let mut receiver = Socket::bind(loopback()).expect("a free port");
    let mut batch = Batch::new();
    for destination in [closed, receiver.local_addr(), closed, receiver.local_addr()] {
        batch.push(&sender, sender.local_addr().ip(), destination, b"datagram");
        batch.flush(&sender, Instant::now());
    }
    let mut count = 0;
    while count < 2 {
        receiver.readable().await.expect("the runtime lives");
        count += receiver.receive(|_| {}).expect("nothing is wrong with loopback");
    }
}

#[test]
fn loopback_is_the_last_of_the_addresses() {
    let addresses = local_addresses(loopback().ip()).expect("the system knows its addresses");
    assert!(addresses.last().is_some_and(std::net::IpAddr::is_loopback));
    assert!(addresses.iter().all(std::net::IpAddr::is_ipv4));
}
