//! Where the host listens, and who is behind which door. What is wrong is said before the data directory is touched, as far
//! as it can be known.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, lookup_host};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::access::Gate;
use super::connections::{Door, serve};
use super::hosted::Hosted;
use super::names::{Names, loopback_address};
use super::slots::Slots;
use super::socket::{self, SocketFile};
use super::tls::{TlsError, acceptor};
use super::{Guard, Served};
use crate::config::{AdminConfig, Config, Tokens};

/// Where the host listens unless told otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8787";

/// Why a host cannot be reached as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// An address that is none, is taken, or is not this machine's.
    #[error("cannot listen on {address}: {error}; {hint}")]
    Listen {
        /// As written.
        address: String,
        /// What the system said.
        error: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// Other machines could reach what nobody has said is for them.
    #[error(
        "{address} can be reached from other machines, and {places} not say who may call; each needs `access = \"public\"`, \
         for everybody, or `access = {{ tokens = [...] }}`, with what `facetd token` prints"
    )]
    Exposed {
        /// As written.
        address: String,
        /// `[namespaces.x] does`, `[namespaces.x], [namespaces.y] do`.
        places: String,
    },
    /// Certificate and key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The admin API's unix socket.
    #[error("cannot listen on the admin socket {path}: {error}; check [host] `admin`, and who may write to its folder")]
    Socket {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What the configuration says of who may speak to a host, looked through, and nothing opened yet.
pub struct Doors {
    listen: Vec<SocketAddr>,
    listen_text: String,
    admin: AdminDoor,
    /// The admin API is on the main port, too, if only this machine reaches it.
    admin_on_main: bool,
    tls: Option<TlsAcceptor>,
    config: Config,
}

enum AdminDoor {
    Socket(PathBuf),
    Listen {
        addresses: Vec<SocketAddr>,
        text: String,
        tokens: Tokens,
    },
}

const LISTEN_HINT: &str = "name another address with --listen, e.g. 127.0.0.1:0";
const ADMIN_HINT: &str = "check `admin` of [host]";

fn cannot_listen(address: &str, hint: &'static str) -> impl FnOnce(io::Error) -> DoorError {
    let address = address.to_owned();
    move |error| DoorError::Listen { address, error, hint }
}

impl Doors {
    /// Looks the configuration through; `listen` is the command line's. `developing`: pages of this machine may use the admin
    /// API.
    pub async fn new(config: &Config, data: &Path, listen: Option<&str>, developing: bool) -> Result<Self, DoorError> {
        let text = listen.or(config.host.listen.as_deref()).unwrap_or(LISTEN_DEFAULT);
        let listen: Vec<_> = resolve(text).await.map_err(cannot_listen(text, LISTEN_HINT))?;
        let loopback = listen.iter().all(|address| loopback_address(address.ip()));
        if !loopback {
            check_exposed(text, config)?;
        }
        let admin = match &config.host.admin {
            None => AdminDoor::Socket(data.join(socket::FILE_NAME)),
            Some(AdminConfig {
                socket: Some(socket), ..
            }) => AdminDoor::Socket(config.dir.join(socket)),
            Some(AdminConfig { listen, tokens, .. }) => {
                let text = listen.clone().unwrap_or_default();
                AdminDoor::Listen {
                    addresses: resolve(&text).await.map_err(cannot_listen(&text, ADMIN_HINT))?,
                    text,
                    tokens: tokens.clone(),
                }
            }
        };
        Ok(Self {
            listen,
            listen_text: text.into(),
            admin,
            admin_on_main: developing && loopback,
            tls: acceptor(config)?,
            config: config.clone(),
        })
    }

    /// Listens. The host must have taken its data directory: the lock says that the admin socket in there is ours.
    pub async fn open(self) -> Result<OpenDoors, DoorError> {
        let Self {
            listen,
            listen_text,
            admin,
            admin_on_main,
            tls,
            config,
        } = self;
        let cannot = cannot_listen(&listen_text, LISTEN_HINT);
        let main = TcpListener::bind(listen.as_slice()).await.map_err(cannot)?;
        let main_address = main.local_addr().map_err(cannot_listen(&listen_text, LISTEN_HINT))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (admin, place) = match admin {
            AdminDoor::Socket(path) => {
                let listening = socket::listen(&path);
                let (listener, file) = listening.map_err(|error| DoorError::Socket {
                    path: path.clone(),
                    error,
                })?;
                let door = AdminOpen::Socket(Door::Unix(listener), file);
                (door, format!("unix:{}", path.display()))
            }
            AdminDoor::Listen {
                addresses,
                text,
                tokens,
            } => {
                let cannot = |error| cannot_listen(&text, ADMIN_HINT)(error);
                let listener = TcpListener::bind(addresses.as_slice()).await.map_err(cannot)?;
                let address = listener.local_addr().map_err(cannot)?;
                warn_if_plain(address, tls.is_some(), "the admin API");
                let tls = tls.clone();
                (
                    AdminOpen::Listen(Door::Tcp { listener, tls }, tokens),
                    format!("{scheme}://{address}"),
                )
            }
        };
        tracing::info!("the admin API is at {place}");
        let gate = Gate::new(&config);
        if gate.is_guarded() {
            warn_if_plain(main_address, tls.is_some(), "a namespace");
        }
        Ok(OpenDoors {
            names: Names::of(&config.host.names, loopback_address(main_address.ip())),
            main: Door::Tcp { listener: main, tls },
            admin,
            admin_on_main,
            url: format!("{scheme}://{main_address}"),
            admin_url: place,
            gate,
            config,
        })
    }
}

async fn resolve(text: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host(text).await?.collect())
}

/// Whoever opens a port to others says for each namespace who they are.
fn check_exposed(address: &str, config: &Config) -> Result<(), DoorError> {
    let unset = config
        .namespaces
        .iter()
        .filter(|(_, namespace)| namespace.access.is_none());
    let unset: Vec<_> = unset.map(|(name, _)| format!("[namespaces.{name}]")).collect();
    if unset.is_empty() {
        return Ok(());
    }
    let verb = if unset.len() == 1 { "does" } else { "do" };
    Err(DoorError::Exposed {
        address: address.into(),
        places: format!("{} {verb}", unset.join(", ")),
    })
}

fn warn_if_plain(address: SocketAddr, encrypted: bool, what: &str) {
    if !encrypted && !loopback_address(address.ip()) {
        tracing::warn!(
            "tokens for {what} come to {address} unencrypted: set `tls` in [host], or let others reach it only through a \
             proxy that encrypts"
        );
    }
}

enum AdminOpen {
    Socket(Door, SocketFile),
    Listen(Door, Tokens),
}

/// Doors at which clients can knock; they are answered once [`OpenDoors::serve`] runs.
pub struct OpenDoors {
    names: Names,
    main: Door,
    admin: AdminOpen,
    admin_on_main: bool,
    url: String,
    admin_url: String,
    gate: Gate,
    config: Config,
}

impl OpenDoors {
    /// Where calls are taken, e.g. `http://127.0.0.1:8787`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the admin API is: `unix:PATH`, or a URL.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// Answers until `stop` resolves; requests under way then are finished.
    pub async fn serve(self, host: impl Into<Hosted> + Send, stop: impl Future<Output = ()> + Send) {
        let Self {
            names,
            main,
            admin,
            admin_on_main,
            gate,
            config,
            ..
        } = self;
        let host = host.into();
        let (tell, told) = watch::channel(false);
        let (slots, admin_slots) = (Slots::of_this_process(&config.host.http), Slots::of_admin());
        let http = config.host.http.clone();
        let main_served = Arc::new(Served {
            host: host.clone(),
            http: http.clone(),
            names,
            guard: Guard::Calls {
                gate,
                open: config.host.open.clone(),
                with_admin: admin_on_main,
            },
        });
        let (admin, tokens, file) = match admin {
            AdminOpen::Socket(door, file) => (door, None, Some(file)),
            AdminOpen::Listen(door, tokens) => (door, Some(tokens), None),
        };
        let admin_served = Arc::new(Served {
            host,
            http,
            // A page cannot know the token, nor reach a unix socket.
            names: Names::Any,
            guard: Guard::Admin { tokens },
        });
        let stopping = async {
            stop.await;
            // Before the requests under way: the next process may want the name as soon as this one has gone.
            drop(file);
            let _ = tell.send(true);
        };
        tokio::join!(
            stopping,
            serve(main, main_served, slots, told.clone()),
            serve(admin, admin_served, admin_slots, told),
        );
    }
}
