//! Bringing everything up, and down again.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use roomful_sfu::{Input, Sfu};
use roomful_shard::ShardStats;
use roomful_types::Fingerprint;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    admission::TokenAdmission,
    clock,
    config::{InvalidConfig, ServerConfig},
    control, http,
    live::{ActiveSessions, ControlledRooms},
    rest::{self, Api, ApiKey, RoomDefaults},
    shard,
    signal::{Signal, quic, websocket},
    store::{MemoryStore, Store},
    token::TokenAuthority,
};

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    http: SocketAddr,
    media: SocketAddr,
    quic: Option<(SocketAddr, Fingerprint)>,
    tasks: JoinSet<()>,
    shard: shard::Handle,
    control: mpsc::UnboundedSender<control::Event>,
    /// How many clients are talked to.
    live: Arc<watch::Sender<usize>>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The HTTP address cannot be used.
    #[error("cannot serve HTTP on {address}; choose another address or end what uses it")]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// QUIC cannot be served.
    #[error("cannot serve QUIC on {address}; choose another address, or see to the certificate and its key")]
    Quic {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The media address cannot be used.
    #[error("cannot receive media on UDP {address}; choose another address or end what uses it")]
    Media {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// How long clients may take to hear that it is over.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(800);

impl Server {
    /// Starts a server in the current tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        config.validate()?;
        let address = config.http;
        let http_error = |source| StartError::Http { address, source };
        let listener = TcpListener::bind(address).await.map_err(http_error)?;
        let http = listener.local_addr().map_err(http_error)?;

        let (control, events) = mpsc::unbounded_channel();
        let (signals, heard) = mpsc::channel(control::INCOMING_MAX);
        let address = config.media;
        let media_error = |source| StartError::Media { address, source };
        let started = shard::start(address, config.advertised, rand::random(), control.clone()).await;
        let shard = started.map_err(media_error)?;

        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let tokens = Arc::new(TokenAuthority::new(&config.api_key));
        let sessions = ActiveSessions::default();
        let admission = TokenAdmission { tokens: tokens.clone(), store: store.clone() };
        let patience = config.sfu.join_timeout;
        let engine = Sfu::new(config.sfu, Box::new(admission), rand::random(), clock::now());
        let api = Api {
            store,
            tokens,
            live_rooms: Arc::new(ControlledRooms { sessions: sessions.clone(), control: control.clone() }),
            api_key: ApiKey::new(&config.api_key),
            defaults: RoomDefaults { max_participants: config.max_participants },
            clock: Arc::new(clock::unix_ms),
            random: Arc::new(rand::random),
        };
        let live = Arc::new(watch::Sender::new(0));
        let signal = Signal::new(signals, live.clone(), config.max_signal_bytes);
        let mut tasks = JoinSet::new();
        let quic = match &config.quic {
            None => None,
            Some((address, identity)) => {
                let address = *address;
                let listener = quic::Listener::bind(address, identity);
                let listener = listener.map_err(|source| StartError::Quic { address, source })?;
                let quic = (listener.address, listener.fingerprint);
                tasks.spawn(listener.run(signal.clone()));
                Some(quic)
            }
        };
        let router = rest::router(api).merge(websocket::router(signal));
        tasks.spawn(control::run(engine, heard, events, shard.commands(), sessions));
        tasks.spawn(http::serve(listener, router, patience));
        Ok(Self { http, media: shard.local_address(), quic, tasks, shard, control, live })
    }

    /// Returns where REST and signalling are served.
    #[must_use]
    pub const fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Returns where signalling over QUIC is served, and the fingerprint of the certificate.
    #[must_use]
    pub const fn quic(&self) -> Option<(SocketAddr, Fingerprint)> {
        self.quic
    }

    /// Returns where media comes and goes.
    #[must_use]
    pub const fn media_address(&self) -> SocketAddr {
        self.media
    }

    /// Returns what the server has done so far.
    #[must_use]
    pub fn stats(&self) -> ShardStats {
        self.shard.stats()
    }

    /// Tells every client that it is over, ends every connection and frees the ports. Takes a second at most.
    pub async fn stop(mut self) {
        // Without the control task nobody is connected.
        let _ = self.control.send(control::Event::Engine(Input::Shutdown));
        let _ = timeout(GOODBYE_TIMEOUT, self.live.subscribe().wait_for(|live| *live == 0)).await;
        self.tasks.shutdown().await;
        self.shard.stop().await;
    }
}
