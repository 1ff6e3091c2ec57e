//! The agent as it is released: a process of its own, and what the kernel says of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::certificates::Certificates;

/// Ticks of a processor's second in `/proc`: the same on every Linux.
const TICKS: u32 = 100;

/// A running agent. It is killed when this is dropped.
pub(crate) struct Program {
    process: Child,
    _folder: TempDir,
}

/// Whom an agent talks to.
pub(crate) struct Sides<'a> {
    /// Where its server listens, with TLS.
    pub(crate) server: SocketAddr,
    pub(crate) certificates: &'a Certificates,
    pub(crate) kubeconfig: &'a Path,
    pub(crate) namespace: &'a str,
}

/// What a process has in memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) anonymous: u64,
    pub(crate) resident: u64,
}

/// Builds the program with the profile that is released. It is up to date already if nothing changed.
pub(crate) fn build() -> PathBuf {
    println!("building the agent that is measured");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--package", "piculet", "--bin", "piculet"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success(), "the agent was not built");
    // This program lies in `release/deps`.
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join("piculet")
}

impl Program {
    pub(crate) fn start(program: &Path, sides: &Sides<'_>) -> Self {
        let folder = TempDir::new().unwrap();
        let process = Command::new(program)
            .arg("agent")
            .env_clear()
            .env("PICULET_SERVER_ADDRESS", format!("https://{}", sides.server))
            .env("PICULET_SERVER_CA_FILE", sides.certificates.authority())
            .env("PICULET_SERVER_TOKEN", "any")
            .env("PICULET_KUBERNETES_KUBECONFIG", sides.kubeconfig)
            .env("PICULET_PODS_NAMESPACE", sides.namespace)
            .env("PICULET_AGENT_NAME", "benchmark")
            .env("PICULET_AGENT_MAX_WORKFLOWS", "1000")
            .env("PICULET_ADMIN_ADDRESS", "127.0.0.1:0")
            .env("PICULET_LOG_LEVEL", "warn")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, _folder: folder }
    }

    /// What it has in memory now.
    pub(crate) fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        Memory { anonymous: line("RssAnon:"), resident: line("VmRSS:") }
    }

    /// The processors' time that it has used so far, in user and kernel mode.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(self.proc("stat")).unwrap();
        // The name, in parentheses, may hold spaces.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |field: usize| -> u32 { fields[field].parse().unwrap() };
        Duration::from_secs((ticks(11) + ticks(12)).into()) / TICKS
    }

    fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.process.id()).into()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
