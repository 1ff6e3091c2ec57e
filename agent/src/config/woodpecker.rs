//! The variables of the Woodpecker agent, so that what configures it configures piculet.
//!
//! Every variable stands once, in `table`: its name, its old names, what it is there if nobody says anything, and what it
//! means here: which setting it is, in whose values it is turned, or why it has no meaning. The variables are read, the
//! warnings made and the page written from that table.

mod go;
#[cfg(test)]
mod page;
mod table;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::layers::{Layers, Source, is_service_link};
pub use table::VARIABLES;

/// What the names of all these variables begin with.
pub const PREFIX: &str = "WOODPECKER_";

/// One variable of the Woodpecker agent.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Names that it had before. They count if it has no value itself.
    pub old_names: &'static [&'static str],
    /// What it is for the Woodpecker agent if nobody says anything; empty: nothing.
    pub default: &'static str,
    /// What it means here.
    pub meaning: Meaning,
    /// What else is to be said of it, as a sentence; may be empty.
    pub note: &'static str,
    /// Whether an empty value says something; elsewhere it is as good as none.
    empty_counts: bool,
    /// A variable that goes before it.
    yields_to: Option<&'static str>,
}

/// What a variable of the Woodpecker agent means here.
#[derive(Debug, Clone, Copy)]
pub enum Meaning {
    /// It is a setting.
    Sets {
        /// The setting's key.
        key: &'static str,
        /// Turns its text into a value of that setting, or tells what is wrong with it. No value: it says nothing.
        convert: fn(&str) -> Result<Option<Value>, String>,
    },
    /// Only some values can be used, and none changes anything.
    Checked(fn(&str) -> Result<(), String>),
    /// It has none.
    Nothing {
        /// Why, as a clause.
        why: &'static str,
    },
}

impl Variable {
    const fn new(name: &'static str, default: &'static str, meaning: Meaning) -> Self {
        Self { name, old_names: &[], default, meaning, note: "", empty_counts: false, yields_to: None }
    }

    const fn sets(
        name: &'static str,
        default: &'static str,
        key: &'static str,
        convert: fn(&str) -> Result<Option<Value>, String>,
    ) -> Self {
        Self::new(name, default, Meaning::Sets { key, convert })
    }

    /// One that is `true` or `false`: set to nothing it is `false`, whatever it is if it is not set.
    const fn switch(
        name: &'static str,
        default: &'static str,
        key: &'static str,
        convert: fn(&str) -> Result<Option<Value>, String>,
    ) -> Self {
        Self::sets(name, default, key, convert).empty_counts()
    }

    const fn nothing(name: &'static str, default: &'static str, why: &'static str) -> Self {
        Self::new(name, default, Meaning::Nothing { why })
    }

    const fn was(self, old_names: &'static [&'static str]) -> Self {
        Self { old_names, ..self }
    }

    const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    const fn empty_counts(self) -> Self {
        Self { empty_counts: true, ..self }
    }

    const fn yields_to(self, other: &'static str) -> Self {
        Self { yields_to: Some(other), ..self }
    }
}

/// Puts what the variables say into the layers, and what is to be said about them.
pub(super) fn read(variables: &[(&str, &str)], layers: &mut Layers) {
    let get = |wanted: &str| variables.iter().find_map(|(name, text)| (*name == wanted).then_some(*text));
    for variable in VARIABLES {
        let value = |name| get(name).filter(|text| variable.empty_counts || !text.is_empty());
        let own = value(variable.name);
        let olds = variable.old_names.iter().filter_map(|name| Some((*name, value(name)?)));
        let mut used = own.map(|text| (variable.name, text));
        for (old, text) in olds {
            let source = Source::Variable(old.to_owned());
            match used {
                None => layers.warn(source, format!("this is an old name of {}; use that", variable.name)),
                Some((name, _)) => layers.warn(source, format!("it is not used, for {name} is set, too")),
            }
            used = used.or(Some((old, text)));
        }
        let is_beaten = variable.yields_to.and_then(get).is_some_and(|text| !text.is_empty());
        if let Some((name, text)) = used.filter(|_| !is_beaten) {
            take(variable, name, text, layers);
        }
    }
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if !is_known(name) && !is_service_link(rest, text) {
            layers.warn(Source::Variable((*name).to_owned()), unknown(name));
        }
    }
}

fn take(variable: &Variable, name: &str, text: &str, layers: &mut Layers) {
    let source = Source::Variable(name.to_owned());
    match variable.meaning {
        Meaning::Sets { key, convert } => match convert(text) {
            Ok(Some(value)) => layers.give(key.to_owned(), value, source),
            Ok(None) => {}
            Err(message) => layers.error(key, &source, &message),
        },
        Meaning::Checked(check) => {
            if let Err(message) = check(text) {
                layers.error("", &source, &message);
            }
        }
        Meaning::Nothing { why } => layers.warn(source, format!("it changes nothing here: {why}")),
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().flat_map(|variable| [&[variable.name], variable.old_names].concat())
}

fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

/// The server, other agents and other backends have variables of this kind, too, and may share a file with the agent.
fn unknown(name: &str) -> String {
    let near = names().map(|known| (strsim::levenshtein(known, name), known)).min();
    match near {
        Some((distance, near)) if distance <= 3 => {
            format!("it changes nothing here: the Woodpecker agent has no such variable; did you mean {near}?")
        }
        _ => "it changes nothing here: the Woodpecker agent has no such variable for Kubernetes".to_owned(),
    }
}
