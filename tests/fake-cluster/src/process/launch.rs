//! From a pod's container to a running command.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::beneath::Node;
use super::command::{Command, SOURCE};
use super::host::View;
use super::hosts;
use super::identity::Identity;
use super::network::Namespace;
use super::pods::{self, Stay};
use super::root::Root;
use super::running::Running;
use super::sandbox::{Means, Sandbox, TOOLS};
use super::scratch::Scratch;
use super::script::{self, Preamble};
use super::unprotected::{self, Places};
use super::volumes::{self, Folders, Mount};
use super::{ProcessRuntime, ProcessSettings, config_error, create_error};
use crate::runtime::{CreateError, VolumeFiles};

/// A container that may be started.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) pod: Arc<Pod>,
    pub(super) container: Container,
    pub(super) environment: BTreeMap<String, String>,
    identity: Identity,
    files: VolumeFiles,
}

impl Launch {
    /// Reads a container of a pod.
    ///
    /// # Errors
    /// There is no such container, or what it asks for can't be had.
    pub(super) fn new(
        pod: Arc<Pod>,
        name: &str,
        files: VolumeFiles,
        means: Option<Means>,
    ) -> Result<Self, CreateError> {
        let spec = pod.spec.as_ref();
        let mut containers =
            spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
        let Some(container) = containers.find(|container| container.name == name).cloned() else {
            return Err(config_error(format!("the pod has no container '{name}'")));
        };
        // A plain process is who the runtime is, whatever the pod says.
        let identity = match means {
            Some(means) => Identity::of(&pod, &container, means.user_namespace)?,
            None => Identity::root(),
        };
        let environment = environment(&pod, &container, &identity)?;
        Ok(Self { pod, container, environment, identity, files })
    }

    /// Starts a command in the place of this container.
    ///
    /// # Errors
    /// What the pod asks for can't be had, or the machine does not do it.
    pub(super) async fn start(
        self,
        runtime: &ProcessRuntime,
        stay: &Arc<Stay>,
        command: Command,
    ) -> Result<Running, CreateError> {
        let folder = stay.new_folder();
        let network = match runtime.means {
            Some(means) if runtime.settings.offline => {
                let new = || Namespace::new(&runtime.spawner, means.user_namespace);
                Some(stay.network.get_or_try_init(new).await.map_err(create_error)?)
            }
            _ => None,
        };
        let prepare = Prepare {
            launch: self,
            command,
            folder: folder.clone(),
            means: runtime.means,
            settings: runtime.settings.clone(),
            scratch: Arc::clone(&runtime.scratch),
            stay: Arc::clone(stay),
        };
        let prepared = tokio::task::spawn_blocking(move || prepare.run()).await.map_err(create_error)??;
        let Prepared { launch, command, place } = prepared;
        match place {
            Place::Root { means, mount_points } => {
                let script = script::become_command(&Preamble::NewRoot, &command, &launch.environment);
                let sandbox = Sandbox {
                    means,
                    folder: &folder,
                    host_name: &hosts::host_name(&launch.pod),
                    mount_points: &mount_points,
                    identity: &launch.identity,
                    network,
                };
                sandbox.start(&runtime.spawner, script).await.map_err(create_error)
            }
            Place::Host(places) => {
                let started = unprotected::start(&runtime.spawner, &places, &folder, &command, &launch.environment);
                started.await.map_err(create_error)
            }
        }
    }
}

/// What takes its time in the file system.
struct Prepare {
    launch: Launch,
    command: Command,
    folder: PathBuf,
    means: Option<Means>,
    settings: ProcessSettings,
    scratch: Arc<Scratch>,
    /// The folder must not be removed meanwhile, even if nobody waits any more.
    stay: Arc<Stay>,
}

struct Prepared {
    launch: Launch,
    command: Command,
    place: Place,
}

/// Where a command runs.
enum Place {
    Root { means: Means, mount_points: String },
    Host(Places),
}

impl Prepare {
    fn run(self) -> Result<Prepared, CreateError> {
        let mounts = self.mounts()?;
        let place = match self.means {
            Some(means) => self.root(means, &mounts).map_err(create_error)?,
            None => Place::Host(Places::new(&mounts, &self.folder).map_err(create_error)?),
        };
        Ok(Prepared { launch: self.launch, command: self.command, place })
    }

    fn mounts(&self) -> Result<Vec<Mount>, CreateError> {
        let pod = &self.launch.pod;
        let mut of_claims = BTreeMap::new();
        for name in volumes::claims(pod) {
            let folder = self.scratch.claim(pods::namespace(pod), name).map_err(create_error)?;
            of_claims.insert(name.to_owned(), folder);
        }
        let folders = Folders { of_pod: &self.stay.shared.folder.join("volumes"), of_claims: &of_claims };
        // Two containers of a pod may want the same volume at once.
        let _alone = self.stay.shared.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mounts = volumes::make(pod, &self.launch.container, &self.launch.files, &folders)?;
        if let (Some(source), true) = (&self.settings.source, self.command.words.iter().any(|word| word == SOURCE)) {
            let (source, target) = (source.clone(), PathBuf::from(SOURCE));
            mounts.push(Mount { source, part: PathBuf::new(), target, read_only: true, node: Node::Folder });
            mounts.sort_by(|a, b| a.target.cmp(&b.target));
        }
        Ok(mounts)
    }

    fn root(&self, means: Means, mounts: &[Mount]) -> io::Result<Place> {
        let view = view(&self.settings, &self.scratch, means)?;
        let root = Root {
            folder: &self.folder,
            view: &view,
            pod: &self.launch.pod,
            mounts,
            work_folder: &self.command.folder,
            offline: self.settings.offline,
            user_namespace: means.user_namespace,
        };
        let mount_points = root.lay_out()?;
        self.stay.write_hosts(&self.launch.pod, &root.hosts())?;
        Ok(Place::Root { means, mount_points })
    }
}

/// What containers see of this machine.
pub(super) fn view(settings: &ProcessSettings, scratch: &Scratch, means: Means) -> io::Result<View> {
    let mut hidden = settings.hidden.clone();
    hidden.push(scratch.folder().to_owned());
    // Next to it are those of other runtimes.
    hidden.extend(scratch.folder().parent().filter(|base| *base != Path::new("/")).map(Path::to_owned));
    View::of_this_machine(&hidden, means.user_namespace)
}

/// The environment that a container runtime would give: what the pod says, and three variables.
fn environment(pod: &Pod, container: &Container, identity: &Identity) -> Result<BTreeMap<String, String>, CreateError> {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), TOOLS.to_owned()),
        ("HOME".to_owned(), identity.home(&accounts)),
        ("HOSTNAME".to_owned(), hosts::host_name(pod)),
    ]);
    for variable in container.env.iter().flatten() {
        let value = variable.value.clone().unwrap_or_default();
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) || value.contains('\0') {
            return Err(config_error(format!(
                "the variable '{}' can't be set: a name has no '=', and neither name nor value has a zero byte",
                variable.name.escape_debug()
            )));
        }
        environment.insert(variable.name.clone(), value);
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::Launch;

    fn launch(env: Value) -> Result<Launch, String> {
        let container = json!({ "name": "step", "env": env });
        let pod = json!({ "metadata": { "name": "build" }, "spec": { "containers": [container] } });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        Launch::new(Arc::new(pod), "step", Default::default(), None).map_err(|error| error.message)
    }

    #[test]
    fn the_pods_word_goes_before_the_runtimes_own() {
        let env =
            json!([{ "name": "HOME", "value": "/tmp" }, { "name": "A", "value": "$(B) stays" }, { "name": "EMPTY" }]);
        let environment = launch(env).unwrap().environment;
        let found: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("A", "$(B) stays"),
            ("EMPTY", ""),
            ("HOME", "/tmp"),
            ("HOSTNAME", "build"),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_no_process_can_have_is_refused() {
        for env in [json!([{ "name": "A=B" }]), json!([{ "name": "" }]), json!([{ "name": "A", "value": "x\u{0}y" }])] {
            assert!(launch(env).unwrap_err().contains("can't be set"));
        }
    }
}
