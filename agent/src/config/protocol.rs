//! Which server is meant, where the variables of the Woodpecker agent stand beside settings of piculet's own.

use super::layers::{ConfigError, Source, Values};
use super::server::Protocol;
use super::values::read;

const ADDRESS: &str = "server.address";
const TOKENS: [&str; 2] = ["server.token", "server.token_file"];

/// The protocol: what is said, else that of the server that the Woodpecker agent's variables name, else the stream.
pub(super) fn choose(values: &Values, errors: &mut Vec<ConfigError>) -> Protocol {
    let said = values.get("server.protocol").and_then(|given| given.last());
    if let Some(protocol) = said.and_then(|(value, _)| read(value.clone()).ok()) {
        return protocol;
    }
    let given = |key: &str| values.get(key).map(Vec::as_slice).unwrap_or_default();
    if said.is_none() {
        errors.extend(two_servers(given(ADDRESS)));
    }
    let names_it = |key: &str| given(key).iter().any(|(_, source)| source.is_woodpecker());
    let is_woodpecker = names_it(ADDRESS) || TOKENS.into_iter().any(names_it);
    if is_woodpecker { Protocol::Woodpecker } else { Protocol::Stream }
}

/// An address from the Woodpecker agent's variable, and another one from elsewhere.
fn two_servers(addresses: &[(serde_json::Value, Source)]) -> Option<ConfigError> {
    let (value, theirs) = addresses.iter().find(|(_, source)| source.is_woodpecker())?;
    let (_, other) = addresses.iter().rev().find(|(other, source)| !source.is_woodpecker() && other != value)?;
    // Not the addresses: somebody may have written a password into one.
    let message = format!(
        "two different addresses are given, one {other} and one {theirs}; remove one of them, or say by server.protocol \
         which server is meant: stream or woodpecker"
    );
    Some(ConfigError { key: ADDRESS.to_owned(), source: Source::Nowhere, message })
}

/// With the stream, what the Woodpecker agent's variables say of its server is about another one.
pub(super) fn leave_out(values: &mut Values, warnings: &mut Vec<ConfigError>) {
    for (key, given) in values.iter_mut().filter(|(key, _)| key.starts_with("server.")) {
        for (_, source) in given.extract_if(.., |(_, source)| source.is_woodpecker()) {
            let message = "it is not used: server.protocol is stream".to_owned();
            warnings.push(ConfigError { key: key.clone(), source, message });
        }
    }
    values.retain(|_, given| !given.is_empty());
}

/// The token has two keys. Where the Woodpecker agent's variables say one and another layer says the other, the later
/// layer wins, as it does for a single key.
pub(super) fn one_token(values: &mut Values) {
    let [text, file] = TOKENS.map(|key| values.get(key)?.last().map(|(_, source)| source.clone()));
    let (Some(text), Some(file)) = (text, file) else { return };
    if text.is_woodpecker() != file.is_woodpecker() {
        let [of_text, of_file] = TOKENS;
        values.remove(if text.rank() > file.rank() { of_file } else { of_text });
    }
}
