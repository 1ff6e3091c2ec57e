//! Names of images: a kubelet refuses one that is none before it asks a registry.

/// Whether `name` is a reference to an image: `[host[:port]/]path[:tag][@digest]`.
pub(super) fn is_reference(name: &str) -> bool {
    let (name, digest) = match name.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (name, None),
    };
    let slash = name.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match name.get(slash..).and_then(|last| last.find(':')) {
        Some(colon) => (name.get(..slash + colon).unwrap_or(name), name.get(slash + colon + 1..)),
        None => (name, None),
    };
    let is_host = |part: &str| part == "localhost" || part.contains(['.', ':']) || part.chars().any(char::is_uppercase);
    let path = match path.split_once('/') {
        Some((host, rest)) if is_host(host) => {
            if !host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]_".contains(c)) {
                return false;
            }
            rest
        }
        _ => path,
    };
    path.split('/').all(is_component) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest)
}

/// Lower-case letters and digits, with single separators between them.
fn is_component(part: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = part.split(letter).filter(|run| !run.is_empty());
    part.starts_with(letter)
        && part.ends_with(letter)
        && separators.into_iter().all(|run| matches!(run, "." | "_" | "__") || run.chars().all(|c| c == '-'))
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn references_have_a_grammar() {
        let digest = format!("alpine@sha256:{}", "0a".repeat(32));
        for name in [
            "alpine",
            "alpine:3.20_x",
            "library/alpine",
            "docker.io/library/alpine:3",
            "localhost:5000/a/b-c.d__e:latest",
            "Registry.Example.com/a",
            digest.as_str(),
        ] {
            assert!(is_reference(name), "{name}");
        }
        for name in
            ["", "Alpine", "alpine:", "a//b", "-a", "a b", "alpine:-x", "a@sha256:12", "http://x/y", "a/B", "a..b"]
        {
            assert!(!is_reference(name), "{name}");
        }
    }
}
