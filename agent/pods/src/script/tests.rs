use std::io::Write;
use std::process::{Command, Stdio};

use super::{PART, SHELL, command, quoted, text, variables};

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the commands as a container would, by the given shell, with `input` as standard input.
fn run_by(shell: &str, commands: &[&str], input: &str, environment: &[(&str, &str)]) -> Ran {
    let commands: Vec<String> = commands.iter().map(|&command| command.to_owned()).collect();
    let script = variables("", &commands);
    let line = command(&script);
    let mut child = Command::new(shell)
        .args(&line[1..])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SHELL", SHELL)
        .envs(script)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    // A script that reads nothing may be over before this is written.
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().expect("it ends");
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn run(commands: &[&str]) -> Ran {
    run_by(SHELL, commands, "", &[])
}

#[test]
fn the_script_goes_to_its_folder_and_shows_each_command_before_it_runs_it() {
    let script = text("/woodpecker/some", &["echo hello world".to_owned()]);
    assert!(script.starts_with('\n'));
    assert!(script.ends_with("\n\nprintf '+ %s\\n' 'echo hello world'\necho hello world\n"), "{script}");
    assert!(script.contains("\nmkdir -p -- /woodpecker/some\ncd -- /woodpecker/some\n"), "{script}");
    assert_eq!(command(&variables("", &[])), ["/bin/sh", "-c", super::RUN]);
}

#[test]
fn words_are_quoted_only_where_they_have_to_be() {
    assert_eq!(quoted("a_B9%+,-./:=@"), "a_B9%+,-./:=@");
    assert_eq!(quoted(""), "''");
    assert_eq!(quoted("it's"), r#"'it'"'"'s'"#);
    assert_eq!(quoted("$HOME"), "'$HOME'");
}

#[test]
fn each_command_is_shown_and_run() {
    let ran = run(&["echo a", "X=1\necho \"$X b\"", "echo $X 'it''s' | tr a-z A-Z"]);
    assert_eq!(ran.out, "+ echo a\na\n+ X=1\necho \"$X b\"\n1 b\n+ echo $X 'it''s' | tr a-z A-Z\n1 ITS\n");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn a_command_is_shown_as_it_was_written() {
    let ran = run(&[r"printf 'a\tb\0c\n' | tr '\0' '%s'"]);
    assert_eq!(ran.out, "+ printf 'a\\tb\\0c\\n' | tr '\\0' '%s'\na\tb%c\n", "{}", ran.err);
}

#[test]
fn the_first_failure_ends_it_with_its_code() {
    let ran = run(&["(exit 7)", "echo never"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(7), "+ (exit 7)\n"));
    assert_eq!(run(&["exit 3", "echo never"]).code, Some(3));
    assert_eq!(run(&["false || echo saved", "if false; then :; fi"]).code, Some(0));
    assert_eq!(run(&["false && true"]).code, Some(1), "the last status counts even where -e doesn't bite");
    assert_eq!(run(&["no-such-program"]).code, Some(127));
    assert_eq!(run(&["trap 'echo bye' EXIT", "exit 4"]).out, "+ trap 'echo bye' EXIT\n+ exit 4\nbye\n");
}

#[test]
fn a_command_that_reads_its_input_leaves_the_script_alone() {
    let ran = run_by(SHELL, &["cat", "read line || true", "echo after"], "typed\n", &[]);
    assert_eq!(ran.out, "+ cat\ntyped\n+ read line || true\n+ echo after\nafter\n");
    assert_eq!(ran.code, Some(0));
}

#[test]
fn a_broken_command_fails_after_those_before_it() {
    let ran = run(&["echo first", "if true; then echo x", "echo never"]);
    assert!(ran.out.starts_with("+ echo first\nfirst\n"), "{}", ran.out);
    assert_ne!(ran.code, Some(0));
    assert!(!ran.err.is_empty());
}

#[test]
fn an_image_without_base64_is_no_success() {
    let ran = run_by(SHELL, &["echo never"], "", &[("PATH", "/nowhere")]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(127), ""));
    assert!(ran.err.contains("base64"), "{}", ran.err);
}

#[test]
fn the_script_itself_is_not_in_the_steps_environment() {
    let ran = run(&["env | grep -c CI_SCRIPT || true", "set | grep -c '^script=' || true"]);
    assert_eq!(ran.out.lines().filter(|line| *line == "0").count(), 2, "{}", ran.out);
}

#[test]
fn bash_runs_it_as_the_posix_shell_does() {
    let ran = run_by("/bin/bash", &["echo a", "cat", "(exit 7)", "echo never"], "typed\n", &[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(7), "+ echo a\na\n+ cat\ntyped\n+ (exit 7)\n"), "{}", ran.err);
}

#[test]
fn a_here_document_may_be_the_last_thing() {
    assert_eq!(run(&["cat <<EOF\n$((1 + 1))\nEOF"]).out, "+ cat <<EOF\n$((1 + 1))\nEOF\n2\n");
}

#[test]
fn credentials_go_to_the_home_directory_and_out_of_the_environment() {
    let home = std::env::temp_dir().join(format!("piculet-netrc-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a folder");
    let ran = run_by(
        SHELL,
        &["stat -c %a \"$HOME/.netrc\"", "env | grep -c NETRC_PASSWORD || true"],
        "",
        &[
            ("HOME", home.to_str().expect("UTF-8")),
            ("CI_NETRC_MACHINE", "git.example.org"),
            ("CI_NETRC_USERNAME", "bot"),
            ("CI_NETRC_PASSWORD", r"a\nb$c`d"),
        ],
    );
    let netrc = std::fs::read_to_string(home.join(".netrc"));
    std::fs::remove_dir_all(&home).expect("it was there");
    assert_eq!(netrc.expect("a file"), "machine git.example.org\nlogin bot\npassword a\\nb$c`d\n");
    let shown: Vec<_> = ran.out.lines().filter(|line| !line.starts_with('+')).collect();
    assert_eq!(shown, ["600", "0"], "{}", ran.err);
}

#[test]
fn the_working_directory_is_made_and_entered() {
    let root = std::env::temp_dir().join(format!("piculet-dir-{}", std::process::id()));
    let dir = root.join("it's a/deep one");
    let script = text(dir.to_str().expect("UTF-8"), &["pwd".to_owned()]);
    let output = Command::new(SHELL).arg("-ec").arg(script).output().expect("a shell");
    std::fs::remove_dir_all(&root).expect("it was made");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("+ pwd\n{}\n", dir.display()));
}

#[test]
fn a_script_of_any_length_runs_and_starts_programs() {
    let long = format!(": {}", "x".repeat(3 * PART));
    for shell in [SHELL, "/bin/bash"] {
        let home = std::env::temp_dir();
        let ran = run_by(
            shell,
            &[
                "set -u",
                &long,
                "cat",
                "env | grep -c CI_SCRIPT || true",
                "set | grep -c '^script=' || true",
                "(exit 7)",
            ],
            "typed\n",
            &[("HOME", home.to_str().expect("UTF-8"))],
        );
        assert_eq!(ran.err, "");
        let shown: Vec<_> = ran.out.lines().filter(|line| !line.starts_with('+')).collect();
        assert_eq!((ran.code, shown), (Some(7), vec!["typed", "0", "0"]), "{shell}");
    }
}
