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

#[cfg(test)]
mod tests {
    use super::registry;

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
