//! The worker of one pod: starts its containers in order, keeps its status, ends it when it is to end.

mod start;
mod stop;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Kubelets;
use super::container::Happened;
use super::record::{ContainerRecord, Ended, PodRecord, State, Verdict, digest};
use crate::clock::until;
use crate::events::{Mood, Recorder};
use crate::kind::Kind;
use crate::latest;
use crate::object::{Key, Object};
use crate::runtime::{Exit, Wish};

/// A pod whose object was removed by force still gets a moment to end.
const FORCED_GRACE: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    kubelets: Arc<Kubelets>,
    recorder: Recorder,
    key: Key,
    uid: String,
    pod: Arc<Pod>,
    object: Arc<Object>,
    record: PodRecord,
    slots: Vec<Slot>,
    policy: Restart,
    seen: watch::Receiver<Option<Arc<Object>>>,
    up: latest::Receiver<bool>,
    verdicts: latest::Receiver<HashMap<String, Verdict>>,
    happened: mpsc::Receiver<(usize, Happened)>,
    tell: mpsc::Sender<(usize, Happened)>,
    runs: JoinSet<()>,
    stop: Option<Stop>,
    deadline: Option<Instant>,
    /// When the pod's last phase may be said.
    end_at: Option<Instant>,
    /// When what is left of a pod that was asked to go is removed.
    removal: Option<Instant>,
    gone: bool,
}

/// What the worker needs beside a container's record.
struct Slot {
    spec: Container,
    wish: Option<watch::Sender<Wish>>,
    /// Whether a run of it is under way.
    busy: bool,
    retry_at: Option<Instant>,
    /// The last try at a sandbox for it failed.
    lacks_sandbox: bool,
    backoff: Duration,
    launched: Instant,
    started: Option<Timestamp>,
}

impl Slot {
    fn new(spec: Container) -> Self {
        let launched = Instant::now();
        Self {
            spec,
            wish: None,
            busy: false,
            retry_at: None,
            lacks_sandbox: false,
            backoff: Duration::ZERO,
            launched,
            started: None,
        }
    }
}

/// The pod is being ended.
struct Stop {
    kill_at: Instant,
    killed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restart {
    Never,
    OnFailure,
    Always,
}

impl Worker {
    pub(super) fn new(
        kubelets: Arc<Kubelets>,
        pod: Arc<Pod>,
        object: &Arc<Object>,
        seen: watch::Receiver<Option<Arc<Object>>>,
    ) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let node = spec.node_name.clone().unwrap_or_default();
        let store = Arc::clone(&kubelets.store);
        let inits = spec.init_containers.clone().unwrap_or_default();
        let policy = match spec.restart_policy.as_deref() {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        };
        let reason = if inits.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        let mut containers = Vec::new();
        let mut slots = Vec::new();
        let all = inits.into_iter().map(|one| (true, one)).chain(spec.containers.into_iter().map(|one| (false, one)));
        for (init, container) in all {
            containers.push(ContainerRecord {
                name: container.name.clone(),
                image: container.image.clone().unwrap_or_default(),
                init,
                state: State::waiting(reason),
                last: None,
                restarts: 0,
            });
            slots.push(Slot::new(container));
        }
        let host_ip = store.get(&Key::new(Kind::Node, "", node.as_str())).map_or_else(String::new, |node| {
            node.value()["status"]["addresses"][0]["address"].as_str().unwrap_or_default().to_owned()
        });
        let started = store.clock().now();
        let deadline = spec.active_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let (tell, happened) = mpsc::channel(64);
        Self {
            recorder: Recorder::new(store, "kubelet", &node),
            key: object.key(),
            uid: object.uid().to_owned(),
            object: Arc::clone(object),
            record: PodRecord {
                containers,
                started,
                host_ip,
                pod_ip: pod_ip(object.uid()),
                sandbox: false,
                end: None,
                verdict: None,
            },
            slots,
            policy,
            seen,
            up: kubelets.machines.watch(&node),
            verdicts: kubelets.verdicts.subscribe(),
            happened,
            tell,
            runs: JoinSet::new(),
            stop: None,
            deadline: deadline.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            end_at: None,
            removal: None,
            gone: false,
            kubelets,
            pod,
        }
    }

    /// Lives as long as the pod's object does, and as long as one of its containers.
    pub(super) async fn run(mut self) {
        loop {
            self.until_up().await;
            self.look();
            self.advance();
            self.publish();
            if self.gone && self.slots.iter().all(|slot| !slot.busy) {
                break;
            }
            let next = self.next_moment();
            tokio::select! {
                biased;
                Some((index, happened)) = self.happened.recv() => self.on_container(index, happened),
                seen = self.seen.changed(), if !self.gone => if seen.is_err() { self.gone = true },
                _ = self.up.changed() => {}
                Ok(()) = self.verdicts.changed() => {}
                () = until(next) => {}
            }
        }
        self.kubelets.containers.remove(&self.uid);
        self.kubelets.runtime.removed(&self.pod);
    }

    /// On a node that is down nothing happens; not even time passes for a kubelet. Only the end of the cluster does.
    async fn until_up(&mut self) {
        let mut seen = self.seen.clone();
        tokio::select! {
            biased;
            _ = self.up.wait_for(|up| *up) => {}
            () = async { while seen.changed().await.is_ok() {} } => {}
        }
    }

    /// Takes in what became of the pod's object.
    fn look(&mut self) {
        let seen = self.seen.borrow_and_update().clone();
        match seen {
            Some(object) => {
                if object.is_terminating() {
                    self.on_deletion(&object);
                }
                self.object = object;
            }
            None => self.gone = true,
        }
        if self.gone {
            self.stop_within(FORCED_GRACE);
        }
        let overdue = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let verdict = self.kubelets.take_verdict(&self.uid).or_else(|| {
            overdue.then(|| Verdict {
                reason: "DeadlineExceeded",
                message: "Pod was active on the node longer than the specified deadline".into(),
                disrupted: false,
            })
        });
        if let Some(verdict) = verdict.filter(|_| self.record.end.is_none() && self.record.verdict.is_none()) {
            self.deadline = None;
            self.recorder.record(&self.object, "", Mood::Warning, verdict.reason, &verdict.message);
            // A node in need gives no grace.
            let grace = if verdict.disrupted { Duration::ZERO } else { self.own_grace() };
            self.record.verdict = Some(verdict);
            self.stop_within(grace);
        }
    }

    /// Does whatever is due.
    fn advance(&mut self) {
        let now = Instant::now();
        if let Some(stop) = &mut self.stop {
            if now >= stop.kill_at && !stop.killed {
                stop.killed = true;
                self.slots.iter().filter_map(|slot| slot.wish.as_ref()).for_each(|wish| {
                    wish.send_replace(Wish::Kill);
                });
            }
            if self.slots.iter().all(|slot| !slot.busy) {
                self.finish_stopped();
            }
            return;
        }
        if self.record.end.is_some() {
            return;
        }
        if let Some(end) = self.natural_end() {
            match self.end_at {
                None => self.end_at = Some(now + self.kubelets.timing.phase_lag),
                Some(at) if at <= now => self.record.end = Some(end),
                Some(_) => {}
            }
            return;
        }
        let next_init = self.record.containers.iter().position(|one| one.init && !one.succeeded());
        match next_init {
            Some(index) => self.launch_if_due(index, now),
            None => {
                for index in 0..self.slots.len() {
                    if !self.record.containers[index].init {
                        self.launch_if_due(index, now);
                    }
                }
            }
        }
    }

    fn on_container(&mut self, index: usize, happened: Happened) {
        let now = self.kubelets.store.clock().now();
        match happened {
            Happened::Started => {
                let id = self.id_of(index);
                let record = &mut self.record.containers[index];
                record.state = State::Running { since: now, id };
                self.slots[index].started = Some(now);
                let (image, name) = (&record.image, &record.name);
                let took = self.slots[index].launched.elapsed();
                for (reason, message) in [
                    ("Pulled", format!("Successfully pulled image {image:?} in {took:?} ({took:?} including waiting)")),
                    ("Created", format!("Created container: {name}")),
                    ("Started", format!("Started container {name}")),
                ] {
                    self.recorder.record(&self.object, &field(record), Mood::Normal, reason, &message);
                }
                self.publish();
            }
            Happened::Ended(Ok(exit)) => {
                self.slots[index].busy = false;
                self.slots[index].wish = None;
                self.on_exit(index, exit, now);
            }
            Happened::Ended(Err(error)) => {
                self.slots[index].busy = false;
                self.slots[index].wish = None;
                if self.stop.is_none() {
                    self.refuse(index, &error);
                }
            }
        }
    }

    fn on_exit(&mut self, index: usize, exit: Exit, now: Timestamp) {
        let (code, reason) = match exit {
            Exit::Code(0) => (0, "Completed"),
            Exit::Code(code) => (code, "Error"),
            Exit::Signal(signal) => (128 + signal, "Error"),
            Exit::OutOfMemory(code) => (code, "OOMKilled"),
        };
        let ended = Ended {
            code,
            reason: reason.into(),
            message: String::new(),
            started: Some(self.slots[index].started.unwrap_or(now)),
            finished: Some(now),
            id: self.id_of(index),
        };
        self.end(index, ended);
    }

    /// The container is over, and may begin anew.
    pub(super) fn end(&mut self, index: usize, ended: Ended) {
        self.record.containers[index].state = State::Ended(ended.clone());
        self.publish();
        let again = match self.policy {
            Restart::Never => false,
            Restart::OnFailure => ended.code != 0,
            Restart::Always => !self.record.containers[index].init || ended.code != 0,
        };
        if again && self.stop.is_none() {
            self.restart(index, ended);
        }
    }

    pub(super) fn id_of(&self, index: usize) -> String {
        let record = &self.record.containers[index];
        format!("containerd://{}", digest(&format!("{}/{}/{}", self.uid, record.name, record.restarts)))
    }

    /// Writes the status, if it says anything new.
    fn publish(&mut self) {
        if self.gone {
            return;
        }
        let now = self.kubelets.store.clock().now();
        let written = self.kubelets.store.update(&self.key, false, |pod| {
            let mut next = pod.value().clone();
            if pod.uid() == self.uid {
                self.record.write(&mut next["status"], now);
                next["status"]["observedGeneration"] = pod.value()["metadata"]["generation"].clone();
            }
            Ok(next)
        });
        match written {
            Ok(object) if object.uid() == self.uid => self.object = object,
            _ => self.gone = true,
        }
    }

    /// When the worker has to look again although nothing happened.
    fn next_moment(&self) -> Option<Instant> {
        let now = Instant::now();
        let retries = self.slots.iter().filter(|slot| !slot.busy).filter_map(|slot| slot.retry_at);
        let kill = self.stop.as_ref().filter(|stop| !stop.killed).map(|stop| stop.kill_at);
        let ends = self.end_at.filter(|_| self.record.end.is_none() && self.stop.is_none());
        let deadline = self.deadline.filter(|_| self.record.end.is_none());
        let retries = retries.filter(|at| *at > now && self.stop.is_none());
        let removal = self.removal.filter(|at| *at > now);
        retries.chain(kill).chain(ends).chain(deadline).chain(removal).min()
    }
}

/// How an event names a container.
fn field(record: &ContainerRecord) -> String {
    let kind = if record.init { "initContainers" } else { "containers" };
    format!("spec.{kind}{{{}}}", record.name)
}

/// An address that depends on the pod's uid alone.
fn pod_ip(uid: &str) -> String {
    let digits = digest(uid);
    let byte = |at: usize| digits.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).unwrap_or(1);
    format!("10.244.{}.{}", byte(0), byte(2).clamp(2, 254))
}
