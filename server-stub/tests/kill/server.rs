//! The program `piculet-server serve`, always at the same addresses and with the same database.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub(crate) struct Served {
    folder: TempDir,
    agents: SocketAddr,
    api: SocketAddr,
    process: Child,
}

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Served {
    pub(crate) fn start() -> Self {
        let (folder, agents, api) = (TempDir::new().unwrap(), free(), free());
        let process = spawn(&folder, agents, api);
        Self { folder, agents, api, process }
    }

    /// Where agents connect.
    pub(crate) fn agents(&self) -> SocketAddr {
        self.agents
    }

    /// Where users connect.
    pub(crate) fn api(&self) -> SocketAddr {
        self.api
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.folder, self.agents, self.api);
    }
}

fn spawn(folder: &TempDir, agents: SocketAddr, api: SocketAddr) -> Child {
    let mut process = Command::new(env!("CARGO_BIN_EXE_piculet-server"))
        .args(["serve", "--listen", &agents.to_string(), "--http", &api.to_string(), "--log", "error"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It says its addresses when it listens.
    let mut line = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("agents: "), "the server did not start: {line:?}");
    process
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
