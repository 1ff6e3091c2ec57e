//! The shell script that turns a prepared process into the container's command.
//!
//! It goes through a pipe: neither a command line, which every user of the machine can read, nor a file ever holds
//! the environment of a step.

use std::collections::BTreeMap;

use super::command::Command;

/// Variables that a shell sets, forbids or reads for itself. They can't be exported with the value that the pod gives,
/// so `env` sets them. Its arguments are on a command line for a moment, which these may be.
const SHELLS_OWN: &[&str] = &[
    "BASHOPTS",
    "BASH_VERSINFO",
    "COLUMNS",
    "DIRSTACK",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "IFS",
    "LINENO",
    "LINES",
    "OLDPWD",
    "OPTIND",
    "PPID",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "UID",
    "_",
];

/// What such a shell must have done before it becomes the command.
pub(super) enum Preamble {
    /// Waits for its new root: see `sandbox.sh`, which holds the other ends of the descriptors.
    NewRoot,
    /// Nothing.
    None,
}

/// The line that tells that everything is set up: this word, then the process as the host's own PID namespace has it.
pub(super) const READY: &str = "ready";

/// The script for `/bin/sh`, to be read from its standard input.
///
/// It is one compound command, so that a script that was cut short does nothing.
pub(super) fn become_command(preamble: &Preamble, command: &Command, environment: &BTreeMap<String, String>) -> String {
    let mut script = String::new();
    match preamble {
        // Before its root changes, it sees the host's own /proc, and there its number in the host's PID namespace.
        Preamble::NewRoot => script.push_str(
            "{ read -r pid rest </proc/self/stat; echo \"$pid\" >&4; read -r go <&3; exec 3>&- 4>&-; [ \"$go\" = go ] || exit 125\n",
        ),
        Preamble::None => script.push_str("{ pid=$$ rest= go=\n"),
    }
    script.extend(["cd -- ", &quote(&command.folder), " || exit 125\n"]);
    script.extend(["echo \"", READY, " $pid\"; unset pid rest go PWD OLDPWD\n"]);
    let (own, plain): (Vec<_>, Vec<_>) = environment.iter().partition(|(name, _)| !is_exportable(name));
    // The search path comes last: nothing of the script's own is to be looked for in it.
    let (path, plain): (Vec<_>, Vec<_>) = plain.into_iter().partition(|(name, _)| *name == "PATH");
    for (name, value) in plain.into_iter().chain(path) {
        script.extend(["export ", name, "=", &quote(value), "\n"]);
    }
    let program = command.words.first().map_or("", String::as_str);
    let missing = format!(
        "There is no program '{program}' here. Steps run as processes of this machine, not in their images: what they call has to be installed on it."
    );
    script.extend(["command -v ", &quote(program), " >/dev/null || { echo ", &quote(&missing), "; exit 127; }\n"]);
    // A bash that is called sh adds two variables of its own.
    script.push_str("exec ${BASH_VERSION:+/usr/bin/env -u SHLVL -u _}");
    if !own.is_empty() {
        script.push_str(" /usr/bin/env");
        for (name, value) in own {
            script.extend([" ", &quote(&format!("{name}={value}"))]);
        }
    }
    for word in &command.words {
        script.extend([" ", &quote(word)]);
    }
    script.push_str(" </dev/null\n}\n");
    script
}

fn is_exportable(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let is_word = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    starts_well && is_word && !SHELLS_OWN.contains(&name)
}

/// The text as one word of a POSIX shell.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::process::{Command as Process, Stdio};

    use super::{Command, Preamble, become_command};

    /// Runs the script and gives what the command wrote, after the line that says that it is ready.
    fn run(words: &[&str], environment: &[(&str, &str)]) -> (Vec<u8>, i32) {
        let command = Command { words: words.iter().map(|word| (*word).to_owned()).collect(), folder: "/".to_owned() };
        let environment: BTreeMap<String, String> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let script = become_command(&Preamble::None, &command, &environment);
        let mut shell = Process::new("/bin/sh")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = shell.wait_with_output().unwrap();
        let end = output.stdout.iter().position(|byte| *byte == b'\n').unwrap();
        assert!(output.stdout.starts_with(b"ready "));
        (output.stdout[end + 1..].to_vec(), output.status.code().unwrap())
    }

    #[test]
    fn the_environment_is_exactly_as_given() {
        let given = [
            ("PATH", "/usr/bin:/bin"),
            ("QUOTES", r#"it's "$HOME" `id` \ $(id)"#),
            ("LINES2", "a\nb\n\nc\n"),
            ("EMPTY", ""),
            ("UID", "77"),
            ("PWD", "/nowhere"),
            ("IFS", "x"),
            ("with.dots-and-dashes", "yes"),
            ("EMOJI", "\u{1f426}"),
        ];
        let (output, code) = run(&["env", "-0"], &given);
        assert_eq!(code, 0);
        let mut found: Vec<&str> = std::str::from_utf8(&output).unwrap().trim_end_matches('\0').split('\0').collect();
        found.sort_unstable();
        let mut expected: Vec<String> = given.iter().map(|(name, value)| format!("{name}={value}")).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn words_stay_words_and_the_code_is_the_commands() {
        let words = ["sh", "-c", r#"printf '%s|' "$@"; exit 7"#, "sh", "a b", "", "'", "$(id)", "-n"];
        assert_eq!(run(&words, &[("PATH", "/usr/bin:/bin")]), (b"a b||'|$(id)|-n|".to_vec(), 7));
    }

    #[test]
    fn a_missing_program_is_said() {
        let (output, code) = run(&["no-such-program"], &[("PATH", "/usr/bin:/bin")]);
        assert!(String::from_utf8(output).unwrap().starts_with("There is no program 'no-such-program' here."));
        assert_eq!(code, 127);
    }
}
