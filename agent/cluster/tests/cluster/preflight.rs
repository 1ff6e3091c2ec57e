//! What the agent may do.

use fake_cluster::{ADMIN, Failure, Fault, Rule, Verb};
use piculet_cluster::{Access, Cluster, Limits, Need, Places};
use piculet_pods::settings::Isolation;

use crate::setup::Setup;

#[tokio::test(start_paused = true)]
async fn who_may_do_everything_misses_nothing() {
    let setup = Setup::new();
    let preflight = setup.cluster.preflight(Places::OneNamespace, Isolation::Off).await.unwrap();
    assert!(preflight.rights.iter().all(|right| right.access == Access::Allowed));
    assert!(preflight.is_sufficient());
    assert_eq!(preflight.reduced().count(), 0);
    assert!(preflight.rights.is_sorted_by_key(|right| right.need != Need::Required));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_does_not_exist_is_an_obstacle() {
    let setup = Setup::new();
    let elsewhere = Cluster::new(setup.fake.client(), "elsewhere", Limits::default());
    let preflight = elsewhere.preflight(Places::OneNamespace, Isolation::Off).await.unwrap();
    assert_eq!(preflight.missing().count(), 0, "rights alone don't tell");
    assert!(!preflight.is_sufficient());
    let expected =
        "The namespace 'elsewhere' does not exist: no workflow can run. Create it, or name another in pods.namespace.";
    assert_eq!(preflight.obstacle.as_deref(), Some(expected));
}

#[tokio::test(start_paused = true)]
async fn rights_on_network_policies_are_asked_for_where_each_workflow_gets_one() {
    let setup = Setup::new();
    setup.fake.access().restrict(ADMIN, vec![Rule::everything().of_group("")]);
    let asked = async |isolation| {
        let preflight = setup.cluster.preflight(Places::OneNamespace, isolation).await.unwrap();
        let missing: Vec<_> = preflight.missing().map(ToString::to_string).collect();
        (missing, preflight.reduced().count())
    };
    assert_eq!(asked(Isolation::Off).await, (Vec::new(), 0));
    let sentence = "The agent may not create networkpolicies in namespace 'ci': no workflow can run. Extend its Role.";
    assert_eq!(asked(Isolation::Isolated).await, (vec![sentence.to_owned()], 3));
    let all = Rule::new(&["networkpolicies"], &["create", "get", "list", "delete"]).of_group("networking.k8s.io");
    setup.fake.access().restrict(ADMIN, vec![Rule::everything().of_group(""), all]);
    assert_eq!(asked(Isolation::Isolated).await, (Vec::new(), 0));
}

#[tokio::test(start_paused = true)]
async fn where_each_organization_has_a_namespace_the_rights_are_those_in_all_of_them() {
    let setup = Setup::new();
    let prefix = Cluster::new(setup.fake.client(), "elsewhere", Limits::default());
    let preflight = prefix.preflight(Places::ManyNamespaces, Isolation::Off).await.unwrap();
    assert!(preflight.is_sufficient(), "organizations have others: {:?}", preflight.obstacle);
    assert_eq!(preflight.reduced().count(), 0);

    let mut rules = vec![
        Rule::new(&["pods"], &["create", "get", "list", "watch", "delete"]),
        Rule::new(&["pods/log"], &["get"]),
        Rule::new(&["configmaps", "services", "secrets", "nodes", "events"], &["*"]),
        Rule::new(&["persistentvolumeclaims"], &["*"]).in_namespace("elsewhere"),
        Rule::new(&["namespaces"], &["get"]),
    ];
    setup.fake.access().restrict(ADMIN, rules.clone());
    let said = async |prefix: &Cluster| {
        let preflight = prefix.preflight(Places::ManyNamespaces, Isolation::Off).await.unwrap();
        assert!(preflight.is_sufficient());
        preflight.reduced().map(ToString::to_string).collect::<Vec<_>>()
    };
    let told = said(&prefix).await;
    assert_eq!(told.len(), 5, "{told:?}");
    for sentence in [
        "The agent may not create persistentvolumeclaims in the whole cluster: in a namespace whose own Role does not allow \
         it either, no workflow can run.",
        "The agent may not create namespaces in the whole cluster: no workflow can run of an organization whose namespace \
         does not exist already.",
    ] {
        assert!(told.iter().any(|told| told == sentence), "{told:?}");
    }
    rules.extend([Rule::new(&["persistentvolumeclaims"], &["*"]), Rule::new(&["namespaces"], &["create"])]);
    setup.fake.access().restrict(ADMIN, rules);
    assert!(said(&prefix).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_takes_nothing_is_an_obstacle() {
    let setup = Setup::new();
    let quota = Fault::fail_with(Failure::new(403, "Forbidden", "exceeded quota: objects"))
        .on(Verb::Create)
        .of("secrets")
        .always();
    setup.fake.faults().inject(quota);
    let preflight = setup.cluster.preflight(Places::OneNamespace, Isolation::Off).await.unwrap();
    let obstacle = preflight.obstacle.unwrap();
    assert!(obstacle.starts_with("Nothing can be created in the namespace 'ci'"), "{obstacle}");
    assert!(obstacle.ends_with("exceeded quota: objects"), "{obstacle}");
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_told_with_what_is_lost() {
    let setup = Setup::new();
    setup.fake.access().restrict(
        ADMIN,
        vec![
            Rule::new(&["pods"], &["create", "get", "list", "watch", "delete"]).in_namespace("ci"),
            Rule::new(&["configmaps", "services", "persistentvolumeclaims"], &["*"]).in_namespace("ci"),
            Rule::new(&["secrets"], &["create", "delete"]).in_namespace("ci"),
        ],
    );
    let preflight = setup.cluster.preflight(Places::OneNamespace, Isolation::Off).await.unwrap();
    assert!(!preflight.is_sufficient());
    let missing: Vec<_> = preflight.missing().map(ToString::to_string).collect();
    assert_eq!(missing, ["The agent may not get pods/log in namespace 'ci': no workflow can run. Extend its Role."]);
    let reduced: Vec<_> = preflight.reduced().map(|right| (right.verb, right.resource, &right.namespace)).collect();
    assert_eq!(
        reduced,
        [
            ("get", "secrets", &Some("ci".to_owned())),
            ("list", "secrets", &Some("ci".to_owned())),
            ("list", "events", &Some("ci".to_owned())),
            ("watch", "events", &Some("ci".to_owned())),
            ("get", "namespaces", &None),
            ("list", "nodes", &None),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_right_to_the_one_namespace_that_is_read_is_enough() {
    let named = |name: &str| Rule { names: vec![name.to_owned()], ..Rule::new(&["namespaces"], &["get"]) };
    for (rule, expected) in [
        (named("kube-system"), Access::Allowed),
        (named("kube-system").in_namespace("kube-system"), Access::Allowed),
        (named("kube-public"), Access::Denied),
    ] {
        let setup = Setup::new();
        setup.fake.access().restrict(ADMIN, vec![rule.clone()]);
        let preflight = setup.cluster.preflight(Places::OneNamespace, Isolation::Off).await.unwrap();
        let right = preflight.rights.iter().find(|right| right.resource == "namespaces").unwrap();
        assert_eq!(right.access, expected, "{rule:?}");
        let is_known = setup.cluster.identity().await.unwrap().uid.is_some();
        assert_eq!(is_known, expected == Access::Allowed, "{rule:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_would_not_say_denies_nothing() {
    let setup = Setup::new();
    setup.fake.faults().inject(Fault::fail(403).on(Verb::Create).of("selfsubjectaccessreviews").always());
    let preflight = setup.cluster.preflight(Places::OneNamespace, Isolation::Off).await.unwrap();
    assert!(preflight.rights.iter().all(|right| matches!(right.access, Access::Unknown { .. })));
    assert!(preflight.is_sufficient());
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_not_a_missing_right() {
    let setup = Setup::new();
    setup.fake.faults().inject(Fault::drop_connection().always());
    assert_eq!(
        setup.cluster.preflight(Places::OneNamespace, Isolation::Off).await.unwrap_err().code(),
        "cluster-unreachable"
    );
}
