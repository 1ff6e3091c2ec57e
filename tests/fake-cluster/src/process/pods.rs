//! The pods that the runtime knows, and the workflows that they belong to.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::hosts;
use super::network::Namespace;
use super::scratch::Scratch;

/// The label that names a pod's workflow, where it has no subdomain.
const WORKFLOW: &str = "piculet.dev/workflow";

/// All pods that were run and are not gone.
#[derive(Debug)]
pub(super) struct Pods {
    scratch: Arc<Scratch>,
    records: Mutex<BTreeMap<String, Record>>,
}

#[derive(Debug)]
struct Record {
    shared: Arc<Shared>,
    workflow: String,
    names: Vec<String>,
    /// The hosts files of its containers.
    hosts: Vec<PathBuf>,
    /// How many of its containers are being run.
    running: usize,
    /// Its object is gone.
    is_gone: bool,
    network: Arc<OnceCell<Namespace>>,
}

/// What a pod's containers share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The pod's folder.
    pub(super) folder: PathBuf,
    /// Cancelled when the pod is gone: its containers must not live on.
    pub(super) gone: CancellationToken,
    containers: AtomicU32,
    /// Held while volumes are made.
    pub(super) volumes: Mutex<()>,
}

/// A container of a pod that is being run. The pod's folder stays as long as there is one.
#[derive(Debug)]
pub(super) struct Stay {
    pods: Arc<Pods>,
    uid: String,
    pub(super) shared: Arc<Shared>,
    /// The network of the pod's workflow, once somebody has made it.
    pub(super) network: Arc<OnceCell<Namespace>>,
}

impl Pods {
    pub(super) fn new(scratch: Arc<Scratch>) -> Arc<Self> {
        Arc::new(Self { scratch, records: Mutex::default() })
    }

    /// Begins the stay of a container.
    pub(super) fn enter(self: &Arc<Self>, pod: &Pod) -> Stay {
        let uid = uid(pod);
        let workflow = workflow(pod);
        let mut records = self.records();
        let neighbour = records.values().find(|record| record.workflow == workflow);
        let network = neighbour.map(|record| Arc::clone(&record.network)).unwrap_or_default();
        let record = records.entry(uid.clone()).or_insert_with(|| Record {
            shared: Arc::new(Shared {
                folder: self.scratch.fresh("pod"),
                gone: CancellationToken::new(),
                containers: AtomicU32::new(0),
                volumes: Mutex::default(),
            }),
            workflow: workflow.clone(),
            names: Vec::new(),
            hosts: Vec::new(),
            running: 0,
            is_gone: false,
            network,
        });
        record.running += 1;
        let shared = Arc::clone(&record.shared);
        let network = Arc::clone(&record.network);
        if record.names.is_empty() {
            record.names = hosts::names(pod);
            let line = hosts::line(&record.names);
            tell(records.values().filter(|other| other.workflow == workflow), &line);
        }
        Stay { pods: Arc::clone(self), uid, shared, network }
    }

    /// A pod's object is gone: its containers are killed, and when they have ended its folder goes.
    pub(super) fn removed(&self, pod: &Pod) {
        let mut records = self.records();
        let uid = uid(pod);
        if let Some(record) = records.get_mut(&uid) {
            record.is_gone = true;
            record.shared.gone.cancel();
            if record.running == 0 {
                forget(&mut records, &uid);
            }
        }
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stay {
    /// A path in the pod's folder that nothing stands at yet.
    pub(super) fn new_folder(&self) -> PathBuf {
        self.shared.folder.join(format!("container-{}", self.shared.containers.fetch_add(1, Ordering::Relaxed)))
    }

    /// Writes the hosts file of a container, and keeps it up to date from then on.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn write_hosts(&self, pod: &Pod, file: &Path) -> io::Result<()> {
        let mut records = self.pods.records();
        let workflow = workflow(pod);
        let mut text = hosts::hosts_file(pod);
        for record in records.values().filter(|record| record.workflow == workflow) {
            text.push_str(&hosts::line(&record.names));
        }
        fs::write(file, text)?;
        if let Some(record) = records.get_mut(&self.uid) {
            record.hosts.push(file.to_owned());
        }
        Ok(())
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut records = self.pods.records();
        if let Some(record) = records.get_mut(&self.uid) {
            record.running -= 1;
            if record.running == 0 && record.is_gone {
                forget(&mut records, &self.uid);
            }
        }
    }
}

/// Adds a line to hosts files. They are written in place: each is mounted over another.
fn tell<'a>(records: impl Iterator<Item = &'a Record>, line: &str) {
    for file in records.flat_map(|record| &record.hosts) {
        let written = OpenOptions::new().append(true).open(file).and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            tracing::warn!(file = %file.display(), %error, "a hosts file can't be written to");
        }
    }
}

fn forget(records: &mut BTreeMap<String, Record>, uid: &str) {
    if let Some(record) = records.remove(uid) {
        remove_later(record.shared.folder.clone());
    }
}

/// Removes a folder without holding anybody up.
pub(super) fn remove_later(folder: PathBuf) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || super::scratch::remove(&folder))),
        Err(_) => super::scratch::remove(&folder),
    }
}

fn uid(pod: &Pod) -> String {
    let name = || format!("{}/{}", namespace(pod), pod.metadata.name.as_deref().unwrap_or_default());
    pod.metadata.uid.clone().unwrap_or_else(name)
}

/// The namespace of a pod.
pub(super) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// The workflow of a pod: pods of one find each other by name and share a network. A pod without one is alone.
fn workflow(pod: &Pod) -> String {
    let subdomain = pod.spec.as_ref().and_then(|spec| spec.subdomain.as_deref());
    let label = || pod.metadata.labels.as_ref().and_then(|labels| labels.get(WORKFLOW)).map(String::as_str);
    match subdomain.or_else(label) {
        Some(name) => format!("{}/{name}", namespace(pod)),
        None => uid(pod),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::{Pods, Scratch};

    fn pod(uid: &str, host: &str, subdomain: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": uid, "namespace": "ci", "uid": uid },
            "spec": { "containers": [], "hostname": host, "subdomain": subdomain },
        }))
        .unwrap()
    }

    fn pods(base: &tempfile::TempDir) -> Arc<Pods> {
        Pods::new(Arc::new(Scratch::new(base.path()).unwrap()))
    }

    #[test]
    fn pods_of_a_workflow_are_told_of_each_other_whoever_comes_first() {
        let base = tempfile::tempdir().unwrap();
        let pods = pods(&base);
        let enter = |pod: &Pod| {
            let stay = pods.enter(pod);
            let file = base.path().join(format!("{}-hosts", stay.uid));
            stay.write_hosts(pod, &file).unwrap();
            (stay, file)
        };
        let (_a, of_a) = enter(&pod("a", "build", "one"));
        let (_b, of_b) = enter(&pod("b", "postgres", "one"));
        let (_c, of_c) = enter(&pod("c", "postgres", "two"));
        let count = |file, name: &str| fs::read_to_string(file).unwrap().matches(name).count();
        assert_eq!((count(&of_a, " postgres "), count(&of_a, " build ")), (1, 1));
        assert_eq!((count(&of_b, " postgres "), count(&of_b, " build ")), (1, 1));
        assert_eq!((count(&of_c, "postgres.two"), count(&of_c, "build"), count(&of_a, "two")), (5 - 1, 0, 0));
    }

    #[test]
    fn a_folder_goes_when_the_pod_is_gone_and_its_containers_have_ended() {
        let base = tempfile::tempdir().unwrap();
        let pods = pods(&base);
        let pod = pod("a", "build", "one");
        let first = pods.enter(&pod);
        let second = pods.enter(&pod);
        let folder = first.shared.folder.clone();
        fs::create_dir_all(&folder).unwrap();
        drop(first);
        assert!(!second.shared.gone.is_cancelled());
        pods.removed(&pod);
        assert!(second.shared.gone.is_cancelled() && folder.exists());
        drop(second);
        assert!(!folder.exists());
        assert_ne!(pods.enter(&pod).shared.folder, folder);
    }

    #[test]
    fn a_network_is_shared_by_a_workflow() {
        let base = tempfile::tempdir().unwrap();
        let pods = pods(&base);
        let [a, b, c] = [("a", "one"), ("b", "one"), ("c", "two")].map(|(uid, flow)| pods.enter(&pod(uid, uid, flow)));
        assert!(Arc::ptr_eq(&a.network, &b.network) && !Arc::ptr_eq(&a.network, &c.network));
    }
}
