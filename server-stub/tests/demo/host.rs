//! Pipelines are other people's code: what a step does stays in its box.

use std::fs;
use std::process::Command;

use crate::ran::{demo, skipped};

#[test]
fn a_hostile_step_leaves_the_host_as_it_was() {
    // Homes and /tmp are empty for steps anyway, and the checkout may lie there.
    let Ok(folder) = tempfile::Builder::new().prefix("canary-").tempdir_in("/srv") else {
        skipped("/srv can't be written, and the canary has to be where steps see it");
        return;
    };
    let folder = folder.path().canonicalize().unwrap();
    let canary = folder.join("bird");
    fs::write(&canary, "tweet").unwrap();
    let mark = format!("7{}.5", std::process::id());
    let pipeline = format!(
        "
skip_clone: true
when: [{{event: push}}]
steps:
  - name: hostile
    image: x
    commands:
      - ls -l {folder}
      - rm -rf {folder}
      - echo gone >/piculet-was-here
      - setsid sh -c 'sleep {mark}' >/dev/null 2>&1 &
      - (setsid sh -c '(sleep {mark} &) ' >/dev/null 2>&1 &)
      - sleep 0.2
      - echo $(ps ax | grep -c '[s]leep {mark}') children run
",
        folder = folder.display()
    );
    let Some(ran) = demo(&pipeline, &[]) else { return };
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.log("hostile").iter().any(|line| line.contains("bird")), "it saw the canary: {}", ran.out);
    assert!(!ran.log("hostile").contains(&"0 children run"), "{}", ran.out);
    assert_eq!(fs::read_to_string(&canary).unwrap(), "tweet");
    assert!(!fs::exists("/piculet-was-here").unwrap());
    let left = Command::new("ps").args(["ax", "-o", "args"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains(&mark), "children outlived the step");
}
