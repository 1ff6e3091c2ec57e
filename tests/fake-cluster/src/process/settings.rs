//! How a runtime is to run containers.

use std::fmt;
use std::path::PathBuf;

/// How a [`ProcessRuntime`](super::ProcessRuntime) is to run containers.
#[derive(Clone)]
pub struct ProcessSettings {
    /// A folder for the runtime's own, which it removes at its end. Best on a disk: steps write there.
    pub scratch: PathBuf,
    /// A folder whose contents take the place of a clone: they are copied into the workspace of each step of that kind.
    pub source: Option<PathBuf>,
    /// Containers without a command succeed, after a list of what they would have got.
    pub simulate_plugins: bool,
    /// The pods of a workflow see a network of their own, with nothing but them in it.
    pub offline: bool,
    /// Run commands as they are on this machine, without any protection.
    pub unsafe_host: bool,
    /// Folders of this machine that containers must not see, beside those that they never see.
    pub hidden: Vec<PathBuf>,
    /// Values that must not be shown of a simulated plugin, beside those of the secrets that it gets.
    pub masked: Vec<String>,
}

impl ProcessSettings {
    /// Protected containers, with no simulation, on the host's network.
    pub fn new(scratch: impl Into<PathBuf>) -> Self {
        Self {
            scratch: scratch.into(),
            source: None,
            simulate_plugins: false,
            offline: false,
            unsafe_host: false,
            hidden: Vec::new(),
            masked: Vec::new(),
        }
    }
}

impl fmt::Debug for ProcessSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scratch, source, simulate_plugins, offline, unsafe_host, hidden, masked } = self;
        f.debug_struct("ProcessSettings")
            .field("scratch", scratch)
            .field("source", source)
            .field("simulate_plugins", simulate_plugins)
            .field("offline", offline)
            .field("unsafe_host", unsafe_host)
            .field("hidden", hidden)
            .field("masked", &format_args!("{} values", masked.len()))
            .finish()
    }
}
