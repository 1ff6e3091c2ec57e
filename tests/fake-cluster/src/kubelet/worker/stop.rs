//! How a pod ends: by itself, or because it is to.

use std::time::Duration;

use tokio::time::Instant;

use super::{Restart, Stop, Worker, field};
use crate::events::Mood;
use crate::kubelet::record::{ContainerRecord, PodEnd};
use crate::object::Object;
use crate::runtime::Wish;
use crate::store::DeleteOptions;

impl Worker {
    /// A kubelet counts the grace from when it saw the deletion: the time of the object has whole seconds only.
    pub(super) fn on_deletion(&mut self, object: &Object) {
        let seconds = object.value()["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or_default();
        self.stop_within(Duration::from_secs(seconds));
    }

    pub(super) fn own_grace(&self) -> Duration {
        let seconds = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    /// Ends the pod: asks the containers to end, and kills them after `grace`. A later call may only shorten it.
    pub(super) fn stop_within(&mut self, grace: Duration) {
        let kill_at = Instant::now() + grace;
        if let Some(stop) = &mut self.stop {
            stop.kill_at = stop.kill_at.min(kill_at);
            return;
        }
        self.stop = Some(Stop { kill_at, killed: false });
        for (slot, record) in self.slots.iter().zip(&self.record.containers) {
            if let Some(wish) = &slot.wish {
                if record.state.is_running() {
                    let message = format!("Stopping container {}", record.name);
                    self.recorder.record(&self.object, &field(record), Mood::Normal, "Killing", &message);
                }
                wish.send_replace(Wish::Terminate);
            }
        }
    }

    /// How the pod ends by itself, if all that it was to do is done.
    pub(super) fn natural_end(&self) -> Option<PodEnd> {
        let failed_init = |one: &ContainerRecord| one.init && one.state.exit_code().is_some_and(|code| code != 0);
        if self.policy == Restart::Never && self.record.containers.iter().any(failed_init) {
            return Some(PodEnd::Failed);
        }
        let mut codes = self.record.containers.iter().filter(|one| !one.init).map(|one| one.state.exit_code());
        let all_zero = codes.clone().all(|code| code == Some(0));
        match self.policy {
            Restart::Always => None,
            Restart::OnFailure => all_zero.then_some(PodEnd::Succeeded),
            Restart::Never if all_zero => Some(PodEnd::Succeeded),
            Restart::Never => codes.all(|code| code.is_some()).then_some(PodEnd::Failed),
        }
    }

    /// All containers of a pod that was to end have ended.
    pub(super) fn finish_stopped(&mut self) {
        if self.record.end.is_none() {
            let natural = self.natural_end().filter(|_| self.record.verdict.is_none());
            if natural.is_none() {
                self.record.end_unseen();
            }
            // The last status of the containers is seen before the last phase.
            self.publish();
            self.record.end = Some(natural.unwrap_or(PodEnd::Failed));
        }
        let deleted = self.object.is_terminating();
        if !deleted && self.record.verdict.as_ref().is_none_or(|verdict| !verdict.disrupted) {
            return;
        }
        self.publish();
        let removal = *self.removal.get_or_insert_with(|| Instant::now() + self.kubelets.timing.removal_lag);
        if Instant::now() < removal && !self.gone {
            return;
        }
        self.kubelets.containers.remove(&self.uid);
        let uncontested = self.object.value()["metadata"]["deletionGracePeriodSeconds"] != 0;
        if deleted && uncontested && !self.gone {
            let options = DeleteOptions { grace: Some(0), uid: Some(self.uid.clone()), ..DeleteOptions::default() };
            if let Err(failure) = self.kubelets.store.delete(&self.key, &options) {
                tracing::debug!(%failure, "the pod's object is gone already");
            }
        }
    }
}
