//! Looks at other processes through `/proc`.

use std::fs;
use std::path::PathBuf;

/// Whether a process catches or ignores a signal; `None` if it is gone.
pub(super) fn handles(pid: i32, signal: i32) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bit = u32::try_from(signal).ok()?.checked_sub(1)?;
    Some(["SigCgt:", "SigIgn:"].iter().any(|name| mask(&status, name).is_some_and(|mask| mask >> bit & 1 == 1)))
}

/// Whether a process has children that aren't dead; `None` if it is gone, or the kernel does not tell.
pub(super) fn has_live_children(pid: i32) -> Option<bool> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    for thread in threads {
        let children: PathBuf = thread.ok()?.path().join("children");
        let children = fs::read_to_string(children).ok()?;
        if children.split_ascii_whitespace().any(is_alive) {
            return Some(true);
        }
    }
    Some(false)
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may have any character in it.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

fn mask(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::{handles, has_live_children};

    #[test]
    fn handlers_and_children_are_seen() {
        let script = "trap '' TERM; sleep 60 & echo; read -r end; kill -KILL $!; wait; echo; read -r end";
        let mut shell = Command::new("/bin/sh");
        let shell = shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let mut stdin = shell.stdin.take().unwrap();
        let mut stdout = std::io::BufReader::new(shell.stdout.take().unwrap());
        let mut wait = || std::io::BufRead::read_line(&mut stdout, &mut String::new()).unwrap();
        wait();
        assert_eq!((handles(pid, 15), handles(pid, 10)), (Some(true), Some(false)));
        assert_eq!(has_live_children(pid), Some(true));
        std::io::Write::write_all(&mut stdin, b"\n").unwrap();
        wait();
        assert_eq!(has_live_children(pid), Some(false));
        drop(stdin);
        shell.wait().unwrap();
        assert_eq!((handles(pid, 15), has_live_children(pid)), (None, None));
    }
}
