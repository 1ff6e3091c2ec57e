//! What needs neither server nor cluster.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use piculet::site::own_platform;
use tempfile::TempDir;

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn piculet(folder: &Path, arguments: &[&str]) -> Ended {
    piculet_with(folder, arguments, &[])
}

fn piculet_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_piculet"));
    let variables = variables.iter().copied();
    let output = command.args(arguments).current_dir(folder).env_clear().envs(variables).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Plans a file with this text.
fn plan(name: &str, text: &str, arguments: &[&str]) -> Ended {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(name), text).unwrap();
    piculet(folder.path(), &[&["plan", name], arguments].concat())
}

#[test]
fn help_names_every_command_and_is_no_failure() {
    let folder = TempDir::new().unwrap();
    let help = piculet(folder.path(), &["--help"]);
    assert_eq!(help.code, 0);
    for command in ["agent", "check", "ping", "plan"] {
        assert!(help.out.contains(command), "{}", help.out);
        assert_eq!(piculet(folder.path(), &[command, "--help"]).code, 0);
    }
    assert_eq!(piculet(folder.path(), &["--version"]).out, format!("piculet {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_is_64() {
    let folder = TempDir::new().unwrap();
    let wrong = piculet(folder.path(), &["agnt"]);
    assert_eq!(wrong.code, 64);
    assert!(wrong.err.contains("agent"), "it says what was meant: {}", wrong.err);
}

#[test]
fn files_that_hold_something_else_are_told_with_everything_else() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("empty"), "\n").unwrap();
    fs::write(folder.path().join("text"), "no certificate").unwrap();
    let settings = [
        "check",
        "--server=https://ci:9443",
        "--token-file=empty",
        "--set=server.ca_file=text",
        "--set=server.certificate_file=nowhere",
        "--set=server.key_file=text",
        "--kubeconfig=.",
        "--set=agent.nonsense=1",
        "--set=logs.directory=/dev/null/logs",
    ];
    let wrong = piculet(folder.path(), &settings);
    assert_eq!(wrong.code, 78);
    insta::assert_snapshot!(wrong.err);
}

#[test]
fn a_variable_that_is_no_text_is_not_overlooked() {
    use std::os::unix::ffi::OsStrExt;
    for name in ["PICULET_AGENT_NAME", "WOODPECKER_HOSTNAME"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_piculet"));
        let output = command
            .args(["check", "--server=http://ci:9443"])
            .env_clear()
            .env(name, std::ffi::OsStr::from_bytes(b"\xff"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("from {name}: the value is no UTF-8")), "{said}");
    }
}

#[test]
fn a_file_with_variables_is_read_below_the_environment() {
    let folder = TempDir::new().unwrap();
    let text = "WOODPECKER_SERVER=ci:9000\nWOODPECKER_AGENT_SECRET=hunter2\nWOODPECKER_MAX_WORKFLOWS=0\nWOODPECKER_NOTHING=1\n";
    fs::write(folder.path().join(".env"), text).unwrap();
    let wrong = piculet(folder.path(), &["check"]);
    assert_eq!(wrong.code, 78, "{}", wrong.out);
    assert!(wrong.err.contains("(from WOODPECKER_MAX_WORKFLOWS): it must be at least 1"), "{}", wrong.err);
    let right = piculet_with(folder.path(), &["check"], &[("WOODPECKER_MAX_WORKFLOWS", "2")]);
    assert_eq!(right.code, 0, "{}", right.err);
    assert!(right.out.contains("warning: from WOODPECKER_NOTHING: it changes nothing here"), "{}", right.out);
    assert!(right.out.ends_with("The configuration is right.\n"), "{}", right.out);
    fs::remove_file(folder.path().join(".env")).unwrap();
    fs::create_dir(folder.path().join(".env")).unwrap();
    let without = piculet_with(folder.path(), &["check"], &[("WOODPECKER_AGENT_SECRET", "hunter2")]);
    assert_eq!(without.code, 0, "a directory of that name is left alone: {}", without.err);
}

#[test]
fn a_file_with_variables_may_name_the_configuration() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(".env"), "PICULET_CONFIG=agent.yaml\n").unwrap();
    fs::write(folder.path().join("agent.yaml"), "nonsense: 1\n").unwrap();
    let wrong = piculet(folder.path(), &["check"]);
    assert!(wrong.err.contains("nonsense (in agent.yaml)"), "{}", wrong.err);
    fs::write(folder.path().join("other.yaml"), "more: 1\n").unwrap();
    let other = piculet_with(folder.path(), &["check"], &[("PICULET_CONFIG", "other.yaml")]);
    assert!(other.err.contains("more (in other.yaml)") && !other.err.contains("nonsense"), "{}", other.err);
}

#[test]
fn a_broken_file_with_variables_is_78_and_names_the_line_and_not_what_stands_in_it() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(".env"), "# the agent\nWOODPECKER_AGENT_SECRET=hunter2 hunter2\n").unwrap();
    let broken = piculet(folder.path(), &["check"]);
    assert_eq!(broken.code, 78);
    insta::assert_snapshot!(broken.err);
}

#[test]
fn a_log_file_that_can_not_be_written_is_told() {
    let folder = TempDir::new().unwrap();
    let arguments = ["check", "--server=http://ci:9443", "--set=log.file=nowhere/agent.log"];
    let wrong = piculet_with(folder.path(), &arguments, &[("PICULET_SERVER_TOKEN", "x")]);
    assert_eq!(wrong.code, 78);
    assert!(wrong.err.contains("log.file: the file 'nowhere/agent.log' can't be written"), "{}", wrong.err);
    let right = piculet_with(
        folder.path(),
        &[&arguments[..2], &["--set=log.file=agent.log"]].concat(),
        &[("PICULET_SERVER_TOKEN", "x")],
    );
    assert_eq!(right.code, 0, "{}", right.err);
    assert!(!folder.path().join("agent.log").exists(), "a check writes nothing");
}

/// Answers one request with this, and gives the port that it listens on.
fn answering(answer: &'static str) -> u16 {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        assert!(request.starts_with(b"GET /healthz HTTP/1.1\r\n"));
        stream.write_all(answer.as_bytes()).unwrap();
    });
    port
}

#[test]
fn ping_says_what_the_agent_of_the_same_environment_says() {
    let folder = TempDir::new().unwrap();
    // Neither a server nor a token is needed, and what else is wrong is the agent's to say.
    let ping = |variables: &[(&str, &str)]| {
        piculet_with(folder.path(), &["ping"], &[variables, &[("PICULET_NONSENSE", "1")]].concat())
    };
    const HEALTHY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n";
    for name in ["PICULET_ADMIN_ADDRESS", "WOODPECKER_HEALTHCHECK_ADDR"] {
        for host in ["", "0.0.0.0", "127.0.0.1"] {
            let healthy = ping(&[(name, &format!("{host}:{}", answering(HEALTHY)))]);
            assert_eq!((healthy.code, healthy.err.as_str()), (0, ""), "{name} {host}");
        }
    }
    let port = answering("HTTP/1.1 500 Oh\r\ncontent-length: 6\r\n\r\nhangs\n");
    let unhealthy = ping(&[("WOODPECKER_HEALTHCHECK_ADDR", &format!(":{port}"))]);
    let told = unhealthy.err.replace(&port.to_string(), "PORT");
    assert_eq!(unhealthy.code, 1);
    assert_eq!(told, "error[unhealthy]: http://localhost:PORT/healthz: 500 Internal Server Error: hangs\n");
    let nobody = ping(&[("PICULET_ADMIN_ADDRESS", "127.0.0.1:1")]);
    assert!(nobody.code == 1 && nobody.err.contains("127.0.0.1:1/healthz: Connection refused"), "{}", nobody.err);
    let off = ping(&[("WOODPECKER_HEALTHCHECK", "false")]);
    assert!(off.code == 1 && off.err.contains("admin.address is off"), "{}", off.err);
    let wrong = ping(&[("PICULET_ADMIN_ADDRESS", "here")]);
    assert_eq!(wrong.code, 78, "{}", wrong.err);
}

#[test]
fn a_reader_that_has_had_enough_is_no_error_and_a_full_disk_is_one() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("build.yaml"), PIPELINE).unwrap();
    let token = ["--secret", "TOKEN=x"];
    let planning = |out: std::process::Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_piculet"));
        command.args(["plan", "build.yaml"]).args(token).current_dir(folder.path()).env_clear().stdout(out);
        command.stderr(std::process::Stdio::piped()).output().unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = planning(writer.into());
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    let full = planning(fs::File::create("/dev/full").unwrap().into());
    assert_eq!(full.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&full.stderr).contains("error[output]"));
}

#[test]
fn a_wrong_configuration_is_78_and_tells_everything() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("agent.yaml"), "agent: {max_workflows: 0}\nnonsense: 1\n").unwrap();
    let wrong = piculet(folder.path(), &["check", "--config", "agent.yaml"]);
    assert_eq!(wrong.code, 78);
    insta::assert_snapshot!(wrong.err);
}

#[test]
fn a_right_configuration_is_said_to_be_right() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("token"), "x").unwrap();
    let arguments = ["check", "--server", "https://ci.example.org:9443", "--token-file", "token"];
    let right = piculet(folder.path(), &arguments);
    assert_eq!((right.code, right.out.as_str()), (0, "The configuration is right.\n"));
}

#[test]
fn a_file_that_is_not_there_is_66() {
    let folder = TempDir::new().unwrap();
    let missing = piculet(folder.path(), &["plan", "nothing.yaml"]);
    assert_eq!(missing.code, 66);
    assert!(missing.err.starts_with("error[unreadable]: can't read nothing.yaml"), "{}", missing.err);
}

const PIPELINE: &str = "
when: [{event: push}]
skip_clone: true
steps:
  - name: build
    image: rust:1.95
    environment: {TOKEN: {from_secret: token}}
    commands: [cargo build]
";

#[test]
fn a_plan_shows_every_object_and_no_secret() {
    let planned = plan("build.yaml", PIPELINE, &["--secret", "TOKEN=hunter2-hunter2"]);
    assert_eq!(planned.code, 0, "{}", planned.err);
    assert!(!planned.out.contains("hunter2"), "{}", planned.out);
    let stamped = planned.out.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let platform = own_platform();
    let arch = platform.rsplit('/').next().unwrap();
    let stamped = stamped.replace(&format!("kubernetes.io/arch: {arch}"), "kubernetes.io/arch: ARCH");
    insta::assert_snapshot!(stamped);
}

#[test]
fn settings_change_the_plan() {
    let arguments = ["--secret", "TOKEN=x", "--namespace", "builds", "--set", "pods.priority_class=low"];
    let planned = plan("build.yaml", PIPELINE, &arguments);
    assert!(planned.out.contains("namespace: builds"), "{}", planned.out);
    assert!(planned.out.contains("priorityClassName: low"), "{}", planned.out);
}

#[test]
fn a_broken_pipeline_is_65_and_shows_the_place() {
    let broken = plan("build.yaml", "steps:\n  - name: a\n    image: [\n", &[]);
    assert_eq!(broken.code, 65);
    insta::assert_snapshot!(broken.err);
}

#[test]
fn unknown_keys_in_a_pipeline_are_a_warning() {
    let odd = plan("build.yaml", &PIPELINE.replace("skip_clone", "colour: blue\nskip_clone"), &["--secret", "TOKEN=x"]);
    assert_eq!(odd.code, 0);
    assert!(odd.err.contains("colour"), "{}", odd.err);
}

#[test]
fn unknown_keys_in_a_workload_are_an_error() {
    let odd = plan("workload.yaml", "stages: []\ncolour: blue\n", &[]);
    assert_eq!(odd.code, 65);
    insta::assert_snapshot!(odd.err);
}

#[test]
fn a_workload_may_be_json() {
    let planned = plan("workload.json", r#"{"stages":[{"steps":[{"id":"a","name":"a","image":"x"}]}]}"#, &[]);
    assert_eq!(planned.code, 0, "{}", planned.err);
    assert!(planned.out.contains("kind: Pod"), "{}", planned.out);
}

#[test]
fn files_that_are_not_there_and_a_level_that_is_none_are_told_by_check() {
    let folder = TempDir::new().unwrap();
    let arguments = ["check", "--server", "https://ci:9443", "--token-file", "nowhere", "--log-level", "foo=bar=baz"];
    let wrong = piculet(folder.path(), &arguments);
    assert_eq!(wrong.code, 78);
    assert!(wrong.err.contains("log.level"), "{}", wrong.err);
    let missing = piculet(folder.path(), &arguments[..5]);
    assert_eq!(missing.code, 78);
    assert!(missing.err.contains("server.token_file: the file 'nowhere' can't be read"), "{}", missing.err);
}

#[test]
fn a_cycle_in_a_workload_is_told_with_its_path() {
    let text = "
stages:
  - steps:
      - {id: a, name: a, image: x, needs: [b]}
      - {id: b, name: b, image: x, needs: [a]}
";
    let cycle = plan("workload.yaml", text, &[]);
    assert_eq!(cycle.code, 65);
    insta::assert_snapshot!(cycle.err);
}
