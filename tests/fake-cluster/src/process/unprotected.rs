//! Runs a container as a plain process of this machine, where the user asked for that.
//!
//! There is no root of its own, so paths of the pod's volumes can't exist as the pod knows them. Wherever such a path
//! stands in the command, the environment or the script of a step, the volume's folder takes its place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::command::Command;
use super::running::{Members, Running};
use super::sandbox::{SetUpError, begin, piped, tool};
use super::script::{Preamble, become_command};
use super::spawner::Spawner;
use super::volumes::Mount;

/// The variable that holds a step's commands, as a shell script in base64.
const SCRIPT: &str = "CI_SCRIPT";

/// The pod's paths and the folders that stand for them, the longest path first.
#[derive(Debug)]
pub(super) struct Places(Vec<(String, String)>);

impl Places {
    /// The places of a container's volumes; `home` stands for everything else that it expects to be its own.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn new(mounts: &[Mount], folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let place = |mount: &Mount| {
            let real = mount.source.join(&mount.part);
            (mount.target.display().to_string(), real.display().to_string().trim_end_matches('/').to_owned())
        };
        let mut places: Vec<_> = mounts.iter().map(place).collect();
        places.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Ok(Self(places))
    }

    /// The text with every path of a volume replaced.
    pub(super) fn translate(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut may_begin = true;
        'next: while let Some(letter) = rest.chars().next() {
            if may_begin && letter == '/' {
                for (path, real) in &self.0 {
                    let after = rest.strip_prefix(path.as_str());
                    if let Some(after) = after.filter(|after| !after.starts_with(is_of_a_name)) {
                        out.push_str(real);
                        rest = after;
                        may_begin = false;
                        continue 'next;
                    }
                }
            }
            may_begin = !is_of_a_name(letter) && letter != '/';
            out.push(letter);
            rest = rest.strip_prefix(letter).unwrap_or_default();
        }
        out
    }

    /// A command and its environment, for this machine.
    fn translate_all(
        &self,
        command: &Command,
        environment: &BTreeMap<String, String>,
    ) -> (Command, BTreeMap<String, String>) {
        let words = command.words.iter().map(|word| self.translate(word)).collect();
        let folder = self.translate(&command.folder);
        let value = |(name, value): (&String, &String)| {
            let value = if name == SCRIPT { self.translate_script(value) } else { Cow::Owned(self.translate(value)) };
            (name.clone(), value.into_owned())
        };
        (Command { words, folder }, environment.iter().map(value).collect())
    }

    fn translate_script<'a>(&self, script: &'a str) -> Cow<'a, str> {
        let plain = BASE64.decode(script).ok().and_then(|plain| String::from_utf8(plain).ok());
        plain.map_or(Cow::Borrowed(script), |plain| Cow::Owned(BASE64.encode(self.translate(&plain))))
    }
}

/// Whether a letter behind a path makes it another one.
fn is_of_a_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

/// Starts a command in its own process group.
///
/// # Errors
/// The folder can't be made, or the process can't be started.
pub(super) async fn start(
    spawner: &Spawner,
    places: &Places,
    folder: &Path,
    command: &Command,
    environment: &BTreeMap<String, String>,
) -> Result<Running, SetUpError> {
    let (mut command, mut environment) = places.translate_all(command, environment);
    // A folder that isn't in a volume would be one of the machine's: the container's own stands for it.
    if !places.0.iter().any(|(_, real)| Path::new(&command.folder).starts_with(real)) {
        command.folder = folder.display().to_string();
    }
    environment.insert("HOME".to_owned(), folder.display().to_string());
    fs::create_dir_all(&command.folder)?;
    let script = become_command(&Preamble::None, &command, &environment);
    let mut shell = tool(&["/bin/sh".to_owned()]);
    let output = piped(&mut shell)?;
    shell.env_clear().process_group(0);
    let child = spawner.spawn(shell).await?;
    begin(child, output, script, Members::Group).await
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use base64::Engine as _;

    use super::super::beneath::Node;
    use super::{BASE64, BTreeMap, Command, Mount, Places};

    fn places() -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().unwrap();
        let mount = |source: &str, part: &str, target: &str| Mount {
            source: PathBuf::from(source),
            part: PathBuf::from(part),
            target: PathBuf::from(target),
            read_only: false,
            node: Node::Folder,
        };
        let places = [mount("/s/1", "", "/woodpecker"), mount("/s/2", "sub", "/woodpecker/cache")];
        let places = Places::new(&places, &folder.path().join("home")).unwrap();
        (folder, places)
    }

    #[test]
    fn only_paths_of_volumes_are_replaced() {
        let (_folder, places) = places();
        for (text, expected) in [
            ("/woodpecker", "/s/1"),
            ("/woodpecker/src/x", "/s/1/src/x"),
            ("cd '/woodpecker/cache'; ls", "cd '/s/2/sub'; ls"),
            ("PATH=/bin:/woodpecker:/usr", "PATH=/bin:/s/1:/usr"),
            (
                "/woodpeckers /woodpecker-x /usr/woodpecker ./woodpecker",
                "/woodpeckers /woodpecker-x /usr/woodpecker ./woodpecker",
            ),
            ("https://host/woodpecker", "https://host/woodpecker"),
            ("\u{1f426}/woodpecker", "\u{1f426}/s/1"),
        ] {
            assert_eq!(places.translate(text), expected);
        }
    }

    #[test]
    fn a_steps_script_is_replaced_inside_its_base64() {
        let (_folder, places) = places();
        let environment = BTreeMap::from([
            ("CI_SCRIPT".to_owned(), BASE64.encode("cd /woodpecker/src\n")),
            ("CI_WORKSPACE".to_owned(), "/woodpecker/src".to_owned()),
        ]);
        let command =
            Command { words: vec!["ls".to_owned(), "/woodpecker".to_owned()], folder: "/woodpecker".to_owned() };
        let (command, environment) = places.translate_all(&command, &environment);
        assert_eq!((command.words[1].as_str(), command.folder.as_str()), ("/s/1", "/s/1"));
        assert_eq!(environment["CI_SCRIPT"], BASE64.encode("cd /s/1/src\n"));
        assert_eq!(environment["CI_WORKSPACE"], "/s/1/src");
    }
}
