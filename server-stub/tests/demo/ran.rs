//! One run of the demo.

use std::fs;
use std::io::Write;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the demo in a folder that holds `pipeline.yaml` with this text; `None` if this machine can't run steps.
pub(crate) fn demo(pipeline: &str, arguments: &[&str]) -> Option<Ran> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("pipeline.yaml"), pipeline).unwrap();
    demo_in(folder.path(), &[arguments, &["pipeline.yaml"]].concat())
}

/// Runs the demo with these arguments; `None` if this machine can't run steps.
pub(crate) fn demo_in(folder: &Path, arguments: &[&str]) -> Option<Ran> {
    let ran = start(folder, &[&["--json", "demo"], arguments].concat());
    let forbidden = "does not allow to keep steps apart";
    if ran.code == 2 && ran.err.contains(forbidden) {
        skipped(&format!("this machine can't run the demo's steps: {}", ran.err));
        return None;
    }
    Some(ran)
}

/// Says that the test that is running can't run here.
pub(crate) fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not with a macro: the harness hides what a passing test prints with one.
    std::io::stderr().write_all(format!("\n!!! SKIPPED, NOT TESTED: {test}: {why}\n\n").as_bytes()).unwrap();
}

/// Runs `piculet-server`.
pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_piculet-server"));
    let output = command.args(arguments).current_dir(folder).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ran {
    /// The object in the last line.
    pub(crate) fn json(&self) -> Value {
        let last = self.out.lines().last().unwrap_or_else(|| panic!("nothing was printed; {}", self.err));
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in {last}; {}", self.err))
    }

    /// Name, state and exit code of each step of the first workflow.
    pub(crate) fn steps(&self) -> Vec<(String, String, Option<i64>)> {
        let json = self.json();
        let steps = json["workflows"][0]["steps"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        steps.iter().map(|step| (text(&step["name"]), text(&step["state"]), step["exit_code"].as_i64())).collect()
    }

    /// The lines that a step printed.
    pub(crate) fn log(&self, step: &str) -> Vec<&str> {
        let prefix = format!("{step} | ");
        self.out.lines().filter_map(|line| line.strip_prefix(&prefix)).collect()
    }
}
