//! Starts a container: namespaces, root, rights, and then its command.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bytes::BytesMut;
use rustix::process::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::identity::Identity;
use super::network::Namespace;
use super::running::{Members, Running};
use super::script::READY;
use super::spawner::Spawner;

/// Where the tools are that the runtime itself calls. What a pod says about its own search path doesn't concern them.
pub(super) const TOOLS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a message of the tools may be, in bytes.
const MESSAGE_MAX: usize = 4096;

/// How containers are kept apart on this machine; found out by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Means {
    /// The runtime is not root: containers get a user namespace, in which they are.
    pub(super) user_namespace: bool,
    /// The file system of the scratch folder can't be the upper layer of an overlay: changes are kept in memory.
    pub(super) in_memory: bool,
}

/// A container that is laid out.
#[derive(Debug)]
pub(super) struct Sandbox<'a> {
    pub(super) means: Means,
    pub(super) folder: &'a Path,
    pub(super) host_name: &'a str,
    /// Commands that make the mount points of the volumes.
    pub(super) mount_points: &'a str,
    pub(super) identity: &'a Identity,
    /// The network to be in; `None` is the host's.
    pub(super) network: Option<&'a Namespace>,
}

/// Why a container did not come to be.
#[derive(Debug)]
pub(super) struct SetUpError {
    stage: Stage,
    message: String,
}

/// How far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Layers,
    Pid,
    Proc,
    Root,
    Volumes,
}

impl fmt::Display for SetUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.stage {
            Stage::Start => "new mount, UTS, IPC and cgroup namespaces",
            Stage::Layers => "overlays over this machine's folders",
            Stage::Pid => "a PID namespace and fewer capabilities",
            Stage::Proc => "a /proc of its own",
            Stage::Root => "another root",
            Stage::Volumes => "its volumes",
        };
        write!(f, "a container could not get {what}: {}", self.message)
    }
}

impl From<io::Error> for SetUpError {
    fn from(error: io::Error) -> Self {
        Self { stage: Stage::Start, message: error.to_string() }
    }
}

impl Sandbox<'_> {
    /// Starts the script that becomes the container's command.
    ///
    /// # Errors
    /// What the kernel or a tool refuses.
    pub(super) async fn start(&self, spawner: &Spawner, script: String) -> Result<Running, SetUpError> {
        let mut command = self.command();
        let output = piped(&mut command)?;
        let child = spawner.spawn(command).await?;
        let members = |first| Members::Namespace { first, user: self.means.user_namespace };
        let complaints = self.folder.join("complaints");
        match begin(child, output, script, members).await {
            Ok(running) => Ok(Running { complaints: Some(complaints), ..running }),
            Err(mut error) => {
                if let Ok(text) = std::fs::read_to_string(complaints) {
                    error.note(&text);
                }
                Err(error)
            }
        }
    }

    fn command(&self) -> Command {
        // A session of its own: a terminal that the runtime has must not be the step's. The parent's death is its own.
        let mut words: Vec<String> = ["setsid", "setpriv", "--pdeathsig", "KILL", "--"].map(str::to_owned).into();
        if let Some(network) = self.network {
            words.extend(network.enter());
        }
        words.extend(["unshare", "--mount", "--uts", "--ipc", "--cgroup"].map(str::to_owned));
        // The user namespace of a network is the containers' too.
        if self.means.user_namespace && self.network.is_none() {
            words.extend(["--user", "--map-root-user"].map(str::to_owned));
        }
        words.extend(["--".to_owned(), shell().display().to_string(), "-c".to_owned()]);
        words.extend([include_str!("sandbox.sh").to_owned(), "sandbox".to_owned(), std::process::id().to_string()]);
        let memory = if self.means.in_memory { "memory" } else { "disk" };
        words.extend([self.folder.display().to_string(), self.host_name.to_owned(), memory.to_owned()]);
        words.push(self.mount_points.to_owned());
        words.extend(self.identity.setpriv(self.means.user_namespace));
        tool(&words)
    }
}

impl SetUpError {
    /// Reads what the script and its tools write, until it is ready. Gives the process that becomes the command, as the
    /// host's PID namespace has it, and what was read of its output already.
    async fn unless_ready(lines: &mut pipe::Receiver) -> Result<(Pid, BytesMut), Self> {
        let mut told = Self { stage: Stage::Start, message: String::new() };
        let mut read = BytesMut::new();
        loop {
            while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
                let line = read.split_to(end + 1);
                if let Some(pid) = told.hear(String::from_utf8_lossy(&line).trim_end()) {
                    return Ok((pid, read));
                }
            }
            // A line without an end can't be one of ours.
            let too_long = read.len() > MESSAGE_MAX;
            if too_long || !matches!(lines.read_buf(&mut read).await, Ok(1..)) {
                told.note(&String::from_utf8_lossy(&read));
                return Err(told);
            }
        }
    }

    fn hear(&mut self, line: &str) -> Option<Pid> {
        match line {
            "@layers" => self.stage = Stage::Layers,
            "@pid" => self.stage = Stage::Pid,
            "@proc" => self.stage = Stage::Proc,
            "@root" => self.stage = Stage::Root,
            "@volumes" => self.stage = Stage::Volumes,
            _ => match line.strip_prefix(READY).and_then(|rest| rest.strip_prefix(' ')) {
                Some(pid) => return pid.parse().ok().and_then(Pid::from_raw),
                None => self.note(line),
            },
        }
        None
    }

    fn note(&mut self, line: &str) {
        let line = line.trim();
        if !line.is_empty() && self.message.len() + line.len() < MESSAGE_MAX {
            if !self.message.is_empty() {
                self.message.push_str("; ");
            }
            self.message.push_str(line);
        }
    }
}

/// A command that knows nothing of this process's environment, and dies with whoever waits for it.
pub(super) fn tool(words: &[String]) -> Command {
    let mut command = Command::new(words.first().map_or("", String::as_str));
    command.args(words.iter().skip(1)).env_clear().env("PATH", TOOLS).env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Gives a command one pipe for both of its outputs, so that they keep their order, and another for its input.
pub(super) fn piped(command: &mut Command) -> io::Result<pipe::Receiver> {
    let (output, lines) = pipe::pipe()?;
    let output = output.into_blocking_fd()?;
    command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
    Ok(lines)
}

/// Gives a shell its script, and waits until that becomes the container's command.
pub(super) async fn begin(
    mut child: Child,
    mut output: pipe::Receiver,
    script: String,
    members: impl FnOnce(Pid) -> Members,
) -> Result<Running, SetUpError> {
    let stdin = child.stdin.take();
    let give = async {
        // A process that ends before it has read everything says why on its output.
        if let Some(mut stdin) = stdin
            && let Err(error) = stdin.write_all(script.as_bytes()).await
        {
            tracing::debug!(%error, "a container did not take its script");
        }
    };
    let ((), told) = tokio::join!(give, SetUpError::unless_ready(&mut output));
    match told {
        Ok((pid, read)) => Ok(Running { child, output, read, members: members(pid), complaints: None }),
        Err(mut error) => {
            if error.message.is_empty() {
                let status = child.wait().await;
                error.message = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            }
            Err(error)
        }
    }
}

/// The shell for the set-up: bash where there is one, since others can't close every descriptor.
fn shell() -> PathBuf {
    let known = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"];
    known.iter().map(PathBuf::from).find(|path| path.exists()).unwrap_or_else(|| PathBuf::from("/bin/sh"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::unix::pipe;

    use super::{SetUpError, Stage};

    async fn told(text: &[u8]) -> Result<(i32, Vec<u8>), String> {
        let ((mut writer, mut reader), mut rest) = (pipe::pipe().unwrap(), Vec::new());
        writer.write_all(text).await.unwrap();
        drop(writer);
        let told = SetUpError::unless_ready(&mut reader).await;
        let (pid, mut read) = told.map_err(|error| error.to_string())?;
        reader.read_to_end(&mut rest).await.unwrap();
        read.extend_from_slice(&rest);
        Ok((pid.as_raw_nonzero().get(), read.to_vec()))
    }

    #[tokio::test]
    async fn output_begins_behind_the_ready_line() {
        let read = told(b"@layers\nmount: a hint\n@pid\n@proc\n@root\n@volumes\nready 4711\nready 1\nfirst\n").await;
        assert_eq!(read.unwrap(), (4711, b"ready 1\nfirst\n".to_vec()));
    }

    #[tokio::test]
    async fn a_failure_names_what_was_refused() {
        let error = told(b"unshare: unshare failed: Operation not permitted\n").await.unwrap_err();
        let expected = "a container could not get new mount, UTS, IPC and cgroup namespaces: unshare: unshare failed: Operation not permitted";
        assert_eq!(error, expected);
        let error = told(b"@layers\n@pid\n@proc\nmount: a\n  b").await.unwrap_err();
        assert_eq!(error, "a container could not get a /proc of its own: mount: a; b");
        let error = told(&[b'x'; 10_000]).await.unwrap_err();
        assert!(error.len() < 200, "{error}");
    }

    #[test]
    fn a_ready_line_needs_a_process() {
        let mut told = SetUpError { stage: Stage::Start, message: String::new() };
        assert_eq!(told.hear("ready x"), None);
        assert_eq!(told.hear("readyish 5"), None);
        assert_eq!(told.message, "readyish 5");
    }
}
