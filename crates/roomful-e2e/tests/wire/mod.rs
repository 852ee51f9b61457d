//! Relays between clients and a server, that can be cut or that lose datagrams. For every test binary of this package.

pub(crate) mod tcp;
pub(crate) mod udp;
