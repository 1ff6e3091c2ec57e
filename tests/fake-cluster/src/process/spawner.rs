//! Starts processes from a thread that lives as long as the runtime.

use std::io;
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// A handle to the thread.
///
/// Each process asks the kernel for SIGKILL when its parent dies (`PR_SET_PDEATHSIG`), and the parent in that sense is
/// the *thread* that started it. Threads of an async runtime come and go.
#[derive(Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread. It ends when the spawner is dropped, and with it what it started.
    ///
    /// # Errors
    /// The machine has no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let (requests, mut received) = mpsc::channel::<Request>(8);
        thread::Builder::new().name("process-spawner".to_owned()).spawn(move || {
            while let Some(mut request) = received.blocking_recv() {
                let _inside = request.runtime.enter();
                let child = request.command.spawn();
                // The command still has the writing ends of the pipes.
                drop(request.command);
                // Whom nobody waits for any more is killed on drop.
                drop(request.reply.send(child));
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// There is no such program, or the machine has no more processes.
    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        let request = Request { command, runtime: Handle::current(), reply };
        self.requests.send(request).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
