//! What the agent's rights are for, as far as no other scenario shows it: without one of them something here goes wrong.
//! `deploy/without-a-right` takes them away, one after the other.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Secret, Service};
use kube::api::{ListParams, LogParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use piculet_core::id::{Attempt, ServerId, StepIndex, WorkflowId};
use piculet_core::outcome::StepState::{Running, Success};
use piculet_core::secret;
use piculet_core::workload::{StepKind, Workload};
use piculet_pods::label;
use piculet_pods::names::{Names, WorkflowNames};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use server_stub::dispatch::{State, Submission};

use crate::acts::Acts;
use crate::world::{Job, SERVER, World, ends, job, scenario, skip, spec};

/// A step that has a Secret of its own.
pub(crate) fn with_secret(job: Job) -> Job {
    job.with(|spec| _ = spec.secret_environment.insert("TOKEN".to_owned(), secret::Secret::new("hidden-value")))
}

pub(crate) fn service(name: &str) -> Job {
    job(name, Acts::new().forever()).with(|spec| spec.kind = StepKind::Service)
}

#[test]
fn a_workflow_that_uses_every_kind_of_object() {
    scenario("every-kind", async |world| {
        world.agent().await;
        let build = with_secret(job("build", Acts::new().line("works")));
        let id = world.submit(vec![vec![service("db")], vec![build]]);
        let ended = world.ended(&id).await;
        assert_eq!(ends(&ended)["build"], (Success, Some(0)), "{ended:#?}");
        assert_eq!(world.own_lines(&id, "build"), ["works"]);
    });
}

#[test]
fn which_cluster_it_is_and_what_its_nodes_are() {
    scenario("identity", async |world| {
        world.agent().await;
        world.run(vec![vec![job("any", Acts::new())]]).await;
        let agents = world.stub.server().agents();
        assert_eq!(agents.len(), 1);
        assert!(!agents[0].platforms.is_empty(), "the platforms of the nodes are not known");
        let system = Api::<Namespace>::all(world.site.client()).get("kube-system").await.unwrap();
        let clusters = world.stub.server().clusters();
        assert_eq!(Some(&clusters[0].uid), system.metadata.uid.as_ref());
    });
}

/// Makes an object that is not the agent's, and looks that a workflow which needs its name fails instead of using it.
async fn occupied<K>(world: &World, id: &str, job: Job, name: impl Fn(&Workload) -> String, object: Value)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
{
    world.site.teach("build", &Acts::new());
    let (id, spec) = (WorkflowId::new(id), spec(vec![vec![service("db")], vec![job]]));
    let name = name(&Workload::new(id.clone(), spec.clone()).unwrap());
    let mut all = json!({"metadata": {"name": name}});
    crate::world::merge(&mut all, object);
    let theirs: K = world.site.create(all).await;
    world.stub.server().submit(vec![Submission::new(id.clone(), spec)]).unwrap();
    let ended = world.ended(&id).await;
    assert_eq!(ended.state, State::Failure, "{} '{name}' was used: {ended:#?}", K::kind(&()));
    let said = ended.steps.iter().map(|step| step.error.as_str()).chain([ended.error.as_str()]).collect::<Vec<_>>();
    assert!(said.iter().any(|said| said.contains(&name)), "nobody says that '{name}' is taken: {said:?}");
    let still_there = world.site.api::<K>().get(&name).await.unwrap();
    assert_eq!(still_there.meta().uid, theirs.meta().uid);
}

#[test]
fn what_somebody_else_made_is_not_used() {
    scenario("occupied", async |world| {
        world.agent().await;
        let server = ServerId::new(SERVER);
        let build = || with_secret(job("build", Acts::new()));
        let anchor = |workload: &Workload| WorkflowNames::new(&server, workload).anchor;
        occupied::<ConfigMap>(world, "one", build(), anchor, json!({})).await;
        let workspace = |workload: &Workload| WorkflowNames::new(&server, workload).workspace;
        let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
        occupied::<PersistentVolumeClaim>(world, "two", build(), workspace, claim).await;
        let network = |workload: &Workload| WorkflowNames::new(&server, workload).service;
        let headless = json!({"spec": {"clusterIP": "None", "selector": {"nobody": "here"}}});
        occupied::<Service>(world, "three", build(), network, headless).await;
        let values = |workload: &Workload| Names::new(workload).of(StepIndex(1), Attempt::FIRST).step_secret;
        // With that the step would run.
        occupied::<Secret>(world, "four", build(), values, json!({"stringData": {"TOKEN": "theirs"}})).await;
    });
}

/// Takes the owners away of all objects of a kind that workflows made; there has to be one.
pub(crate) async fn disown<K>(world: &World)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = world.site.api::<K>();
    let found = api.list(&ListParams::default().labels(&label::selector())).await.unwrap();
    assert!(!found.items.is_empty(), "there is no {}", K::kind(&()));
    for object in found {
        let nobody = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
        api.patch(&object.name_any(), &PatchParams::default(), &nobody).await.unwrap();
    }
}

#[test]
fn what_lost_its_owner_goes_at_the_end() {
    scenario("disowned", async |world| {
        world.agent().await;
        let id = world.submit(vec![vec![
            service("db"),
            with_secret(job("long", Acts::new().line("begins").wait(Duration::from_secs(4)))),
        ]]);
        world.until_line(&id, "long", "begins").await;
        world.until(&id, "db", Running).await;
        disown::<Secret>(world).await;
        disown::<Service>(world).await;
        disown::<PersistentVolumeClaim>(world).await;
        world.ended(&id).await;
        world.until_clean().await;
    });
}

#[test]
fn nothing_is_missing() {
    scenario("complete", async |world| {
        world.agent().await;
        let Some(inside) = &world.inside else { skip("the rights are the chart's: PICULET_E2E=inside") };
        // What is missing is said in its first moments.
        world.run(vec![vec![job("any", Acts::new())]]).await;
        for pod in inside.pods().list(&ListParams::default()).await.unwrap() {
            let log = inside.pods().logs(&pod.name_any(), &LogParams::default()).await.unwrap();
            let missing: Vec<_> = log.lines().filter(|line| line.contains("The agent may not")).collect();
            assert!(missing.is_empty(), "{}", missing.join("\n"));
        }
    });
}
