//! Whole pipelines.

use crate::ran::{demo, demo_in, skipped};

fn end(name: &str, state: &str, code: Option<i64>) -> (String, String, Option<i64>) {
    (name.to_owned(), state.to_owned(), code)
}

#[test]
fn the_bundled_example_succeeds() {
    let folder = tempfile::TempDir::new().unwrap();
    let Some(ran) = demo_in(folder.path(), &[]) else { return };
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.json()["workflows"][0]["state"], "success");
    assert!(ran.log("sum").contains(&"the sum is 210"), "{}", ran.out);
    assert_eq!(ran.err, "");
}

#[test]
fn parallel_steps_a_service_failures_and_what_comes_after_them() {
    let pipeline = "
skip_clone: true
when: [{event: push}]
services:
  - name: db
    image: x
    commands: ['trap \"echo bye; exit 0\" TERM', 'while :; do sleep 0.05; done']
steps:
  - {name: a, image: x, commands: [echo a >a], depends_on: []}
  - {name: b, image: x, commands: ['while ! [ -s a ]; do sleep 0.05; done', echo b saw $(cat a)], depends_on: []}
  - {name: ignored, image: x, failure: ignore, depends_on: [a], commands: [exit 7]}
  - {name: fails, image: x, depends_on: [ignored], commands: [exit 3]}
  - {name: never, image: x, depends_on: [fails], commands: [echo never]}
  - {name: notify, image: x, depends_on: [never], commands: [echo $CI_PIPELINE_STATUS], when: [{status: failure}]}
  - {name: tagged, image: x, depends_on: [], commands: [echo tagged], when: [{event: tag}]}
";
    let Some(ran) = demo(pipeline, &[]) else { return };
    let expected = [
        end("db", "success", None),
        end("a", "success", Some(0)),
        end("b", "success", Some(0)),
        end("ignored", "failure", Some(7)),
        end("fails", "failure", Some(3)),
        end("never", "skipped", None),
        end("notify", "success", Some(0)),
        end("tagged", "skipped", None),
    ];
    assert_eq!(ran.steps(), expected, "{}", ran.out);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.log("b").last(), Some(&"b saw a"), "they run at the same time, in one workspace");
    assert_eq!(ran.log("notify").last(), Some(&"failure"));
    assert!(ran.log("db").contains(&"bye"), "{:?}", ran.log("db"));
}

#[test]
fn a_time_limit_kills_and_what_had_not_begun_is_canceled() {
    let pipeline = "
skip_clone: true
when: [{event: push}]
steps:
  - {name: slow, image: x, commands: [echo begins, sleep 1000]}
  - {name: later, image: x, commands: [echo no]}
";
    let Some(ran) = demo(pipeline, &["--timeout", "1"]) else { return };
    assert_eq!(ran.code, 1);
    assert_eq!(ran.steps(), [end("slow", "killed", None), end("later", "canceled", None)]);
    assert!(ran.log("slow").contains(&"begins"));
}

#[test]
fn all_of_200_000_lines_arrive_in_order() {
    let pipeline = "
skip_clone: true
when: [{event: push}]
steps: [{name: flood, image: x, commands: [seq 1 200000]}]
";
    let Some(ran) = demo(pipeline, &[]) else { return };
    let log = ran.log("flood");
    // The first line is the command.
    assert_eq!(log.len(), 200_001);
    assert!(log[1..].iter().enumerate().all(|(i, line)| *line == (i + 1).to_string()));
    assert_eq!(ran.json()["workflows"][0]["steps"][0]["log_lines"], 200_001);
}

#[test]
fn a_matrix_gives_a_workflow_per_combination() {
    let pipeline = "
skip_clone: true
when: [{event: push}]
matrix: {COLOUR: [red, blue], SIZE: [s, m]}
steps: [{name: a, image: x, commands: [echo ${COLOUR}-$SIZE]}]
";
    let Some(ran) = demo(pipeline, &[]) else { return };
    assert_eq!(ran.json()["workflows"].as_array().unwrap().len(), 4, "{}", ran.out);
    for pair in ["red-s", "red-m", "blue-s", "blue-m"] {
        assert!(ran.out.lines().any(|line| line.ends_with(&format!("| {pair}"))), "{pair}: {}", ran.out);
    }
}

#[test]
fn a_plugin_is_shown_not_run_and_its_secrets_are_masked() {
    let pipeline = "
when: [{event: push}]
steps:
  - name: publish
    image: plugins/upload
    settings: {target: prod, token: {from_secret: token}}
";
    let secret = ["--secret", "TOKEN=hunter2-hunter2"];
    let Some(ran) = demo(pipeline, &secret) else { return };
    assert_eq!(ran.code, 1, "there are no images here");
    let Some(ran) = demo(pipeline, &[&secret[..], &["--simulate-plugins", "--source", "."]].concat()) else { return };
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.json()["workflows"][0]["steps"][1]["simulated"], true);
    assert_eq!(ran.json()["workflows"][0]["steps"][0]["simulated"], true, "the source took the place of the clone");
    assert!(ran.log("publish").iter().any(|line| line.contains("PLUGIN_TARGET")), "{}", ran.out);
    assert!(!format!("{}{}", ran.out, ran.err).contains("hunter2"), "{}", ran.out);
}

#[test]
fn the_source_is_what_the_steps_see() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("hello.txt"), "hello from the source\n").unwrap();
    let pipeline = "
when: [{event: push}]
steps: [{name: read, image: x, commands: [cat hello.txt, echo changed >hello.txt]}]
";
    std::fs::write(folder.path().join("pipeline.yaml"), pipeline).unwrap();
    let Some(ran) = demo_in(folder.path(), &["--source", ".", "pipeline.yaml"]) else { return };
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.log("read").contains(&"hello from the source"));
    assert_eq!(std::fs::read_to_string(folder.path().join("hello.txt")).unwrap(), "hello from the source\n");
}

#[test]
fn the_verdict_does_not_depend_on_who_reads_it() {
    let folder = tempfile::TempDir::new().unwrap();
    let pipeline = "
skip_clone: true
when: [{event: push}]
steps:
  - {name: fails, image: x, commands: [echo one, sleep 0.5, echo two, exit 1]}
";
    std::fs::write(folder.path().join("fails.yaml"), pipeline).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_piculet-server"));
    command.args(["demo", "--source", ".", "fails.yaml"]).current_dir(folder.path());
    let ended = command.stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    if said.contains("does not allow to keep steps apart") {
        return skipped(&said);
    }
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert_eq!(said, "note: 'fails' skips the clone, so it sees nothing of --source\n");
}

#[test]
fn what_waits_for_something_that_is_not_there_says_so_and_ends() {
    let pipeline = "
skip_clone: true
when: [{event: push}]
steps:
  - {name: waits, image: x, commands: [echo never], volumes: ['nobody-made-it:/data']}
";
    let Some(ran) = demo(pipeline, &[]) else { return };
    assert_eq!(ran.code, 1, "{}", ran.err);
    let log = ran.log("waits");
    assert!(log[0].starts_with("[piculet] The pod waits for a volume: "), "{log:?}");
    assert_eq!(ran.steps(), [end("waits", "failure", None)]);
}
