//! A runtime that plays a script: what tests use.

mod play;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;

use crate::runtime::{ContainerIo, CreateError, Exit, RunFuture, Runtime};

/// How many bytes of generated lines are printed at a time.
const PIECE: usize = 256 << 10;

/// What a container does, from its image to its end. Without more it starts at once and exits with code 0.
#[derive(Debug, Clone)]
pub struct Script {
    pull: Duration,
    failure: Option<(CreateError, u32)>,
    start: Duration,
    acts: Vec<Act>,
    end: Option<Exit>,
    on_sigterm: Reaction,
}

#[derive(Debug, Clone)]
enum Act {
    Wait(Duration),
    Print(Bytes),
}

/// What a container does when it is asked to end.
#[derive(Debug, Clone)]
enum Reaction {
    Die,
    Ignore,
    Leave { words: Bytes, after: Duration, code: i32 },
}

impl Script {
    /// Starts at once, prints nothing, exits with code 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pull: Duration::ZERO,
            failure: None,
            start: Duration::ZERO,
            acts: Vec::new(),
            end: Some(Exit::Code(0)),
            on_sigterm: Reaction::Die,
        }
    }

    /// The image needs this long. The pod cannot be ended meanwhile.
    #[must_use]
    pub fn pull_takes(mut self, time: Duration) -> Self {
        self.pull = time;
        self
    }

    /// The image cannot be pulled, ever.
    #[must_use]
    pub fn pull_fails(self, message: &str) -> Self {
        self.pull_fails_times(u32::MAX, message)
    }

    /// The image cannot be pulled the first so many times.
    #[must_use]
    pub fn pull_fails_times(self, times: u32, message: &str) -> Self {
        self.cannot_be_created_times(times, "ErrImagePull", message)
    }

    /// The container cannot be created, ever, for this reason (for example `CreateContainerError`). With
    /// `FailedCreatePodSandBox` the pod gets no sandbox, and only events tell; with `StartError` the container is over.
    #[must_use]
    pub fn cannot_be_created(self, reason: &str, message: &str) -> Self {
        self.cannot_be_created_times(u32::MAX, reason, message)
    }

    fn cannot_be_created_times(mut self, times: u32, reason: &str, message: &str) -> Self {
        self.failure = Some((CreateError { reason: reason.to_owned(), message: message.to_owned() }, times));
        self
    }

    /// From the image to the running process.
    #[must_use]
    pub fn starts_after(mut self, time: Duration) -> Self {
        self.start = time;
        self
    }

    /// Next, time passes.
    #[must_use]
    pub fn wait(mut self, time: Duration) -> Self {
        self.acts.push(Act::Wait(time));
        self
    }

    /// Next, these bytes are printed: no newline is added, and they need not be UTF-8.
    #[must_use]
    pub fn print(mut self, bytes: impl Into<Bytes>) -> Self {
        self.acts.push(Act::Print(bytes.into()));
        self
    }

    /// Next, a line is printed.
    #[must_use]
    pub fn line(self, line: &str) -> Self {
        self.print(format!("{line}\n"))
    }

    /// Next, many lines are printed at full speed. All containers that play this script share their bytes.
    #[must_use]
    pub fn lines(mut self, count: usize, line: impl Fn(usize) -> String) -> Self {
        let mut piece = String::new();
        for number in 0..count {
            piece.push_str(&line(number));
            piece.push('\n');
            if piece.len() >= PIECE {
                self.acts.push(Act::Print(std::mem::take(&mut piece).into()));
            }
        }
        if !piece.is_empty() {
            self.acts.push(Act::Print(piece.into()));
        }
        self
    }

    /// At the end, exits with this code.
    #[must_use]
    pub fn exit(mut self, code: i32) -> Self {
        self.end = Some(Exit::Code(code));
        self
    }

    /// At the end, dies of this signal.
    #[must_use]
    pub fn signal(mut self, signal: i32) -> Self {
        self.end = Some(Exit::Signal(signal));
        self
    }

    /// At the end, is killed for want of memory.
    #[must_use]
    pub fn out_of_memory(self) -> Self {
        self.child_out_of_memory(137)
    }

    /// At the end, a process of it is killed for want of memory, and the first one exits with this code.
    #[must_use]
    pub fn child_out_of_memory(mut self, code: i32) -> Self {
        self.end = Some(Exit::OutOfMemory(code));
        self
    }

    /// Never ends by itself, as a service does.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.end = None;
        self
    }

    /// SIGTERM does nothing; only SIGKILL ends it.
    #[must_use]
    pub fn ignores_sigterm(mut self) -> Self {
        self.on_sigterm = Reaction::Ignore;
        self
    }

    /// After SIGTERM it goes on for a while, prints its last words and exits with this code.
    #[must_use]
    pub fn on_sigterm(mut self, after: Duration, last_words: impl Into<Bytes>, code: i32) -> Self {
        self.on_sigterm = Reaction::Leave { words: last_words.into(), after, code };
        self
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

type Matcher = Box<dyn Fn(&Pod, &str) -> bool + Send + Sync>;

/// A runtime whose containers play scripts.
#[derive(Default)]
pub struct ScriptedRuntime {
    rules: Mutex<Vec<(Matcher, Script)>>,
    /// How often each container was tried, by pod uid and name.
    tries: Mutex<HashMap<(String, String), u32>>,
}

impl ScriptedRuntime {
    /// A runtime without scripts: every container plays `Script::new()`, and init containers exit with 0.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on, containers that match play this script. `matcher` is given the pod and the container's name. Of
    /// several scripts that match, the one that was added last is played.
    pub fn on(&self, matcher: impl Fn(&Pod, &str) -> bool + Send + Sync + 'static, script: Script) {
        lock(&self.rules).push((Box::new(matcher), script));
    }

    /// From now on, all containers play this script, but for init containers.
    pub fn on_all(&self, script: Script) {
        self.on(|pod, container| !is_init(pod, container), script);
    }

    /// From now on, the containers of pods with this label play this script, but for init containers.
    pub fn on_label(&self, key: &str, value: &str, script: Script) {
        let (key, value) = (key.to_owned(), value.to_owned());
        let matcher = move |pod: &Pod| {
            pod.metadata.labels.as_ref().and_then(|labels| labels.get(&key)).is_some_and(|found| *found == value)
        };
        self.on(move |pod, container| matcher(pod) && !is_init(pod, container), script);
    }

    /// From now on, the containers of the pod with this name play this script, but for init containers.
    pub fn on_pod(&self, name: &str, script: Script) {
        let name = name.to_owned();
        let is_its = move |pod: &Pod| pod.metadata.name.as_deref() == Some(name.as_str());
        self.on(move |pod, container| is_its(pod) && !is_init(pod, container), script);
    }

    /// From now on, the containers with this name play this script.
    pub fn on_container(&self, name: &str, script: Script) {
        let name = name.to_owned();
        self.on(move |_, container| container == name, script);
    }

    fn script(&self, pod: &Pod, container: &str) -> Script {
        let rules = lock(&self.rules);
        let found = rules.iter().rev().find(|(matcher, _)| matcher(pod, container));
        match found {
            Some((_, script)) => script.clone(),
            None if is_init(pod, container) => Script::new().exit(0),
            None => Script::new(),
        }
    }

    /// Counts a try of a container; how many there were before.
    fn count(&self, pod: &Pod, container: &str) -> u32 {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut tries = lock(&self.tries);
        let count = tries.entry((uid, container.to_owned())).or_default();
        *count += 1;
        *count - 1
    }
}

impl Runtime for ScriptedRuntime {
    fn run(self: Arc<Self>, pod: Arc<Pod>, container: String, io: ContainerIo) -> RunFuture {
        let mut script = self.script(&pod, &container);
        let tried = self.count(&pod, &container);
        script.failure = script.failure.filter(|(_, times)| tried < *times);
        Box::pin(play::play(script, io))
    }

    fn removed(&self, pod: &Pod) {
        lock(&self.tries).retain(|(uid, _), _| Some(uid) != pod.metadata.uid.as_ref());
    }
}

impl fmt::Debug for ScriptedRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedRuntime").field("scripts", &lock(&self.rules).len()).finish_non_exhaustive()
    }
}

fn is_init(pod: &Pod, container: &str) -> bool {
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    inits.into_iter().any(|init| init.name == container)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
