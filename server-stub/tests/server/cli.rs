//! The program, as a process.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::Assert;
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Endpoint;

use crate::agent::{RawAgent, accepted, call_over, finished, held, hello, log, log_end, step};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_piculet-server");

const FILE: &str = "skip_clone: true\nsteps:\n  - {name: build it, image: alpine, commands: [make]}\n";

/// A server process; it is ended with the value.
pub(crate) struct Served {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) agents: String,
    pub(crate) api: String,
    folder: TempDir,
}

impl Served {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::listening("127.0.0.1:0", options)
    }

    fn listening(address: &str, options: &[&str]) -> Self {
        Self::spawn(address, options, None)
    }

    fn spawn(address: &str, options: &[&str], token: Option<&str>) -> Self {
        let folder = TempDir::new().unwrap();
        Self::within(folder, address, "127.0.0.1:0", options, token)
    }

    /// Kills it, and starts it again in the same place.
    fn restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let address = |url: &str| url.trim_start_matches("http://").to_owned();
        let (agents, api) = (address(&self.agents), address(&self.api));
        let folder = std::mem::replace(&mut self.folder, TempDir::new().unwrap());
        Self::within(folder, &agents, &api, &[], None)
    }

    fn within(folder: TempDir, listen: &str, http: &str, options: &[&str], token: Option<&str>) -> Self {
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", listen, "--http", http, "--log", "warn"])
            .args(options)
            .envs(token.map(|token| ("PICULET_SERVER_TOKEN", token)))
            // The database is in the folder where the server runs.
            .current_dir(&folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut address = |prefix: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim().strip_prefix(prefix).unwrap_or_else(|| panic!("{line:?}")).to_owned()
        };
        let (agents, api) = (address("agents: "), address("api: "));
        Self { child, stdout, agents, api, folder }
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        write(&self.folder, name, text)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(&self.api, arguments)
    }

    async fn agent(&self, token: Option<&str>) -> RawAgent {
        let channel = Endpoint::from_shared(self.agents.clone()).unwrap().connect().await.unwrap();
        let agent = call_over(channel, token, vec![Said::Hello(hello("agent"))]).await.unwrap();
        agent.demand(4).await;
        agent
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("piculet-server.db")).unwrap()
    }

    fn terminate(&mut self) -> Option<i32> {
        signal("-TERM", &self.child);
        self.child.wait().unwrap().code()
    }
}

fn signal(name: &str, child: &Child) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn write(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn command(api: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--server", api]);
    command
}

/// Runs a command to its end. One that hangs has failed.
pub(crate) fn ended(command: Command) -> Assert {
    assert_cmd::Command::from_std(command).timeout(Duration::from_secs(60)).assert()
}

fn stdout(command: Command) -> String {
    String::from_utf8(ended(command).success().get_output().stdout.clone()).unwrap()
}

fn serve(options: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--in-memory"]).args(options);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_goes_its_way() {
    let mut served = Served::start(&[]);
    let file = served.file("test.yaml", FILE);
    let mut submit = served.command(&["submit", text(&file), "--wait", "--follow"]);
    let submit = submit.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut agent = served.agent(None).await;
    let assign = agent.assign().await;
    agent.say(accepted(&assign)).await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["making", "made"])).await;
    agent.say(log_end(&assign, 4, 2, 10)).await;
    agent.say(step(&assign, 5, pb::StepState::Failure, Some(7))).await;
    agent.say(finished(&assign, 6, pb::WorkflowState::Failure)).await;
    let output = submit.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{err}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[..2], ["[build it] making", "[build it] made"]);
    assert_eq!(lines[3].split_whitespace().collect::<Vec<_>>(), ["1", "test", "failure", "agent"]);
    assert!(err.contains("step 'build it': failure (exit code 7)"), "{err}");

    assert_eq!(stdout(served.command(&["logs", "1", "build it"])), "making\nmade\n");
    assert_eq!(stdout(served.command(&["logs", "-f", "test"])), "[build it] making\n[build it] made\n");
    let shown = stdout(served.command(&["list", "1"]));
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["build", "it", "failure", "7", "2"])), "{shown}");
    let agents: Value = serde_json::from_str(&stdout(served.command(&["agents", "--json"]))).unwrap();
    assert_eq!((&agents["agents"][0]["name"], &agents["agents"][0]["state"]), (&"agent".into(), &"connected".into()));

    // A signal ends sessions and the process; nothing more is printed.
    let ended = tokio::spawn(async move { agent.end().await });
    assert_eq!(served.terminate(), Some(0));
    assert_eq!(ended.await.unwrap().message(), "the server is shutting down");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut served.stdout, &mut rest).unwrap();
    assert_eq!(rest, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_workflow_waits_over_a_restart_of_the_server() {
    let served = Served::start(&[]);
    let file = served.file("test.yaml", FILE);
    let submitting = |options: &[&str]| {
        let mut command = served.command(&[&["submit", text(&file), "--wait"], options].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (quiet, loud) = (submitting(&[]), submitting(&["--follow"]));
    let mut agent = served.agent(None).await;
    let assigns = [agent.assign().await, agent.assign().await];
    for assign in &assigns {
        agent.accept(assign).await;
        agent.say(step(assign, 2, pb::StepState::Running, None)).await;
        agent.say(log(assign, 3, 0, &["one", "two"])).await;
        while agent.ack().await.2 < 3 {}
    }
    let served = served.restart();
    let channel = Endpoint::from_shared(served.agents.clone()).unwrap().connect().await.unwrap();
    let back = pb::Hello { held: assigns.iter().map(|assign| held(assign, 3)).collect(), ..hello("agent") };
    let mut agent = call_over(channel, None, vec![Said::Hello(back)]).await.unwrap();
    for assign in &assigns {
        agent.say(log(assign, 4, 2, &["three"])).await;
        agent.say(log_end(assign, 5, 3, 11)).await;
        agent.say(step(assign, 6, pb::StepState::Success, Some(0))).await;
        agent.say(finished(assign, 7, pb::WorkflowState::Success)).await;
        while agent.ack().await.2 < 7 {}
    }
    let (quiet, loud) = (quiet.wait_with_output().unwrap(), loud.wait_with_output().unwrap());
    for output in [&quiet, &loud] {
        let error = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{error}");
        assert!(error.contains("the workflow goes on, trying again for 300 s\nthe server is back\n"), "{error}");
    }
    let out = String::from_utf8(loud.stdout).unwrap();
    let printed: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("[build it] ")).collect();
    assert_eq!(printed, ["one", "two", "three"], "each line once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_followed_to_less_than_its_end_is_no_success() {
    let mut served = Served::start(&[]);
    let file = served.file("test.yaml", FILE);
    stdout(served.command(&["submit", text(&file)]));
    let mut agent = served.agent(None).await;
    let assign = agent.take().await;
    agent.say(log(&assign, 2, 0, &["one"])).await;
    agent.say(log_end(&assign, 3, 1, 4)).await;
    agent.say(step(&assign, 4, pb::StepState::Success, Some(0))).await;
    while agent.ack().await.2 < 4 {}
    // The step is over, and the workflow is not.
    for options in [&[][..], &["--json"]] {
        let out = stdout(served.command(&[&["logs", "-f", "1", "build it"], options].concat()));
        assert!(out.contains("one"), "{out}");
    }
    let mut following: Vec<_> = [&[][..], &["--json"]]
        .map(|options| {
            let mut command = served.command(&[&["logs", "-f", "1"], options].concat());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .into();
    for child in &mut following {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    }
    let ended = tokio::spawn(async move { agent.end().await });
    assert_eq!(served.terminate(), Some(0));
    ended.await.unwrap();
    for child in following {
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{error}");
        assert!(error.contains("broke off: it ended before what it tells of was over"), "{error}");
    }
}

#[test]
fn a_workflow_without_an_agent_says_so_and_can_be_cancelled() {
    let served = Served::start(&[]);
    let file = served.file("test.yaml", FILE);
    let submitted: Value = serde_json::from_str(&stdout(served.command(&["submit", text(&file), "--json"]))).unwrap();
    assert_eq!(submitted["workflows"][0]["number"], 1);
    let list = stdout(served.command(&["list"]));
    assert!(list.contains("no agent is connected"), "{list}");
    assert_eq!(stdout(served.command(&["cancel", "1", "--reason", "never mind"])), "1  test  canceled\n");
    let again = ended(served.command(&["cancel", "1"])).code(2);
    let error = String::from_utf8(again.get_output().stderr.clone()).unwrap();
    assert!(error.starts_with("error[workflow-over]: the workflow '"), "{error}");
}

#[test]
fn workload_files_are_taken_too() {
    let served = Served::start(&[]);
    let good = "name: raw\nstages:\n  - steps:\n      - {id: a, name: one, image: alpine, commands: [make]}\n";
    let good = served.file("good.yaml", good);
    let submitted = stdout(served.command(&["submit", "--workload", text(&good), "--label", "region=eu"]));
    assert!(submitted.trim().ends_with("  raw"), "{submitted}");
    let bad = served.file("bad.yaml", "name: raw\nsecrets: [hunter2hunter2]\nstaegs: []\n");
    let failed = ended(served.command(&["submit", "--workload", text(&bad)])).code(2);
    let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(error.contains("staegs") && !error.contains("hunter2hunter2"), "{error}");
}

#[test]
fn a_list_is_whole_however_many_pages_it_has() {
    let served = Served::start(&[]);
    let file = served.file("w.json", r#"{"name":"w","stages":[{"steps":[{"id":"a","name":"a","image":"alpine"}]}]}"#);
    // A page has 1000 at most.
    let mut arguments = vec!["submit"];
    arguments.extend(std::iter::repeat_n(["--workload", text(&file)], 1001).flatten());
    stdout(served.command(&arguments));
    let list: Value = serde_json::from_str(&stdout(served.command(&["--json", "list"]))).unwrap();
    let numbers = list["workflows"].as_array().unwrap().iter().map(|workflow| workflow["number"].as_u64().unwrap());
    assert!(numbers.eq(1..=1001), "all of them, the oldest first");
}

#[test]
fn bad_input_has_exit_code_2() {
    let served = Served::start(&[]);
    let broken = served.file("broken.yaml", "steps: [\n");
    let binary = served.file("binary.yaml", b"steps: \xff\n");
    let good = served.file("good.yaml", FILE);
    for (arguments, words) in [
        (
            vec!["submit", text(&broken)],
            "error[pipeline-invalid]: a pipeline file can't be run\n\nerror[yaml-syntax]: ",
        ),
        (vec!["submit", text(&broken)], "broken.yaml:"),
        (vec!["submit", text(&binary)], "is no text: the byte at 7 is not UTF-8"),
        (vec!["submit", "/nowhere/file.yaml"], "can't read /nowhere/file.yaml"),
        (vec!["submit", text(&good), "--event", "shove"], "error[context-invalid]: "),
        (vec!["submit", text(&good), "--secret", "hunter2hunter2"], "it has to be NAME=VALUE"),
        (vec!["submit", text(&good), "--timeout", "0s"], "--timeout has to be a second or more"),
        (vec!["submit"], "required"),
        (vec!["logs", "9"], "error[workflow-unknown]: there is no workflow '9'"),
        (vec!["agents", "--drain", "nobody"], "error[agent-unknown]: "),
        (vec!["dance"], "unrecognized subcommand"),
    ] {
        let failed = ended(served.command(&arguments)).code(2);
        let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn a_server_that_is_not_there_has_exit_code_69() {
    // Nobody listens there: the port was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = ended(command(&format!("http://{free}"), &["list"])).code(69);
    let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(error.starts_with(&format!("error[unreachable]: can't reach the server at {free}")), "{error}");
    ended(command(&format!("https://{free}"), &["list"])).code(69);
    ended(command("ftp://127.0.0.1:1", &["list"])).code(2);
}

#[test]
fn an_address_in_use_has_exit_code_69() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = ended(serve(&["--listen", &address])).code(69);
    let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(error.contains(&format!("error[listen]: can't listen on {address}")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_asked_for_on_both_sides() {
    let folder = TempDir::new().unwrap();
    let (agent_token, api_token) = (write(&folder, "agent", "for-agents\n"), write(&folder, "api", "for-people\n"));
    let served = Served::start(&["--token-file", text(&agent_token), "--api-token-file", text(&api_token)]);
    let failed = ended(served.command(&["list"])).code(77);
    let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(error.starts_with("error[unauthorised]: "), "{error}");
    ended(served.command(&["list", "--api-token-file", text(&agent_token)])).code(77);
    ended(served.command(&["list", "--api-token-file", text(&api_token)])).success();
    served.agent(Some("for-agents")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_token_may_be_a_variable_and_never_an_argument() {
    let served = Served::spawn("127.0.0.1:0", &[], Some("for-agents\n"));
    served.agent(Some("for-agents")).await;
    let channel = Endpoint::from_shared(served.agents.clone()).unwrap().connect().await.unwrap();
    let refusal = call_over(channel, None, vec![Said::Hello(hello("agent"))]).await.err().unwrap();
    assert!(refusal.message().starts_with("a token is needed"), "{refusal}");

    let listen = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let said = |value: &str, options: &[&str]| {
        let mut command = serve(&[&listen, options].concat());
        command.env("PICULET_SERVER_TOKEN", value);
        String::from_utf8(ended(command).code(2).get_output().stderr.clone()).unwrap()
    };
    for value in ["", " \n"] {
        let error = said(value, &[]);
        assert!(error.contains("the variable PICULET_SERVER_TOKEN is empty, and should hold a token"), "{error}");
    }
    let error = said("hunter2 hunter3", &[]);
    assert!(error.contains("the token in the variable PICULET_SERVER_TOKEN has to be one word"), "{error}");
    assert!(!error.contains("hunter"), "{error}");
    let file = served.file("token", "for-agents");
    assert!(said("for-agents", &["--token-file", text(&file)]).contains("is given twice"));
    let failed = ended(serve(&[&listen[..], &["--token", "for-agents"]].concat())).code(2);
    let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(error.contains("unexpected argument '--token'"), "{error}");
}

#[test]
fn nobody_is_let_in_from_elsewhere_without_a_token() {
    let failed = ended(serve(&["--http", "0.0.0.0:0"])).code(2);
    let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(error.contains("--http 0.0.0.0:0") && error.contains("--api-token-file"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_for_other_machines_lets_agents_in_by_the_token_of_their_cluster() {
    let served = Served::listening("0.0.0.0:0", &[]);
    let endpoint = Endpoint::from_shared(served.agents.replace("0.0.0.0", "127.0.0.1")).unwrap();
    let call = async |token: Option<&str>| {
        let channel = endpoint.connect().await.unwrap();
        call_over(channel, token, vec![Said::Hello(hello("agent"))]).await.map_err(|status| status.message().to_owned())
    };
    let refusal = async |token: Option<&str>| call(token).await.err().unwrap();
    assert!(refusal(None).await.starts_with("a token is needed"));
    let token = stdout(served.command(&["tokens", "create", "--cluster", "prod", "--note", "for the tests"]));
    let token = token.trim();
    assert_eq!(refusal(Some("pclt_wrong")).await, "the token is wrong");
    let mut agent = call(Some(token)).await.unwrap();
    let clusters = stdout(served.command(&["clusters"]));
    assert!(clusters.lines().nth(1).unwrap().starts_with("prod     connected"), "{clusters}");

    let list: Value = serde_json::from_str(&stdout(served.command(&["tokens", "list", "--json"]))).unwrap();
    assert_eq!((&list["tokens"][0]["cluster"], &list["tokens"][0]["note"]), (&"prod".into(), &"for the tests".into()));
    assert!(!list.to_string().contains(token), "{list}");
    let id = list["tokens"][0]["id"].as_str().unwrap();
    stdout(served.command(&["tokens", "revoke", id]));
    assert_eq!(agent.end().await.message(), "the token was revoked");
    assert_eq!(refusal(Some(token)).await, "the token was revoked");
    let unknown = ended(served.command(&["tokens", "revoke", "nothing"])).code(2);
    let error = String::from_utf8(unknown.get_output().stderr.clone()).unwrap();
    assert!(error.starts_with("error[token-unknown]: there is no token 'nothing'"), "{error}");
}

#[test]
fn a_database_that_can_not_be_used_has_exit_code_73() {
    let served = Served::start(&[]);
    let database = served.folder.path().join("piculet-server.db");
    let mut second = Command::new(BINARY);
    second.args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--database", text(&database)]);
    let failed = ended(second).code(73);
    let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(error.contains("error[database]: the database ") && error.contains("is in use by another"), "{error}");
}

#[test]
fn a_database_that_contradicts_the_server_ends_it_with_exit_code_70() {
    let mut served = Served::start(&[]);
    // A workload of a workflow that doesn't exist yet.
    served.database().execute("INSERT INTO payloads VALUES (1, x'00')", ()).unwrap();
    let file = served.file("test.yaml", FILE);
    let failed = ended(served.command(&["submit", text(&file)])).code(69);
    let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(error.contains("error[unreachable]"), "it lives: {error}");
    assert_eq!(served.child.wait().unwrap().code(), Some(70));
}

/// Locks the database with this change, and submits a workflow: the server has it, and can't store it now.
fn lock_and_submit(served: &Served, change: &str) -> (rusqlite::Connection, Child) {
    let other = served.database();
    other.execute_batch(&format!("BEGIN IMMEDIATE; {change}")).unwrap();
    let file = served.file("test.yaml", FILE);
    let submitting = served.command(&["submit", text(&file)]).stderr(Stdio::null()).spawn().unwrap();
    let answer = |path: &str| {
        let mut connection = TcpStream::connect(served.api.trim_start_matches("http://")).unwrap();
        write!(connection, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    };
    while !answer("/api/workflows/1/steps/build%20it/log").contains("200 OK") {}
    (other, submitting)
}

/// Tells it to end, and waits until it has heard that.
fn tell_to_end(served: &Served) {
    signal("-TERM", &served.child);
    while TcpStream::connect(served.api.trim_start_matches("http://")).is_ok() {}
}

#[test]
fn a_fault_that_comes_while_it_ends_is_a_fault() {
    let mut served = Served::start(&[]);
    let (other, mut submitting) = lock_and_submit(&served, "INSERT INTO payloads VALUES (1, x'00')");
    tell_to_end(&served);
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(served.child.wait().unwrap().code(), Some(70));
    submitting.wait().unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test that nothing hangs has to look at a clock")]
fn a_second_signal_ends_it_at_once_also_while_its_disk_hangs() {
    let mut served = Served::start(&[]);
    let (other, mut submitting) = lock_and_submit(&served, "");
    tell_to_end(&served);
    let told = Instant::now();
    signal("-TERM", &served.child);
    assert_eq!(served.child.wait().unwrap().code(), Some(130));
    // The write gives up after ten.
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    submitting.wait().unwrap();
    drop(other);
}
