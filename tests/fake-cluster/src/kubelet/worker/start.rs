//! How containers start, and start again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Worker, field};
use crate::events::Mood;
use crate::kubelet::container::Run;
use crate::kubelet::environment;
use crate::kubelet::image;
use crate::kubelet::record::{Ended, State};
use crate::runtime::{CreateError, VolumeFiles, Wish};

/// The reason of a runtime that can't even make a pod's namespaces.
const NO_SANDBOX: &str = "FailedCreatePodSandBox";
/// The reason of a runtime that made the container and can't execute its program.
const NOT_STARTED: &str = "StartError";

impl Worker {
    pub(super) fn launch_if_due(&mut self, index: usize, now: Instant) {
        let slot = &self.slots[index];
        let state = &self.record.containers[index].state;
        let waits = matches!(state, State::Waiting { .. });
        if slot.busy || !waits || slot.retry_at.is_some_and(|at| at > now) {
            return;
        }
        if let State::Waiting { reason, message } = state
            && reason == "ErrImagePull"
        {
            let error = message.clone();
            return self.back_off_from_pull(index, &error);
        }
        let mut pod = (*self.pod).clone();
        let volumes = match environment::volume_files(&self.kubelets.store, &pod) {
            Ok(volumes) => volumes,
            Err((volume, why)) => {
                let message = format!("MountVolume.SetUp failed for volume {volume:?} : {why}");
                self.recorder.record(&self.object, "", Mood::Warning, "FailedMount", &message);
                self.slots[index].retry_at = Some(now + self.kubelets.timing.setup_retry);
                return;
            }
        };
        let image = self.record.containers[index].image.clone();
        if !image::is_reference(&image) {
            let message = format!(
                "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
            );
            let at = field(&self.record.containers[index]);
            self.recorder.record(&self.object, &at, Mood::Warning, "InspectFailed", &message);
            self.refuse(index, &CreateError { reason: "InvalidImageName".into(), message });
            return;
        }
        let mut container = self.slots[index].spec.clone();
        let mut secrets = match environment::resolve(&self.kubelets.store, &pod, &mut container) {
            Ok(secrets) => secrets,
            Err(why) => {
                self.refuse(index, &CreateError { reason: "CreateContainerConfigError".into(), message: why });
                return;
            }
        };
        secrets.extend(environment::secrets_in(&pod, &volumes));
        if let Some(spec) = &mut pod.spec {
            let all = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
            for one in all.filter(|one| one.name == container.name) {
                *one = container.clone();
            }
        }
        self.launch(index, pod, volumes, secrets);
    }

    pub(super) fn launch(&mut self, index: usize, pod: Pod, volumes: VolumeFiles, secrets: Vec<String>) {
        let record = &mut self.record.containers[index];
        if record.last.is_some() {
            record.restarts += 1;
        }
        let message = format!("Pulling image {:?}", record.image);
        self.recorder.record(&self.object, &field(record), Mood::Normal, "Pulling", &message);
        self.record.sandbox = !self.slots[index].lacks_sandbox;
        let (wish, wishes) = watch::channel(Wish::Run);
        let run = Run {
            runtime: Arc::clone(&self.kubelets.runtime),
            pod: Arc::new(pod),
            name: record.name.clone(),
            volumes,
            secrets,
            log: self.kubelets.containers.begin(&self.uid, &record.name),
            wish: wishes,
        };
        let slot = &mut self.slots[index];
        slot.wish = Some(wish);
        slot.busy = true;
        slot.retry_at = None;
        slot.launched = Instant::now();
        slot.started = None;
        self.runs.spawn(run.live(index, self.tell.clone()));
    }

    /// The container runs again: the first time at once, then after a while that doubles each time.
    pub(super) fn restart(&mut self, index: usize, ended: Ended) {
        let first = self.record.containers[index].restarts == 0;
        let wait = if first { Duration::ZERO } else { self.grow_backoff(index) };
        let record = &mut self.record.containers[index];
        record.last = Some(ended);
        self.slots[index].retry_at = Some(Instant::now() + wait);
        if first {
            record.state = State::waiting("ContainerCreating");
            return;
        }
        let (name, pod, namespace) = (&record.name, &self.key.name, &self.key.namespace);
        let who = format!("container {name} in pod {pod}_{namespace}({})", self.uid);
        let said = format!("Back-off restarting failed {who}");
        self.recorder.record(&self.object, &field(record), Mood::Warning, "BackOff", &said);
        let uid = &self.uid;
        let message =
            format!("back-off {}s restarting failed container={name} pod={pod}_{namespace}({uid})", wait.as_secs());
        record.state = State::Waiting { reason: "CrashLoopBackOff".into(), message };
    }

    /// The container could not be created: says why, and tries again later.
    pub(super) fn refuse(&mut self, index: usize, error: &CreateError) {
        let record = &self.record.containers[index];
        let at = field(record);
        let image = record.image.clone();
        let failed = |message: &str| self.recorder.record(&self.object, &at, Mood::Warning, "Failed", message);
        let waiting = |reason: &str, message: &str| State::Waiting { reason: reason.into(), message: message.into() };
        if error.reason == NO_SANDBOX {
            // The pod itself says nothing of it.
            let message = format!("Failed to create pod sandbox: {}", error.message);
            self.recorder.record(&self.object, "", Mood::Warning, NO_SANDBOX, &message);
            self.record.sandbox = false;
            self.slots[index].lacks_sandbox = true;
            self.record.containers[index].state = State::waiting("ContainerCreating");
            self.slots[index].retry_at = Some(Instant::now() + self.kubelets.timing.setup_retry);
            return;
        }
        if error.reason == NOT_STARTED {
            failed(&format!("Error: {}", error.message));
            let ended = Ended {
                code: 128,
                reason: error.reason.clone(),
                message: error.message.clone(),
                started: Some(Timestamp::UNIX_EPOCH),
                finished: Some(self.kubelets.store.clock().now()),
                id: self.id_of(index),
            };
            self.end(index, ended);
            return;
        }
        if error.reason != "ErrImagePull" {
            failed(&format!("Error: {}", error.message));
            self.record.containers[index].state = waiting(&error.reason, &error.message);
            self.slots[index].retry_at = Some(Instant::now() + self.kubelets.timing.setup_retry);
            self.publish();
            return;
        }
        failed(&format!("Failed to pull image {image:?}: {}", error.message));
        failed("Error: ErrImagePull");
        self.record.containers[index].state = waiting("ErrImagePull", &error.message);
        self.slots[index].retry_at = Some(Instant::now() + self.kubelets.timing.pull_backoff);
    }

    /// The kubelet finds, when it looks at the pod again, that it is too early for another pull.
    pub(super) fn back_off_from_pull(&mut self, index: usize, error: &str) {
        let wait = self.grow_backoff(index);
        let record = &mut self.record.containers[index];
        let message = format!("Back-off pulling image {:?}", record.image);
        self.recorder.record(&self.object, &field(record), Mood::Normal, "BackOff", &message);
        let message = format!("{message}: ErrImagePull: {error}");
        record.state = State::Waiting { reason: "ImagePullBackOff".into(), message };
        self.slots[index].retry_at = Some(Instant::now() + wait);
    }

    pub(super) fn grow_backoff(&mut self, index: usize) -> Duration {
        let timing = &self.kubelets.timing;
        let slot = &mut self.slots[index];
        slot.backoff = (slot.backoff * 2).clamp(timing.pull_backoff, timing.longest_backoff);
        slot.backoff
    }
}
