use std::{io, net::SocketAddr};

use taper_core::{AnyFault, Fault, OutOfRange};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of range.
    #[error(transparent)]
    Setting(#[from] OutOfRange),
    /// A model cannot be opened.
    #[error(transparent)]
    Model(AnyFault),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another `address`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The threads of the server cannot be started.
    #[error("cannot start the server: {0}")]
    Start(#[source] io::Error),
}

impl Fault for Error {
    fn is_usage(&self) -> bool {
        match self {
            Self::Setting(_) => true,
            Self::Model(error) => error.is_usage(),
            Self::Listen { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::AddrInUse
                    | io::ErrorKind::AddrNotAvailable
                    | io::ErrorKind::PermissionDenied
            ),
            Self::Start(_) => false,
        }
    }

    fn setting(&self) -> Option<&OutOfRange> {
        match self {
            Self::Setting(setting) => Some(setting),
            Self::Model(error) => error.setting(),
            Self::Listen { .. } | Self::Start(_) => None,
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
