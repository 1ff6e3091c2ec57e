//! Image references, as far as credentials need them.

/// The registry that an unqualified image comes from.
const DEFAULT_REGISTRY: &str = "docker.io";

/// The registry of an image, as the kubelet looks credentials up; `None` if the text is no image reference.
pub(crate) fn registry(image: &str) -> Option<&str> {
    let bare = image.split_once('@').map_or(image, |(bare, _)| bare);
    let is_word = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':' | b'[' | b']'))
    };
    if !bare.split('/').all(is_word) {
        return None;
    }
    match bare.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" || first != first.to_lowercase() => {
            Some(if first == "index.docker.io" { DEFAULT_REGISTRY } else { first })
        }
        _ => Some(DEFAULT_REGISTRY),
    }
}

/// Whether a pattern means this image. Names are completed as the container runtime does it (`golang` is
/// `docker.io/library/golang`), in the pattern as well; `*` stands for any text. A pattern without a tag means all tags and
/// digests, one with a tag this tag alone: a digest beside it decides what runs, so it doesn't count then.
pub(crate) fn matches(pattern: &str, image: &str) -> bool {
    let (pattern, image) = (whole(pattern.trim()), whole(image.trim()));
    let (name, version) = split(&image);
    match split(&pattern) {
        (pattern, "") => glob(pattern, name),
        (_, wanted) if version.contains('@') != wanted.contains('@') => false,
        (pattern, wanted) => glob(pattern, name) && glob(wanted, if version.is_empty() { ":latest" } else { version }),
    }
}

/// The name with its registry and its folder. One that begins with `*` is left as it is.
fn whole(image: &str) -> String {
    if image.starts_with('*') {
        return image.to_owned();
    }
    // What stands for any text may stand in any part.
    if registry(&image.replace('*', "x")) != Some(DEFAULT_REGISTRY) {
        return image.to_owned();
    }
    match image.split_once('/') {
        Some((DEFAULT_REGISTRY | "index.docker.io", rest)) => whole_of_hub(rest),
        _ => whole_of_hub(image),
    }
}

fn whole_of_hub(rest: &str) -> String {
    let folder = if rest.contains('/') { "" } else { "library/" };
    format!("{DEFAULT_REGISTRY}/{folder}{rest}")
}

/// Name and version; the version begins with its `:` or `@`.
fn split(image: &str) -> (&str, &str) {
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    let version = image.split_at(name).1.find([':', '@']).map_or(image.len(), |at| name + at);
    image.split_at(version)
}

/// Whether the text is the pattern, whose `*` stand for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| glob(rest, text.split_at(at).1))
}

#[cfg(test)]
mod tests {
    use super::{matches, registry};

    #[test]
    fn a_pattern_means_the_image_however_it_is_written() {
        for (pattern, image, expected) in [
            ("golang", "golang", true),
            ("golang", "golang:1.25", true),
            ("golang", "docker.io/library/golang@sha256:01", true),
            ("golang", "index.docker.io/library/golang:1", true),
            ("docker.io/library/golang", "golang", true),
            ("golang", "evil.example.org/golang", false),
            ("golang", "evil/golang", false),
            ("golang", "golang-evil", false),
            ("golang", "golang/evil", false),
            ("golang:1.25", "golang:1.25", true),
            ("golang:1.25", "golang:1.26", false),
            ("golang:1.25", "golang", false),
            ("golang:latest", "golang", true),
            // What runs is what the digest says.
            ("golang:1.25", "golang:1.25@sha256:01", false),
            ("golang:1.*", "golang:1.26-alpine", true),
            ("golang:1.*", "golang:1.26@sha256:01", false),
            ("golang@sha256:01", "golang@sha256:01", true),
            ("plugins/*", "plugins/docker:20", true),
            ("plugins/*", "evil.example.org/plugins/docker", false),
            ("registry.example.org:5000/ci/*", "registry.example.org:5000/ci/a/b:2", true),
            ("registry.example.org:5000/ci/*", "registry.example.org:5000/other/a", false),
            ("registry.example.org:5000/ci/*", "registry.example.org/ci/a", false),
            ("*/kaniko", "gcr.io/tools/kaniko:v1", true),
            ("*", "anything/at:all", true),
            ("gol*ng", "golang", true),
        ] {
            assert_eq!(matches(pattern, image), expected, "{pattern} and {image}");
        }
    }

    #[test]
    fn the_registry_is_the_first_part_if_that_looks_like_a_host() {
        for (image, expected) in [
            ("busybox", Some("docker.io")),
            ("busybox:1.37", Some("docker.io")),
            ("plugins/notify", Some("docker.io")),
            ("index.docker.io/library/busybox", Some("docker.io")),
            ("registry.example.org/a/b:2", Some("registry.example.org")),
            ("localhost/a", Some("localhost")),
            ("reg:5000/a", Some("reg:5000")),
            ("[::1]:5000/a", Some("[::1]:5000")),
            ("ghcr.io/a/b@sha256:0123", Some("ghcr.io")),
            ("", None),
            ("a//b", None),
            ("https://example.org/a", None),
            ("a b", None),
            ("${IMAGE}", None),
        ] {
            assert_eq!(registry(image), expected, "{image:?}");
        }
    }
}
