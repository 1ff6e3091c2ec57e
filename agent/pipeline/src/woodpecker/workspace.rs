//! Where the source lies in a step.

use super::file::File;
use super::step::Step;
use crate::context::Context;

/// Where the workspace volume is mounted. Always so in plugins: their images know it.
const BASE: &str = "/woodpecker";

/// The paths of a workflow.
#[derive(Debug)]
pub(super) struct Workspace {
    base: String,
    /// Of the source, below the base.
    path: String,
}

impl Workspace {
    pub(super) fn new(file: &File, context: &Context) -> Self {
        Self {
            base: file.workspace_base.as_deref().map_or_else(|| BASE.to_owned(), |base| join(&[base])),
            path: file.workspace_path.clone().unwrap_or_else(|| format!("src/{}", source(context))),
        }
    }

    /// Where the volume is mounted in a step.
    pub(super) fn base(&self, step: &Step) -> String {
        if step.is_plugin() { BASE.to_owned() } else { self.base.clone() }
    }

    /// Where the source is, in a step.
    pub(super) fn source(&self, step: &Step) -> String {
        join(&[&self.base(step), &self.path])
    }

    /// Where a step starts.
    pub(super) fn working_dir(&self, step: &Step) -> String {
        if step.directory.starts_with('/') {
            return join(&[&step.directory]);
        }
        join(&[&self.source(step), &step.directory])
    }
}

/// The repository's URL without its scheme, or its name if there is none.
fn source(context: &Context) -> String {
    let url = &context.repository.url;
    let path = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    // A user name before the host is no part of it.
    let (host, rest) = path.split_once('/').unwrap_or((path, ""));
    let host = host.rsplit('@').next().unwrap_or_default();
    if host.is_empty() { context.repository.full_name() } else { format!("{host}/{rest}") }
}

/// Puts paths together and cleans them: no `.`, no `..`, no slash at the end.
fn join(parts: &[&str]) -> String {
    let mut clean: Vec<&str> = Vec::new();
    for part in parts.iter().flat_map(|part| part.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    format!("/{}", clean.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{Workspace, join, source};
    use crate::context::{Context, Repository};
    use crate::woodpecker::file::File;

    #[test]
    fn paths_are_joined_and_cleaned() {
        assert_eq!(join(&["/woodpecker", "src/a", ""]), "/woodpecker/src/a");
        assert_eq!(join(&["/go/", "./x//y/../z/"]), "/go/x/z");
        assert_eq!(join(&["/a", "../../.."]), "/");
        assert_eq!(join(&["/woodpecker", "/"]), "/woodpecker");
    }

    #[test]
    fn the_source_lies_below_its_url() {
        let at = |url: &str| {
            let repository = Repository {
                url: url.to_owned(),
                owner: "acme".to_owned(),
                name: "shop".to_owned(),
                ..Repository::default()
            };
            let context = Context { repository, ..Context::default() };
            (source(&context), Workspace::new(&File::default(), &context).path)
        };
        assert_eq!(at("https://git.x.org:3000/acme/shop").0, "git.x.org:3000/acme/shop");
        assert_eq!(at("https://me@git.x.org/acme/shop?tab=1").0, "git.x.org/acme/shop");
        assert_eq!(at(""), ("acme/shop".to_owned(), "src/acme/shop".to_owned()));
    }
}
