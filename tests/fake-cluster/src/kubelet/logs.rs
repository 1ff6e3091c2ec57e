//! The logs that the kubelets keep.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::log::{ContainerLog, LogSettings};

/// The logs of all containers that a kubelet has not removed yet.
#[derive(Debug)]
pub(crate) struct Containers {
    clock: Clock,
    settings: LogSettings,
    /// By pod uid, then by container name.
    logs: Mutex<HashMap<String, HashMap<String, Kept>>>,
}

#[derive(Debug, Clone)]
struct Kept {
    current: Arc<ContainerLog>,
    previous: Option<Arc<ContainerLog>>,
}

impl Containers {
    pub(crate) fn new(clock: Clock, settings: LogSettings) -> Self {
        Self { clock, settings, logs: Mutex::default() }
    }

    /// A new container's log; the one of the run before becomes the previous one.
    pub(crate) fn begin(&self, uid: &str, container: &str) -> Arc<ContainerLog> {
        let current = Arc::new(ContainerLog::new(self.clock, self.settings));
        let mut logs = self.lock();
        let of_pod = logs.entry(uid.to_owned()).or_default();
        let previous = of_pod.remove(container).map(|kept| kept.current);
        of_pod.insert(container.to_owned(), Kept { current: Arc::clone(&current), previous });
        current
    }

    pub(crate) fn log(&self, uid: &str, container: &str, previous: bool) -> Option<Arc<ContainerLog>> {
        let kept = self.lock().get(uid)?.get(container).cloned()?;
        if previous { kept.previous } else { Some(kept.current) }
    }

    /// The containers of a pod are removed, and their logs with them. Who reads one can read it to its end.
    pub(crate) fn remove(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Kept>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
