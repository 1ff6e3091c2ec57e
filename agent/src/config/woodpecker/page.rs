//! The table of the page about moving here, made from the variables.

use std::fmt::Write as _;

use super::{Meaning, VARIABLES};

/// The rows, as Markdown.
pub(super) fn rows() -> String {
    let mut rows = "| variable | default there | here |\n|---|---|---|\n".to_owned();
    for variable in VARIABLES {
        let default = match variable.default {
            "" => String::new(),
            words if words.contains(' ') => words.to_owned(),
            value => format!("`{value}`"),
        };
        let old: Vec<_> = variable.old_names.iter().map(|name| format!("Old name: `{name}`.")).collect();
        let meaning = match variable.meaning {
            Meaning::Sets { key: "server.token", .. } => "`PICULET_SERVER_TOKEN`".to_owned(),
            Meaning::Sets { key, .. } => format!("`{key}`"),
            Meaning::Checked(_) => String::new(),
            Meaning::Nothing { why } => format!("Changes nothing: {why}."),
        };
        let words: Vec<_> =
            [meaning, old.join(" "), variable.note.to_owned()].into_iter().filter(|words| !words.is_empty()).collect();
        // Writing to a String can't fail.
        let _always = writeln!(rows, "| `{}` | {default} | {} |", variable.name, words.join(" · "));
    }
    rows
}
