//! The shell script of a step with commands.
//!
//! It travels base64-encoded in a variable, so that no character of a command needs escaping anywhere. The shell reads
//! it from that variable, not from its standard input: a command that reads its input can't eat those after it. Linux
//! takes 128 KiB for one variable, so a longer script travels in several.

#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The variable that holds the script; further parts of it are in `CI_SCRIPT_2` and so on.
pub const VARIABLE: &str = "CI_SCRIPT";

/// The most characters of a script in one variable: less than Linux takes for it with its name.
const PART: usize = 120 * 1024;

/// The shell that runs it, and the value of `SHELL`.
pub const SHELL: &str = "/bin/sh";

/// What `sh -c` is given.
///
/// The assignment fails, and ends the step, where the image has no `base64`; in a pipe into a shell that would have
/// been a success of nothing. `eval` keeps the script out of the process list, where a `pgrep` of the step's own would
/// find it.
const RUN: &str = r#"set -e; CI_SCRIPT=$(echo "$CI_SCRIPT" | base64 -d); eval "$CI_SCRIPT""#;

/// Credentials of the forge, for commands that use git.
///
/// The here-document keeps the password out of any process's arguments, and the values as they are.
const PROLOGUE: &str = r#"
if [ -n "${CI_NETRC_MACHINE:-}" ]; then
  (
    umask 077
    cat > "${HOME:-}/.netrc" << END_OF_NETRC
machine $CI_NETRC_MACHINE
login ${CI_NETRC_USERNAME:-}
password ${CI_NETRC_PASSWORD:-}
END_OF_NETRC
    chmod 0600 "${HOME:-}/.netrc"
  )
fi
unset CI_NETRC_USERNAME CI_NETRC_PASSWORD CI_SCRIPT
"#;

/// The variables of the script, in order. At least one; each part has a value.
pub fn variables(working_dir: &str, commands: &[String]) -> Vec<(String, String)> {
    let encoded = STANDARD.encode(text(working_dir, commands));
    let mut rest = encoded.as_str();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        // It is all ASCII.
        let (part, more) = rest.split_at(rest.len().min(PART));
        let name = if parts.is_empty() { VARIABLE.to_owned() } else { format!("{VARIABLE}_{}", parts.len() + 1) };
        parts.push((name, part.to_owned()));
        rest = more;
    }
    parts
}

/// The container's command for a script in these variables.
pub fn command(variables: &[(String, String)]) -> Vec<String> {
    let run = match variables {
        [] | [_] => RUN.to_owned(),
        // What is decoded must not be exported: no program could be started with a variable of that size.
        parts => {
            let joined: String = parts.iter().map(|(name, _)| format!("${name}")).collect();
            let names: Vec<_> = parts.iter().map(|(name, _)| name.as_str()).collect();
            let names = names.join(" ");
            format!(r#"set -e; script=$(echo "{joined}" | base64 -d); unset {names}; eval "unset script; $script""#)
        }
    };
    vec![SHELL.to_owned(), "-c".to_owned(), run]
}

/// The line that the output of the script begins with; `None` without commands. Where the shell itself fails before that, the
/// output is another.
pub fn first_line(commands: &[String]) -> Option<String> {
    let line = commands.first()?.split('\n').next().unwrap_or_default();
    Some(format!("+ {line}"))
}

/// The script.
pub fn text(working_dir: &str, commands: &[String]) -> String {
    let mut script = PROLOGUE.to_owned();
    if !working_dir.is_empty() {
        let dir = quoted(working_dir);
        script.extend(["mkdir -p -- ", &dir, "\ncd -- ", &dir, "\n"]);
    }
    for command in commands {
        // Not with echo: that of many shells would interpret the backslashes.
        script.extend(["\nprintf '+ %s\\n' ", &quoted(command), "\n", command, "\n"]);
    }
    script
}

/// The text as one word of the shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_%+,-./:=@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}
