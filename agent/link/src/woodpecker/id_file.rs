//! The file that keeps the server's number of this agent over restarts: `{"agent_id": 7}`, as the Woodpecker agent
//! writes it.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What stands for no number, in the file as on the wire.
pub(super) const NOBODY: i64 = -1;

#[derive(Serialize, Deserialize)]
struct Content {
    agent_id: i64,
}

/// The number in the file. One that isn't there, is empty or holds something else has none.
pub(super) fn read(path: &Path) -> i64 {
    let content = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Content>(&bytes).ok());
    content.map_or(NOBODY, |content| content.agent_id)
}

/// Writes the number, if the file holds another one. Nobody ever finds half of it.
///
/// # Errors
/// The file can't be written.
pub(super) fn write(path: &Path, agent_id: i64) -> io::Result<()> {
    if read(path) == agent_id {
        return Ok(());
    }
    let text = serde_json::to_vec(&Content { agent_id })?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = replace(&beside, path, &text);
    if written.is_err() {
        // The file may be mounted alone, into a folder that takes no other: then it is written as it stands.
        drop(fs::remove_file(&beside));
        return fs::write(path, &text);
    }
    Ok(())
}

fn replace(beside: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(beside)?;
    io::Write::write_all(&mut file, text)?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{NOBODY, read, write};

    #[test]
    fn a_number_comes_back_and_anything_else_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.conf");
        assert_eq!(read(&path), NOBODY);
        for text in ["", "{}", "no json", r#"{"agent_id": "7"}"#] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path), NOBODY, "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        write(&path, 7).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"agent_id":7}"#);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(read(&path), 7);
        fs::write(&path, r#"{"agent_id": 4711}"#).unwrap();
        assert_eq!(read(&path), 4711, "as the Woodpecker agent writes it");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_same_number_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.conf");
        fs::write(&path, r#"{ "agent_id": 7 }"#).unwrap();
        write(&path, 7).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{ "agent_id": 7 }"#);
        assert!(write(&folder.path().join("missing/agent.conf"), 7).is_err());
    }
}
