//! Just enough of STUN (RFC 8489) to find out which peer a first packet is for.

/// Returns the receiver's ICE user name fragment in a STUN binding request: what stands before the colon of USERNAME
/// (RFC 8445 §7.2.2). `None` for anything else. Believe it only once the peer has checked the message's integrity.
#[must_use]
pub fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    let name = attribute_of_request(datagram, USERNAME)?;
    std::str::from_utf8(name).ok()?.split_once(':').map(|(local, _)| local)
}

/// Returns whether a datagram is a binding request that nominates its pair of addresses (RFC 8445 §7.3.1.5).
pub(crate) fn is_nominating(datagram: &[u8]) -> bool {
    attribute_of_request(datagram, USE_CANDIDATE).is_some()
}

/// Returns whether a datagram answers a binding request with success.
pub(crate) fn is_success(datagram: &[u8]) -> bool {
    datagram.starts_with(&BINDING_SUCCESS)
}

fn attribute_of_request(datagram: &[u8], wanted: [u8; 2]) -> Option<&[u8]> {
    let (header, mut attributes) = datagram.split_at_checked(HEADER)?;
    if header[..2] != BINDING_REQUEST || header[4..8] != MAGIC_COOKIE {
        return None;
    }
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        if head[..2] == wanted {
            return Some(value);
        }
        if INTEGRITY.iter().any(|integrity| head[..2] == *integrity) {
            // Whatever follows is nobody's word (RFC 8489 §14.5).
            return None;
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

const HEADER: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0, 1];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_SUCCESS: [u8; 2] = [1, 1];
const USERNAME: [u8; 2] = [0, 6];
const USE_CANDIDATE: [u8; 2] = [0, 0x25];
/// MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256.
const INTEGRITY: [[u8; 2]; 2] = [[0, 8], [0, 0x1c]];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc_5769_2_1_sample_request() {
        let mut request = vec![0, 1, 0, 0x58, 0x21, 0x12, 0xa4, 0x42];
        request.extend([0xb7; 12]);
        request.extend([0x80, 0x22, 0, 0x10]);
        request.extend(b"STUN test client");
        request.extend([0, 0x24, 0, 4, 0x6e, 0, 1, 0xff]);
        request.extend([0, 6, 0, 9]);
        request.extend(b"evtj:h6vY   ");
        assert_eq!(local_ufrag(&request), Some("evtj"));
        request[1] = 0x11;
        assert_eq!(local_ufrag(&request), None);
    }

    #[test]
    fn what_stands_behind_the_integrity_nominates_nothing() {
        let nomination = [0, 0x25, 0, 0];
        let integrity = [&[0, 8, 0, 20][..], &[7; 20]].concat();
        let request = |attributes: &[&[u8]]| {
            let head = [&[0, 1, 0, 28, 0x21, 0x12, 0xa4, 0x42][..], &[0; 12]].concat();
            [head, attributes.concat()].concat()
        };
        assert!(is_nominating(&request(&[&nomination, &integrity])));
        assert!(!is_nominating(&request(&[&integrity, &nomination])));
        assert!(!is_nominating(&request(&[&integrity])));
    }

    proptest! {
        #[test]
        fn no_datagram_panics(tail in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut datagram = vec![0, 1, 0, 0x58, 0x21, 0x12, 0xa4, 0x42];
            datagram.extend([0; 12]);
            datagram.extend(tail);
            let _ = local_ufrag(&datagram);
            let _ = local_ufrag(&datagram[8..]);
            let _ = is_nominating(&datagram);
        }
    }
}
