//! No secret is seen where people and programs look: one scenario hands out secrets of every kind, lets steps print them, fail
//! with them, fail to start with them and be cancelled with them, and then everything that was written anywhere is searched.
//!
//! Searched are: every version of every object of the namespace but Secrets, events included; with `PICULET_E2E_ETCD` (the
//! address of the cluster's etcd) also what was written there, all of it but Secrets; the log of agent and client libraries at
//! the level `trace`; traces; what health and metrics said; the files of log lines that memory had no room for; the stored logs;
//! and the server's database, which keeps a workflow's secrets as long as it runs, and not a moment longer.

mod found;
mod listening;

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use piculet::config::Listen;
use piculet_core::outcome::StepState::{Failure, Killed, Running, Success};
use piculet_core::secret::Secret;
use piculet_core::workload::{RegistryAuth, WorkloadSpec};
use piculet_link::stream::Token;
use serde_json::json;
use server_stub::server::Config;
use server_stub::store::Store;
use server_stub::stub::Stub;

use self::found::Found;
use self::listening::Listening;
use crate::acts::Acts;
use crate::obstacles::registry;
use crate::world::{Job, job, scenario_with};

/// What each of the secrets is for. Its value can be told from any other text, and from the others.
const ENVIRONMENT: &str = "canaryEnvironment7f3aQx";
const MASKED: &str = "canaryMasked51c9Lw";
const NETRC: &str = "canaryNetrc88d2Vb";
const REGISTRY: &str = "canaryRegistry03e7Kp";
const NATIVE: &str = "canaryNative9a41Zt";
const TOKEN: &str = "canaryToken6b60Hs";
const ALL: [&str; 6] = [ENVIRONMENT, MASKED, NETRC, REGISTRY, NATIVE, TOKEN];

/// Enough lines, of so many characters, that some have to go to the disk.
const LINES: usize = 20_000;
const PADDING: usize = 200;

/// A step that has all kinds of secrets, and what it does with them, as a shell and in memory.
fn holder(name: &str, script: &str, acts: Acts) -> Job {
    let script = script.to_owned();
    job(name, acts)
        .kubernetes(json!({"secrets": [{"name": "native", "key": "value", "target": {"env": "NATIVE"}}]}))
        .with(|spec| {
            spec.entrypoint = vec!["/bin/sh".to_owned(), "-c".to_owned(), script];
            spec.environment = [
                ("CI_NETRC_MACHINE".to_owned(), "git.example.org".to_owned()),
                ("CI_NETRC_USERNAME".to_owned(), "ci".to_owned()),
                ("CI_NETRC_PASSWORD".to_owned(), NETRC.to_owned()),
            ]
            .into();
            spec.secret_environment = [("KEY", ENVIRONMENT), ("MASKED", MASKED)]
                .map(|(name, value)| (name.to_owned(), Secret::new(value)))
                .into();
        })
}

/// Prints them, alone, in a line, and encoded.
const PRINTS: &str =
    r#"echo $KEY; echo "a $MASKED b $CI_NETRC_PASSWORD"; echo $KEY | base64; printf %s "$MASKED" | base64; "#;

fn prints(acts: Acts) -> Acts {
    let encoded = |text: &str| found::base64(text.as_bytes());
    let (key, masked) = (encoded(&format!("{ENVIRONMENT}\n")), encoded(MASKED));
    acts.line(ENVIRONMENT).line(&format!("a {MASKED} b {NETRC}")).line(&key).line(&masked)
}

async fn stages() -> Vec<Vec<Job>> {
    let forbidden = format!("{}/private:1", registry("403 Forbidden").await);
    let says = format!("pulling from host failed with status code [manifests 1]: 403 Forbidden: {forbidden}");
    let pull = holder("pull", "", Acts::new().unpullable(&says)).with(|spec| {
        spec.image = forbidden;
        spec.registry_auth = Some(RegistryAuth { username: "ci".to_owned(), password: Secret::new(REGISTRY) });
    });
    let padding = "x".repeat(PADDING);
    let flood = format!(
        "{PRINTS} sleep 3; awk 'BEGIN {{ for (i = 0; i < {LINES}; i++) print i, ENVIRON[\"KEY\"], ENVIRON[\"CI_NETRC_PASSWORD\"], \"{padding}\" }}'"
    );
    let flooding = prints(Acts::new()).wait(Duration::from_secs(3));
    let flooding = (0..LINES).fold(flooding, |acts, i| acts.line(&format!("{i} {ENVIRONMENT} {NETRC} {padding}")));
    vec![
        vec![holder("good", &flood, flooding)],
        vec![holder("bad", &format!("{PRINTS} exit 3"), prints(Acts::new()).exit(3)), pull],
    ]
}

#[test]
fn no_secret_is_seen_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let found = Found::default();
    let log = found.log_of_this_thread();
    let stub = || {
        let config = Config { agent_token: Some(Secret::new(TOKEN)), ..Config::default() };
        Stub::restart(config, Store::open(&folder.path().join("server.db")).unwrap())
    };
    scenario_with("canary", stub, async |world| {
        let native = json!({"metadata": {"name": "native"}, "stringData": {"value": NATIVE}});
        world.site.create::<KubeSecret>(native).await;
        let listening = Listening::begin(&world.site, &found).await;
        let admin = free_address();
        let (traces, exported) = found::memory();
        let running = world
            .agent_as(Some(Token::Text(Secret::new(TOKEN))), Some(traces), |config| {
                config.admin.address = Some(admin.parse::<Listen>().unwrap());
                config.logs.directory = Some(spool.clone());
                // What doesn't fit goes to the disk.
                (config.logs.memory, config.logs.in_flight) = (1 << 20, 64 << 10);
            })
            .await;
        let masked = |spec: &mut WorkloadSpec| spec.secrets = vec![Secret::new(MASKED)];
        let id = world.submit_with(stages().await, masked);
        world.until_line(&id, "good", "********").await;
        let stored = read_all(folder.path());
        assert!(found::has(&stored, ENVIRONMENT), "the database holds what is to be run, while it runs");
        // Nobody takes lines: they go to the disk.
        running.network.freeze();
        let spooled =
            world.wait_for("lines on the disk", async || Some(read_all(&spool)).filter(|all| !all.is_empty())).await;
        running.network.mend();
        found.add("the files of log lines", &spooled);
        let ended = world.ended(&id).await;
        assert_eq!(
            ["good", "bad", "pull"].map(|step| world.step(&ended, step).state),
            [Success, Failure, Failure],
            "{ended:#?}"
        );
        let cancelled = world.submit_with(vec![vec![cancelled()]], masked);
        world.until(&cancelled, "long", Running).await;
        world.until_line(&cancelled, "long", "begins").await;
        for path in ["/metrics", "/varz", "/readyz", "/livez", "/healthz", "/version"] {
            let address = admin.clone();
            let said = tokio::task::spawn_blocking(move || get(&address, path)).await.unwrap();
            assert!(said.starts_with("HTTP/1.1 "), "{path}: {said}");
            found.add(&format!("the agent's {path}"), said.as_bytes());
        }
        world.cancel(&cancelled);
        let ended_too = world.ended(&cancelled).await;
        assert_eq!(world.step(&ended_too, "long").state, Killed);
        assert!(
            world.log(&cancelled, "long").iter().any(|line| line.contains("last ********")),
            "its last words are there"
        );
        for (id, view) in [(&id, &ended), (&cancelled, &ended_too)] {
            found.add("what the server says of a workflow", format!("{view:?}").as_bytes());
            for step in &view.steps {
                let lines = world.log(id, &step.name);
                let hidden = lines.iter().filter(|line| line.contains("********")).count();
                assert!(step.name == "pull" || hidden >= 4, "{} prints them: {lines:#?}", step.name);
                found.add(&format!("the log of '{}'", step.name), lines.join("\n").as_bytes());
            }
        }
        world.until_clean().await;
        listening.end().await;
        let spans = world
            .wait_for("the last span", async || Some(exported.spans()).filter(|all| all.contains("\"teardown\"")))
            .await;
        found.add("the traces", spans.as_bytes());
        world.stub.server().shut_down(Duration::from_secs(5)).await;
    });
    drop(log);
    found.add("the server's database after the end", &read_all(folder.path()));
    for source in ["the log at trace", "Pod", "Event"] {
        assert!(found.bytes_of(source) > 1000, "{source} was listened to");
    }
    assert_eq!(found.leaks(&ALL), [] as [String; 0]);
}

fn cancelled() -> Job {
    let script =
        format!("trap 'echo last $KEY; exit 0' TERM; {PRINTS} echo begins; while :; do sleep 1 & wait $!; done");
    let acts = prints(Acts::new()).line("begins").forever();
    holder("long", &script, acts.on_sigterm(Duration::from_secs(1), &format!("last {ENVIRONMENT}"), 0))
}

/// All files below a folder, one after the other.
fn read_all(folder: &Path) -> Vec<u8> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in entries.flatten() {
        // One that went meanwhile was not what is looked for.
        all.extend(if entry.path().is_dir() {
            read_all(&entry.path())
        } else {
            std::fs::read(entry.path()).unwrap_or_default()
        });
    }
    all
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn get(address: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// The test can fail: what it searches in is what a leak would be in.
#[test]
fn a_leak_is_found_in_whatever_form() {
    let found = Found::default();
    found.add("clean", b"nothing to see: ********");
    assert_eq!(found.leaks(&ALL), [] as [String; 0]);
    found.add("plain", format!("x{REGISTRY}y").as_bytes());
    for before in ["", "a", "ab", "user:"] {
        found.add(
            &format!("encoded after {before:?}"),
            found::base64(format!("{before}{NETRC}\n").as_bytes()).as_bytes(),
        );
    }
    let split = format!("\"{}\"", MASKED.split_at(4).0);
    found.add("a part of one", split.as_bytes());
    let leaks = found.leaks(&ALL);
    assert_eq!(leaks.len(), 5, "{leaks:#?}");
    assert!(leaks.iter().any(|leak| leak.starts_with(&format!("{REGISTRY} in plain"))), "{leaks:#?}");
    let log = found.log_of_this_thread();
    tracing::trace!(token = TOKEN, "a request");
    drop(log);
    assert_eq!(found.leaks(&ALL).len(), 6);
}
