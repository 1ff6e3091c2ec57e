//! How the process ends.

use std::path::PathBuf;
use std::process::ExitCode;

use server_stub::api::ErrorView;
use server_stub::serve::{ServeError, TlsError};
use server_stub::store::StoreError;

/// Shown below the help.
pub(super) const HELP: &str = "Exit codes: 0 done; 1 a workflow failed (demo, submit --wait); 2 bad input; \
69 the server can't be reached, its answer broke off, or an address can't be used; 70 a fault of piculet; \
73 the database can't be used, or didn't take what happened last; \
77 the server refused the token; 79 a certificate, its key or an authority can't be used, or no TLS connection comes \
about; 130 ended at once by a second signal.";

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// The command did its work.
    Done = 0,
    /// A workflow that was waited for failed.
    Failed = 1,
    /// The command line, a file or an option's value is wrong.
    BadInput = 2,
    /// The server can't be reached, its answer broke off, or an address can't be used.
    Unavailable = 69,
    /// A fault of piculet itself.
    Internal = 70,
    /// The database can't be used, or didn't take what happened last.
    Database = 73,
    /// The server refused the token.
    Unauthorised = 77,
    /// Certificates can't be used, or aren't trusted.
    Tls = 79,
    /// A second signal ended the server at once.
    Aborted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// An option or a file makes no sense.
    #[error("{0}")]
    BadInput(String),
    /// A file can't be read.
    #[error("can't read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The server can't be reached.
    #[error("can't reach the server at {server}: {reason}; is it running, and is --server right?")]
    Unreachable {
        /// Its address.
        server: String,
        /// Why.
        reason: String,
    },
    /// The server's answer ended too early.
    #[error("the answer of the server at {server} broke off: {reason}; it went away, or its log says why")]
    Cut {
        /// Its address.
        server: String,
        /// Why.
        reason: String,
    },
    /// A file for TLS can't be used.
    #[error("{option}: {error}")]
    Certificate {
        /// The option that names it.
        option: &'static str,
        /// Which it is, and why.
        error: TlsError,
    },
    /// No TLS connection with the server comes about.
    #[error("no TLS connection with the server at {server}: {reason}")]
    Tls {
        /// Its address.
        server: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{}", error.message)]
    Refused {
        /// The HTTP status.
        status: http::StatusCode,
        /// Its words.
        error: ErrorView,
    },
    /// Serving failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The database can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server ended before all was stored.
    #[error(
        "what happened last could not be stored before the server ended, see above; nobody was told of it, and agents say it \
         again"
    )]
    NotStored,
    /// The standard output can't be written.
    #[error("can't write to the standard output: {0}")]
    Output(std::io::Error),
    /// A fault of piculet itself.
    #[error("piculet failed, and that is a fault of its own: {0}")]
    Internal(String),
}

impl Failure {
    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            // Whoever reads the output has had enough of it, as `head` does.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
            Self::BadInput(_) | Self::Unreadable { .. } => Exit::BadInput,
            Self::Certificate { .. } | Self::Tls { .. } => Exit::Tls,
            Self::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => Exit::Unauthorised,
            Self::Refused { status, .. } if status.is_client_error() => Exit::BadInput,
            Self::Unreachable { .. } | Self::Cut { .. } | Self::Refused { .. } | Self::Serve(_) => Exit::Unavailable,
            Self::Store(_) | Self::NotStored => Exit::Database,
            Self::Output(_) | Self::Internal(_) => Exit::Internal,
        }
    }

    /// Whether the same call may succeed a while later: a server that is just being started anew, behind a proxy or not.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cut { .. } => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 502..=504),
            _ => false,
        }
    }

    /// The stable code, for people who search and programs that branch.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::BadInput(_) => "bad-input",
            Self::Unreadable { .. } => "unreadable",
            Self::Unreachable { .. } => "unreachable",
            Self::Cut { .. } => "cut",
            Self::Refused { error, .. } => &error.code,
            Self::Certificate { .. } | Self::Tls { .. } => "tls",
            Self::Serve(_) => "listen",
            Self::Store(_) => "database",
            Self::NotStored => "not-stored",
            Self::Output(_) => "output",
            Self::Internal(_) => "internal",
        }
    }
}
