//! The program with the environment of a Woodpecker agent's container, and nothing else.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fake_cluster::{ADMIN, FakeCluster, Kind, Rule, Script, ScriptedRuntime};
use server_stub::woodpecker::{Compiled, Config, Job, Server, State};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_stream::wrappers::TcpListenerStream;

use crate::process::{ended, free_address, get, signal};

/// A Woodpecker server and a cluster, and what an agent's container has.
struct Site {
    server: Server,
    cluster: FakeCluster,
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Site {
    async fn new(script: Script) -> Self {
        let server = Server::start(Config::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let runtime = ScriptedRuntime::new();
        runtime.on_all(script);
        let cluster = FakeCluster::scripted(&runtime);
        cluster.create_namespace("woodpecker");
        let (_, kubeconfig) = cluster.listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("kubeconfig"), kubeconfig).unwrap();
        std::fs::write(path("secret"), format!("{}\n", Config::TOKEN)).unwrap();
        let mut environment = vec![
            ("WOODPECKER_SERVER", address.to_string()),
            ("WOODPECKER_AGENT_SECRET_FILE", path("secret")),
            ("WOODPECKER_AGENT_CONFIG_FILE", path("agent.conf")),
            ("WOODPECKER_MAX_WORKFLOWS", "2".to_owned()),
            ("WOODPECKER_HEALTHCHECK_ADDR", free_address().await.to_string()),
            ("WOODPECKER_BACKEND", "kubernetes".to_owned()),
            ("WOODPECKER_BACKEND_K8S_STORAGE_RWX", "false".to_owned()),
            ("WOODPECKER_BACKEND_K8S_POD_LABELS", "team: web".to_owned()),
            ("WOODPECKER_CONNECT_RETRY_COUNT", "10".to_owned()),
            ("KUBECONFIG", path("kubeconfig")),
        ];
        // Outside a cluster the Woodpecker agent wants this set to anything; in one, it is true.
        if !Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token").exists() {
            environment.push(("KUBERNETES_SERVICE_HOST", "anything".to_owned()));
        }
        Self { server, cluster, folder, environment }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_piculet"));
        command.args(arguments).current_dir(self.folder.path()).env_clear().envs(self.environment.clone());
        command.stderr(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    fn agent(&self) -> Child {
        self.command(&["agent"]).spawn().unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    async fn until_running(&self, id: i64) {
        self.server
            .wait_for("a running step", |model, _| {
                let running = model.workflow(id)?.steps.iter().any(|step| step.state == State::Running);
                running.then_some(())
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_and_role_of_a_woodpecker_agent_are_enough() {
    let site = Site::new(Script::new().line("begins").wait(Duration::from_millis(1500)).line("ends").exit(0)).await;
    let role = |resources: &[&str], verbs: &[&str]| Rule::new(resources, verbs).in_namespace("woodpecker");
    site.cluster.access().restrict(
        ADMIN,
        vec![
            role(&["persistentvolumeclaims", "services", "secrets"], &["create", "delete"]),
            role(&["pods"], &["create", "delete", "get", "list", "watch"]),
            role(&["pods/log"], &["get"]),
            Rule::new(&["selfsubjectaccessreviews"], &["create"]).of_group("authorization.k8s.io"),
        ],
    );
    let agent = site.agent();
    let id = site.server.submit(Compiled::new("build").then([Job::plugin("test", "alpine")]));
    site.until_running(id).await;
    let pod = &site.cluster.objects(Kind::Pod)[0];
    assert_eq!(
        (pod["metadata"]["namespace"].as_str(), pod["metadata"]["labels"]["team"].as_str()),
        (Some("woodpecker"), Some("web"))
    );
    let claim = &site.cluster.objects(Kind::PersistentVolumeClaim)[0];
    assert_eq!(claim["spec"]["accessModes"][0], "ReadWriteOnce");
    let health = site.environment.iter().find(|(name, _)| *name == "WOODPECKER_HEALTHCHECK_ADDR").unwrap().1.clone();
    let varz = get(health.parse().unwrap(), "/varz").await.unwrap();
    assert!(varz.contains("\"running_count\":1") && varz.contains("\"repository\":\"acme/shop\""), "{varz}");
    let ping = site.command(&["ping"]).output().await.unwrap();
    assert_eq!(ping.status.code(), Some(0), "{ping:?}");
    let done = site.server.ended(id).await;
    assert_eq!(done.state, State::Success, "{done:?}");
    let log: Vec<_> = site.server.log(id, "test").into_iter().map(|line| line.data).collect();
    assert_eq!(log, ["begins", "ends"]);
    signal(&agent, "TERM");
    let (status, said) = ended(agent).await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("WOODPECKER_CONNECT_RETRY_COUNT"), "what has no meaning here is told: {said}");
    assert!(said.contains("The agent may not create configmaps in namespace 'woodpecker': "), "{said}");
    assert!(!said.contains(Config::TOKEN));
    assert_eq!(std::fs::read_to_string(site.path("agent.conf")).unwrap(), r#"{"agent_id":1}"#);
    let ping = site.command(&["ping"]).output().await.unwrap();
    assert_eq!(ping.status.code(), Some(1), "{ping:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_77_and_another_backend_78() {
    let mut site = Site::new(Script::new().exit(0)).await;
    std::fs::write(site.path("secret"), "hunter2").unwrap();
    let (status, said) = ended(site.agent()).await;
    assert_eq!(status.code(), Some(77), "{said}");
    assert!(!said.contains("hunter2"));
    site.environment.push(("WOODPECKER_BACKEND", "docker".to_owned()));
    let (status, said) = ended(site.agent()).await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("WOODPECKER_BACKEND"), "{said}");
}
