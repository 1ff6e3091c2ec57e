//! The file `.env` in the working directory: variables for whoever starts the agent by hand, as the Woodpecker agent
//! reads them.

use super::layers::{ConfigError, Source};

/// The file's name.
pub const FILE: &str = ".env";

/// Beginnings of the names that are taken from the file.
const PREFIXES: [&str; 3] = ["WOODPECKER_", "PICULET_", "OTEL_"];
/// Other names that are.
const NAMES: [&str; 3] = ["KUBECONFIG", "KUBERNETES_SERVICE_HOST", "HOME"];

/// The variables of a file that mean something here. Of others nobody looks at more than the way they are written.
///
/// # Errors
/// If a line can't be understood. The line is not shown: it may hold a secret.
pub fn read(text: &[u8]) -> Result<Vec<(String, String)>, ConfigError> {
    let wrong = |message| ConfigError { key: String::new(), source: Source::File(FILE.to_owned()), message };
    let text = std::str::from_utf8(text).map_err(|_| wrong("it is no UTF-8".to_owned()))?;
    let mut variables = Vec::new();
    for variable in dotenvy::from_read_iter(text.as_bytes()) {
        match variable {
            // The last one counts.
            Ok((name, value)) if is_ours(&name) => {
                variables.retain(|(known, _): &(String, String)| *known != name);
                variables.push((name, value));
            }
            Ok(_) => {}
            Err(error) => {
                let place = match &error {
                    dotenvy::Error::LineParse(line, _) => line_number(text, line),
                    _ => None,
                };
                let place = place.map_or_else(|| "a line".to_owned(), |number| format!("line {number}"));
                let message = format!(
                    "{place} can't be understood; write NAME=value, with quotes around a value that has spaces, quotes or \
                     a # in it"
                );
                return Err(wrong(message));
            }
        }
    }
    Ok(variables)
}

fn is_ours(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

/// The library tells the line, and not where it stands.
fn line_number(text: &str, line: &str) -> Option<usize> {
    let (before, _) = text.split_once(line.trim_end_matches('\n'))?;
    Some(before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_means_something_here_is_taken() {
        let text = "# a comment\n\nWOODPECKER_SERVER=old:9000\nexport WOODPECKER_SERVER=ci:9000\nPICULET_LOG_LEVEL='debug' # loud\nPATH=/nowhere\n\
                    WOODPECKER_BACKEND_K8S_POD_LABELS='{\"a\": \"b\"}'\nKUBECONFIG=\"/home/me/.kube/config\"\n";
        let variables = read(text.as_bytes()).unwrap();
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            variables,
            [
                ("WOODPECKER_SERVER", "ci:9000"),
                ("PICULET_LOG_LEVEL", "debug"),
                ("WOODPECKER_BACKEND_K8S_POD_LABELS", "{\"a\": \"b\"}"),
                ("KUBECONFIG", "/home/me/.kube/config"),
            ]
        );
        assert_eq!(read(b"").unwrap(), []);
        assert!(read(b"A=\xff").is_err());
    }

    #[test]
    fn a_broken_line_is_told_by_its_number() {
        for (text, place) in [
            ("A=1\nB=2\nWOODPECKER_AGENT_SECRET hunter2\n", "line 3"),
            ("A=1\r\n\r\nB=hunter2 hunter2\r\n", "line 3"),
            ("PICULET_SERVER_TOKEN='hunter2\n", "line 1"),
            ("=hunter2", "line 1"),
        ] {
            let told = read(text.as_bytes()).unwrap_err().to_string();
            assert!(told.starts_with(&format!("in .env: {place} can't")) && !told.contains("hunter2"), "{told}");
        }
    }
}
