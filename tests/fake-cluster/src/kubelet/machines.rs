//! Which nodes are alive: a kubelet on a node that is not does nothing, and nobody reaches it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::latest;

/// The power switches of the nodes.
#[derive(Debug, Default)]
pub(crate) struct Machines {
    switches: Mutex<HashMap<String, latest::Sender<bool>>>,
}

impl Machines {
    /// Switches a node on or off.
    pub(crate) fn switch(&self, node: &str, up: bool) {
        self.lock().entry(node.to_owned()).or_insert_with(|| latest::Sender::new(up)).send_replace(up);
    }

    pub(crate) fn is_up(&self, node: &str) -> bool {
        self.lock().get(node).is_some_and(|up| *up.borrow())
    }

    /// Told when the node is switched.
    pub(crate) fn watch(&self, node: &str) -> latest::Receiver<bool> {
        self.lock().entry(node.to_owned()).or_insert_with(|| latest::Sender::new(false)).subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, latest::Sender<bool>>> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
