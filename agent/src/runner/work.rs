//! What a runner has done for it by tasks, so that its loop never waits for the cluster.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use piculet_cluster::{Anchor, Applied, ApplyError, Cluster, ObjectName, Opening, Presence, Stopped};
use piculet_core::id::{Attempt, PodUid, StepIndex};
use piculet_core::observation::Seen;
use piculet_core::outcome::NeverStarted;
use piculet_core::run::Event;
use piculet_core::trace::Part;
use piculet_pods::{Object, PipelineStatus, StepStart, anchor, label};
use tokio::sync::mpsc::Sender;
use tracing::Instrument as _;

use super::removal::Removal;
use super::step_log::Order;
use super::{Runner, StepPod};

/// How long to wait before asking again for a pod that the watch doesn't show and the API server does.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long the API server may take to say how a pod is before it is asked to go.
const LOOKING: Duration = Duration::from_secs(2);

/// How long the stream of a log may take to open before its pod is asked to go.
const OPENING: Duration = Duration::from_secs(3);

/// How often a pod is looked at that changes each time just before it is asked to go.
const LOOKS: u32 = 3;

/// What a task has to say.
#[derive(Debug)]
pub(super) enum Answer {
    /// The workflow's own objects exist, or can't be made: the event says which. Of the anchor, what is there.
    Prepared(Option<Box<Anchor>>, Event),
    /// The pod of an attempt exists.
    Created {
        /// Which attempt.
        attempt: Attempt,
        /// The pod.
        uid: PodUid,
        /// What it is called.
        pod: StepPod,
    },
    /// The API server shows a pod that the watch doesn't.
    Found(Arc<Pod>),
    /// This is somebody else's.
    Foreign(ObjectName),
    /// Anything else, in the machine's own words.
    Happened(Event),
}

impl Runner {
    /// Makes the anchor, then everything that it owns.
    pub(super) fn prepare(&mut self) {
        self.is_preparing = true;
        let (cluster, plan, answers) = (self.shop.cluster.clone(), self.plan.clone(), self.answers.clone());
        self.made.extend(plan.shared.iter().map(ObjectName::from));
        let span = self.record.work(Part::Prepare, None);
        self.tasks.spawn(async move {
            let mut anchor = None;
            let event = match make_shared(&cluster, plan, &mut anchor, &answers).instrument(span).await {
                Ok(()) => Event::Prepared,
                Err(error) => {
                    tracing::warn!(%error, code = error.code(), "a workflow's own objects could not be made");
                    Event::PrepareFailed { reason: error.reason(), message: error.message() }
                }
            };
            Answer::Prepared(anchor, event).send(&answers).await;
        });
    }

    /// Makes the Secrets and the pod of an attempt at a step.
    pub(super) async fn create(&mut self, step: StepIndex, attempt: Attempt, after_failure: bool) {
        let start = StepStart {
            status: if after_failure { PipelineStatus::Failure } else { PipelineStatus::Success },
            workflow_started: self.started,
            step_started: self.shop.clock.now(),
            machine: self.context.machine.clone(),
            platform: self.context.platform.clone(),
            // The node may be what was wrong with the last attempt.
            node: self.node.clone().filter(|_| attempt == Attempt::FIRST),
            trace: self.record.context(step, attempt),
        };
        let owner = self.anchor.as_ref().and_then(|anchor| anchor::owner(&anchor.object));
        let built =
            piculet_pods::step(&self.workload, step, attempt, &start, &self.shop.pods, &self.context, owner.as_ref());
        let objects = match built {
            Ok(objects) => objects,
            // The plan built every step with larger values than these before the workflow was accepted.
            Err(error) => {
                let (reason, message) = (NeverStarted::Config, error.to_string());
                let failed = Event::CreateFailed { step, attempt, reason, message, may_exist: false };
                Answer::Happened(failed).spawn(self);
                return;
            }
        };
        if attempt == Attempt::FIRST {
            self.tell_what_is_not_masked(step).await;
            for note in &objects.notes {
                self.log(step, Order::Say(note.clone())).await;
            }
        }
        let name = objects.pod.metadata.name.clone().unwrap_or_default();
        let labels = objects.pod.metadata.labels.as_ref();
        let shares_node_volume = labels.is_some_and(|labels| labels.contains_key(label::NODE_VOLUME));
        let container = objects.container.clone();
        let (first_line, if_denied) = (objects.first_line.clone(), objects.if_denied.clone());
        let pod = StepPod {
            step,
            name,
            container,
            first_line,
            shares_node_volume,
            version: None,
            opening: Opening::default(),
            if_denied,
        };
        let (cluster, answers) = (self.shop.cluster.clone(), self.answers.clone());
        let span = self.record.work(Part::Create, Some((step, attempt)));
        let objects: Vec<_> = objects.into_objects().collect();
        self.made.extend(objects.iter().map(ObjectName::from));
        self.tasks.spawn(async move {
            let answer = match make_all(&cluster, objects, &answers).instrument(span).await {
                Ok(made) => {
                    let (uid, version) = (made.pod_uid(), Some(made.resource_version));
                    Answer::Created { attempt, uid, pod: StepPod { version, ..pod } }
                }
                Err(error) => {
                    let (reason, message) = (error.reason(), error.message());
                    let may_exist = matches!(error, ApplyError::Unreachable { .. });
                    Answer::Happened(Event::CreateFailed { step, attempt, reason, message, may_exist })
                }
            };
            answer.send(&answers).await;
        });
    }

    /// Asks the pod to go.
    pub(super) fn stop(&mut self, uid: PodUid, grace: Option<Duration>) {
        let Some(pod) = self.pods.get(&uid).cloned() else { return };
        let (cluster, answers) = (self.shop.cluster.clone(), self.answers.clone());
        self.tasks.spawn(async move { ask_to_go(&cluster, &pod, &uid, grace, &answers).await });
    }

    /// Absence from the watch is a hint: only a read by name says that a pod is gone.
    /// `witnessed`: the watch showed how it was when it went.
    pub(super) fn confirm_absence(&mut self, pod: StepPod, uid: PodUid, witnessed: bool) {
        let (cluster, answers) = (self.shop.cluster.clone(), self.answers.clone());
        self.tasks.spawn(async move {
            let mut witnessed = witnessed;
            loop {
                match cluster.confirm_absent(&pod.name, &uid).await {
                    Ok(Presence::Gone | Presence::Replaced(_)) => {
                        let gone = Event::Gone { step: pod.step, uid, witnessed };
                        Answer::Happened(gone).send(&answers).await;
                        return;
                    }
                    // Its label was taken away: from now on only asking shows how it goes on.
                    Ok(Presence::Present(found)) => {
                        witnessed = false;
                        let ended = ended(&found, &pod.container);
                        Answer::Found(found).send(&answers).await;
                        if ended {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(pod = pod.name, %error, "nobody says whether a pod is gone"),
                }
                if answers.is_closed() {
                    return;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        });
    }

    /// Removes everything that the workflow made.
    pub(super) fn teardown(&mut self) {
        self.is_removing = true;
        let removal = Removal {
            workflow: self.label.clone(),
            epoch: self.context.epoch,
            anchor: self.anchor.clone(),
            made: self.made.iter().cloned().collect(),
            grace: self.shop.limits.grace,
        };
        let (cluster, sweeps, answers) = (self.shop.cluster.clone(), self.shop.sweeps.clone(), self.answers.clone());
        self.tasks.spawn(async move {
            removal.run(cluster, &sweeps).await;
            Answer::Happened(Event::TornDown).send(&answers).await;
        });
    }
}

impl Answer {
    /// Sends the answer, unless the runner is gone and nobody needs it.
    pub(super) async fn send(self, answers: &Sender<Self>) {
        let _runner_gone = answers.send(self).await;
    }

    /// Sends it from a task: the runner's own loop must not wait for itself.
    fn spawn(self, runner: &mut Runner) {
        let answers = runner.answers.clone();
        runner.tasks.spawn(async move { self.send(&answers).await });
    }
}

/// Makes what all steps share. `anchor` is what owns it, also if the rest can't be made; without the right to make one
/// nothing owns the objects, and the agent removes them by their names.
async fn make_shared(
    cluster: &Cluster,
    plan: piculet_pods::Plan,
    anchor: &mut Option<Box<Anchor>>,
    answers: &Sender<Answer>,
) -> Result<(), ApplyError> {
    cluster.ensure_namespace().await?;
    *anchor = match cluster.ensure_anchor(&plan.anchor).await {
        Err(error) if error.is_forbidden() => None,
        made => Some(Box::new(made?)),
    };
    let owner = anchor.as_ref().and_then(|anchor| anchor::owner(&anchor.object));
    let mut claims = Vec::new();
    for mut object in plan.shared {
        if let Some(owner) = &owner {
            object.set_owner(owner);
        }
        make(cluster, &object, answers).await?;
        claims.extend(matches!(object, Object::PersistentVolumeClaim(_)).then(|| object.name().to_owned()));
    }
    for claim in claims {
        cluster.until_bound(&claim).await;
    }
    Ok(())
}

/// Makes a step's objects in order; the last one is the pod.
async fn make_all(cluster: &Cluster, objects: Vec<Object>, answers: &Sender<Answer>) -> Result<Applied, ApplyError> {
    let mut made = Applied::default();
    for object in objects {
        made = make(cluster, &object, answers).await?;
    }
    Ok(made)
}

/// Makes one object. What is somebody else's must not be removed by its name later.
async fn make(cluster: &Cluster, object: &Object, answers: &Sender<Answer>) -> Result<Applied, ApplyError> {
    let made = cluster.ensure(object).await;
    if matches!(made, Err(ApplyError::Occupied { .. })) {
        Answer::Foreign(ObjectName::from(object)).send(answers).await;
    }
    made
}

/// Asks a pod to go as it is known to the run: what a step has done by then counts, and its log can be read only as long
/// as the pod is there. The watch may be behind, or dead without knowing it, and so may be who asks.
async fn ask_to_go(cluster: &Cluster, pod: &StepPod, uid: &PodUid, grace: Option<Duration>, answers: &Sender<Answer>) {
    let mut known = pod.version.clone();
    for look in 1..=LOOKS {
        let found = match tokio::time::timeout(LOOKING, cluster.confirm_absent(&pod.name, uid)).await {
            Ok(Ok(Presence::Present(found))) => Some(found),
            Ok(Ok(Presence::Gone | Presence::Replaced(_))) => return gone(pod, uid, answers).await,
            Ok(Err(_)) | Err(_) => None,
        };
        let seen = found.as_ref().map(|found| piculet_pods::observe(found, &pod.container).seen);
        if let Some(found) = found {
            known.clone_from(&found.metadata.resource_version);
            Answer::Found(found).send(answers).await;
        }
        match seen {
            // Its log is being read, and its pod goes with the workflow.
            Some(Seen::Ended(_)) => return,
            Some(Seen::Waiting(_)) => {}
            // It runs, or may.
            Some(Seen::Running { .. }) | None => {
                let _not_in_time = tokio::time::timeout(OPENING, pod.opening.wait()).await;
            }
        }
        // One that never stays as it was is asked all the same.
        let as_known = known.as_deref().filter(|_| look < LOOKS);
        match cluster.stop(&pod.name, uid, as_known, grace).await {
            Ok(Stopped::Asked) => return,
            Ok(Stopped::Changed) => {}
            Ok(Stopped::Gone) => return gone(pod, uid, answers).await,
            // The machine's own clock ends the wait for a pod that nobody could ask.
            Err(error) => {
                tracing::warn!(pod = pod.name, %error, "a pod could not be stopped");
                return;
            }
        }
    }
}

async fn gone(pod: &StepPod, uid: &PodUid, answers: &Sender<Answer>) {
    let gone = Event::Gone { step: pod.step, uid: uid.clone(), witnessed: false };
    Answer::Happened(gone).send(answers).await;
}

fn ended(pod: &Pod, container: &str) -> bool {
    matches!(piculet_pods::observe(pod, container).seen, Seen::Ended(_))
}
