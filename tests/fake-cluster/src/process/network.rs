//! A network for one workflow: a loopback interface, and nothing else.

use std::io;
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin};

use super::sandbox::tool;
use super::spawner::Spawner;

/// A network namespace. It is gone when this is dropped and no container is in it any more.
#[derive(Debug)]
pub(super) struct Namespace {
    /// The process that keeps it, together with its user namespace if it has one.
    holder: u32,
    user: bool,
    _child: Child,
    /// The process reads from here until there is nothing more to come.
    _stdin: Option<ChildStdin>,
}

impl Namespace {
    /// Makes one, in a user namespace of its own where the runtime is not root.
    ///
    /// # Errors
    /// The kernel or `ip` refuses, in their words.
    pub(super) async fn new(spawner: &Spawner, user: bool) -> io::Result<Self> {
        let mut words = vec!["setsid", "setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net"];
        if user {
            words.extend(["--user", "--map-root-user"]);
        }
        words.extend(["--", "/bin/sh", "-c", "exec 2>&1; ip link set lo up && echo up && read -r end"]);
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let mut command = tool(&words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawner.spawn(command).await?;
        let mut told = Vec::new();
        if let Some(stdout) = &mut child.stdout {
            while !told.ends_with(b"\n") && stdout.read_buf(&mut told).await? > 0 {}
        }
        let holder = child.id().filter(|_| told == b"up\n");
        let told = String::from_utf8_lossy(&told);
        let why = || io::Error::other(format!("no network namespace with a loopback interface: {}", told.trim()));
        Ok(Self { holder: holder.ok_or_else(why)?, user, _stdin: child.stdin.take(), _child: child })
    }

    /// The beginning of a command line that runs the rest inside.
    pub(super) fn enter(&self) -> Vec<String> {
        let mut words = vec!["nsenter".to_owned()];
        if self.user {
            words.extend([format!("--user=/proc/{}/ns/user", self.holder), "--preserve-credentials".to_owned()]);
        }
        words.extend([format!("--net=/proc/{}/ns/net", self.holder), "--".to_owned()]);
        words
    }
}
