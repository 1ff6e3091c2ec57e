//! A workflow's own objects, and the check that all of its steps' objects will fit.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, Service, ServiceSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use piculet_core::id::{Attempt, Epoch, InstanceId, ServerId, StepIndex};
use piculet_core::trace::{self, Key, WorkflowTrace};
use piculet_core::workload::{Problem, Workload};
use std::fmt;
use std::time::Duration;

use crate::anchor::{self, Anchor};
use crate::environment::{PipelineStatus, StepStart};
use crate::label::Identity;
use crate::names::{Names, WorkflowNames};
use crate::object::Object;
use crate::settings::Settings;
use crate::step::{Build, StepObjects};
use crate::{isolation, label, limits};

/// A node's name is a DNS subdomain.
const LONGEST_NODE_NAME: usize = 253;

/// Who makes the objects, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The server that wants the workflow run.
    pub server: ServerId,
    /// The instance that drives it.
    pub instance: InstanceId,
    /// The epoch of the assignment.
    pub epoch: Epoch,
    /// The agent's host name, which steps see as `CI_MACHINE`.
    pub machine: String,
    /// The agent's platform, which steps see as `CI_SYSTEM_PLATFORM`: `linux/amd64`. Steps run on nodes of its
    /// architecture, unless the workflow, the operator or the step wants another.
    pub platform: String,
    /// The version of piculet.
    pub version: String,
    /// How long the whole workflow may take: its own limit, or the agent's.
    pub time_limit: Duration,
    /// When the workflow's time is over; what nobody holds then may be swept.
    pub deadline: Timestamp,
}

/// What a workflow needs before its first step.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The anchor, to be created first: it owns everything else.
    pub anchor: ConfigMap,
    /// The other objects of the workflow, each to be stamped with [`anchor::owner`] of the created anchor.
    pub shared: Vec<Object>,
    /// What each step's log has to say about fields that were left out. [`step`] gives them again.
    pub notes: BTreeMap<StepIndex, Vec<String>>,
}

/// Why a workflow can't run on Kubernetes; no agent with these settings could run it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PlanError {
    /// Every problem, in the order of the steps; never empty. None holds a secret value.
    pub problems: Vec<Problem>,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// Plans a workflow: its own objects, after every step's were built once with the largest values that they can get.
///
/// # Errors
/// Everything that Kubernetes would not take, with the step and the field.
pub fn plan(workload: &Workload, settings: &Settings, context: &Context) -> Result<Plan, PlanError> {
    let workflow = WorkflowNames::new(&context.server, workload);
    let names = Names::new(workload);
    // The length of a UID is all that counts.
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: workflow.anchor.clone(),
        uid: "00000000-0000-0000-0000-000000000000".to_owned(),
        ..OwnerReference::default()
    };
    let start = StepStart {
        status: PipelineStatus::Failure,
        workflow_started: Timestamp::MAX,
        step_started: Timestamp::MAX,
        machine: context.machine.clone(),
        platform: context.platform.clone(),
        node: Some("n".repeat(LONGEST_NODE_NAME)),
        trace: Some(largest_trace(context, workload)),
    };
    let (mut problems, mut notes, mut has_workspace) = (Vec::new(), BTreeMap::new(), false);
    for (index, _) in workload.indexed() {
        let build = Build { workload, index, settings, context, workflow: &workflow, names: &names, start: &start };
        match build.objects(Attempt(u32::MAX), Some(&owner)) {
            Ok(built) => {
                has_workspace |= built.mounts_workspace;
                if !built.objects.notes.is_empty() {
                    notes.insert(index, built.objects.notes);
                }
            }
            Err(error) => problems.extend(error.problems),
        }
    }
    let plan = Plan {
        anchor: anchor_object(workload, settings, context, &workflow),
        shared: shared(workload, settings, context, &workflow, has_workspace),
        notes,
    };
    problems.extend(limits::object("the workflow's id", &Object::from(plan.anchor.clone())));
    for object in &plan.shared {
        problems.extend(limits::object("the workflow's labels", object));
    }
    if problems.is_empty() { Ok(plan) } else { Err(PlanError { problems }) }
}

/// Nobody sees it: its length is all that counts.
fn largest_trace(context: &Context, workload: &Workload) -> trace::Context {
    let own = WorkflowTrace::new(context.server.clone(), workload.id.clone(), None);
    let state = "=".repeat(trace::Context::LONGEST_STATE);
    trace::Context { state, ..own.context(own.span(Key::new("plan")), true) }
}

/// Builds the objects of one attempt at a step.
///
/// # Errors
/// As [`plan`], which finds them all before anything is created.
pub fn step(
    workload: &Workload,
    index: StepIndex,
    attempt: Attempt,
    start: &StepStart,
    settings: &Settings,
    context: &Context,
    owner: Option<&OwnerReference>,
) -> Result<StepObjects, PlanError> {
    let workflow = WorkflowNames::new(&context.server, workload);
    let names = Names::new(workload);
    let build = Build { workload, index, settings, context, workflow: &workflow, names: &names, start };
    build.objects(attempt, owner).map(|built| built.objects)
}

fn anchor_object(workload: &Workload, settings: &Settings, context: &Context, names: &WorkflowNames) -> ConfigMap {
    let anchor = Anchor {
        server: context.server.clone(),
        workflow: workload.id.clone(),
        holder: context.instance.clone(),
        epoch: context.epoch,
        digest: anchor::digest(workload),
        deadline: context.deadline,
        version: context.version.clone(),
    };
    anchor.config_map(metadata(&names.anchor, workload, settings, context, names))
}

fn shared(
    workload: &Workload,
    settings: &Settings,
    context: &Context,
    names: &WorkflowNames,
    has_workspace: bool,
) -> Vec<Object> {
    let mut objects = Vec::new();
    // First: no pod may be there before it.
    let of_policy = metadata(&names.network_policy, workload, settings, context, names);
    objects.extend(isolation::policy(settings, &names.key, of_policy).map(Object::from));
    if has_workspace {
        let size = BTreeMap::from([("storage".to_owned(), Quantity(settings.volume_size.clone()))]);
        objects.push(Object::from(PersistentVolumeClaim {
            metadata: metadata(&names.workspace, workload, settings, context, names),
            spec: Some(PersistentVolumeClaimSpec {
                access_modes: Some(vec![settings.access_mode.as_str().to_owned()]),
                resources: Some(VolumeResourceRequirements { requests: Some(size), limits: None }),
                storage_class_name: settings.storage_class.clone(),
                ..PersistentVolumeClaimSpec::default()
            }),
            ..PersistentVolumeClaim::default()
        }));
    }
    objects.push(Object::from(Service {
        metadata: metadata(&names.service, workload, settings, context, names),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            // By our own key: the server's id of the workflow may be another server's, too.
            selector: Some(BTreeMap::from([(label::WORKFLOW.to_owned(), names.key.clone())])),
            // A service is found as soon as it has an address, not only once it is ready.
            publish_not_ready_addresses: Some(true),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }));
    objects
}

fn metadata(
    name: &str,
    workload: &Workload,
    settings: &Settings,
    context: &Context,
    names: &WorkflowNames,
) -> ObjectMeta {
    let identity =
        Identity { server: context.server.clone(), workflow: workload.id.clone(), epoch: context.epoch, step: None };
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(settings.namespace.clone()),
        labels: Some(label::of_workflow(workload, &names.key, false)),
        annotations: Some(identity.annotations()),
        ..ObjectMeta::default()
    }
}
