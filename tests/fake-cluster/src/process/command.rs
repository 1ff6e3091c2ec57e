//! What a container is to run, where there are no images.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Container;

use super::ProcessSettings;
use super::mask::Mask;

/// Where a container sees the folder that takes the place of a clone.
pub(super) const SOURCE: &str = "/run/source";

/// What happens when a container is run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Its command is run.
    Run(Command),
    /// The source folder is copied, in place of a clone.
    CopySource {
        /// For the log.
        notice: String,
        /// Copies what is mounted at [`SOURCE`].
        command: Command,
    },
    /// Nothing is run; what an image would get is shown.
    Show(String),
    /// Nothing is run; the container stays until it is stopped.
    Wait(String),
    /// It needs what only an image has.
    Fail(String),
}

/// A program with its arguments, and the folder to start it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<String>,
    pub(super) folder: String,
}

impl Work {
    /// Whether something else takes the place of what the container would do.
    pub(super) fn is_simulated(&self) -> bool {
        matches!(self, Self::CopySource { .. } | Self::Show(_) | Self::Wait(_))
    }

    /// Decides by the container's command, and by the kind of its step, which Woodpecker tells in `CI_STEP_TYPE`.
    ///
    /// Arguments without a command are taken for the command: the images that are used like that have no entrypoint.
    pub(super) fn of(
        container: &Container,
        environment: &BTreeMap<String, String>,
        settings: &ProcessSettings,
        mask: &Mask,
    ) -> Self {
        let kind = environment.get("CI_STEP_TYPE").map_or("", String::as_str);
        let folder = container.working_dir.clone().filter(|folder| !folder.is_empty());
        if let (Some(source), "clone") = (&settings.source, kind) {
            let into = environment.get("CI_WORKSPACE").cloned().or_else(|| folder.clone());
            let into = into.unwrap_or_else(|| "/".to_owned());
            let notice = format!("[simulated] The clone is a copy of {} in {into}.\n", source.display());
            let script = r#"mkdir -p -- "$1" && exec cp -a --no-preserve=ownership --reflink=auto -- "$0/." "$1""#;
            let words = ["/bin/sh", "-c", script, SOURCE, &into].map(str::to_owned).to_vec();
            return Self::CopySource { notice, command: Command { words, folder: "/".to_owned() } };
        }
        let words: Vec<String> = container.command.iter().chain(&container.args).flatten().cloned().collect();
        if !words.is_empty() {
            return Self::Run(Command { words, folder: folder.unwrap_or_else(|| "/".to_owned()) });
        }
        let image = container.image.as_deref().unwrap_or_default();
        match (settings.simulate_plugins, kind) {
            (true, "service") => Self::Wait(format!(
                "[simulated] The service {image} is not running; this step only waits for its end.\n"
            )),
            (true, _) => Self::Show(plugin(image, environment, mask)),
            (false, "clone") => Self::Fail(format!(
                "The clone can't run: it is the work of the image {image}, and this cluster has no images; steps run as processes of this machine. Use --source DIR to take a folder's contents in its place.\n"
            )),
            (false, _) => Self::Fail(format!(
                "This step can't run: what it does is in its image {image}, and this cluster has no images; steps run as processes of this machine. Give it commands, or use --simulate-plugins to see what it would get.\n"
            )),
        }
    }
}

/// What the plugin in an image would see of its settings.
fn plugin(image: &str, environment: &BTreeMap<String, String>, mask: &Mask) -> String {
    let mut text = format!("[simulated] The plugin {image} did not run. It would get:\n");
    let settings: Vec<_> = environment.iter().filter(|(name, _)| name.starts_with("PLUGIN_")).collect();
    for (name, value) in &settings {
        let shown = mask.hide(value).replace('\n', "\\n");
        text.extend(["[simulated]   ", name, "=", &shown, "\n"]);
    }
    if settings.is_empty() {
        text.push_str("[simulated]   no settings\n");
    }
    text
}
