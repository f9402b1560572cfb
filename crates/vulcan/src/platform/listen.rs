//! Where a platform listens: on loopback or a socket file, and nowhere else yet.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use axum::serve::ListenerExt;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};
use vulcan_client::Endpoint;

use super::PlatformError;

/// Where a platform listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// On TCP. Only loopback is accepted until there is authentication; port 0 takes a free one.
    Tcp(SocketAddr),
    /// On a socket file, which must not exist yet; its folder says who may connect.
    Unix(PathBuf),
}

impl Listen {
    /// Reads HOST:PORT; `localhost` is 127.0.0.1.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Address`] when it is no address, [`PlatformError::Exposed`] when it is not on loopback.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let literal = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        let address: SocketAddr = literal.parse().map_err(|_| PlatformError::Address {
            value: text.to_owned(),
        })?;
        let listen = Self::Tcp(address);
        listen.refuse_exposed()?;
        Ok(listen)
    }

    /// Whoever reaches the API may run code: until there is authentication, only this machine may.
    pub(super) fn refuse_exposed(&self) -> Result<(), PlatformError> {
        match self {
            Self::Tcp(address) if !is_loopback(address.ip()) => {
                Err(PlatformError::Exposed { address: *address })
            }
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// A bound listener of either kind.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds, and says in words why it cannot.
    pub(super) async fn bind(listen: &Listen) -> Result<Self, PlatformError> {
        match listen {
            Listen::Tcp(address) => TcpListener::bind(address)
                .await
                .map(Self::Tcp)
                .map_err(|source| bind_error(address.to_string(), source)),
            Listen::Unix(path) => UnixListener::bind(path)
                .map(|listener| Self::Unix(listener, path.clone()))
                .map_err(|source| bind_error(path.display().to_string(), source)),
        }
    }

    /// Returns where clients find it.
    pub(super) fn endpoint(&self) -> Result<Endpoint, PlatformError> {
        match self {
            Self::Unix(_, path) => Ok(Endpoint::Unix(path.clone())),
            Self::Tcp(listener) => {
                let address = listener.local_addr();
                let address = address.map_err(|source| bind_error("the address".to_owned(), source))?;
                Ok(format!("http://{address}")
                    .parse()
                    .expect("an address makes a URL"))
            }
        }
    }

    /// Serves until `stopped` says so, or its sender is gone.
    pub(super) async fn serve(
        self,
        control: vulcan_control::Handle,
        stopped: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let router = vulcan_control::router(&control);
        let until = async move {
            let mut stopped = stopped;
            // A sender that is gone is a stop too.
            drop(stopped.wait_for(|is_stopped| *is_stopped).await);
        };
        match self {
            Self::Tcp(listener) => {
                // Log lines are small writes: they are not to wait for each other.
                let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
                vulcan_control::serve(listener, router, until).await
            }
            Self::Unix(listener, path) => {
                let result = vulcan_control::serve(listener, router, until).await;
                std::fs::remove_file(path).ok();
                result
            }
        }
    }
}

fn bind_error(address: String, source: io::Error) -> PlatformError {
    if source.kind() == io::ErrorKind::AddrInUse {
        return PlatformError::AddressInUse { address };
    }
    PlatformError::Bind { address, source }
}
