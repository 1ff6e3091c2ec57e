//! Playing a script.

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{Act, Reaction, Script};
use crate::runtime::{ContainerIo, CreateError, Exit, Wish};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

pub(super) async fn play(script: Script, io: ContainerIo) -> Result<Exit, CreateError> {
    let ContainerIo { started, output, mut wish, .. } = io;
    // A pull goes on even if the pod is to end.
    tokio::time::sleep(script.pull).await;
    if let Some((error, _)) = script.failure {
        return Err(error);
    }
    tokio::select! {
        biased;
        () = tokio::time::sleep(script.start) => {}
        _ = wish.wait_for(|wish| *wish != Wish::Run) => {}
    }
    if *wish.borrow() != Wish::Run {
        return Err(CreateError { reason: "ContainerCreating".into(), message: "the pod is being ended".into() });
    }
    if started.send(()).is_err() {
        return Ok(Exit::Signal(SIGKILL));
    }
    let acts = async {
        for act in script.acts {
            match act {
                Act::Wait(time) => tokio::time::sleep(time).await,
                Act::Print(bytes) => print(&output, bytes).await,
            }
        }
        match script.end {
            Some(exit) => exit,
            None => std::future::pending().await,
        }
    };
    Ok(tokio::select! {
        biased;
        exit = acts => exit,
        exit = obey(&mut wish, &script.on_sigterm, &output) => exit,
    })
}

async fn obey(wish: &mut watch::Receiver<Wish>, reaction: &Reaction, output: &mpsc::Sender<Bytes>) -> Exit {
    let killed = |wish: &Wish| *wish == Wish::Kill;
    if wish.wait_for(|wish| *wish != Wish::Run).await.is_err() || killed(&wish.borrow()) {
        return Exit::Signal(SIGKILL);
    }
    let answer = async {
        match reaction {
            Reaction::Die => Exit::Signal(SIGTERM),
            Reaction::Ignore => std::future::pending().await,
            Reaction::Leave { words, after, code } => {
                tokio::time::sleep(*after).await;
                print(output, words.clone()).await;
                Exit::Code(*code)
            }
        }
    };
    tokio::select! {
        biased;
        exit = answer => exit,
        _ = wish.wait_for(killed) => Exit::Signal(SIGKILL),
    }
}

/// Nobody listens only when the whole cluster ends; then nobody misses the output either.
async fn print(output: &mpsc::Sender<Bytes>, bytes: Bytes) {
    if output.send(bytes).await.is_err() {
        tracing::debug!("output after the end of the cluster");
    }
}
