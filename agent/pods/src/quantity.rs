//! Kubernetes quantities: `500m`, `1.5Gi`, `2e3`, and the resources that they are of.

use crate::names::is_label_key;

/// Whether the text is a quantity that isn't negative.
pub(crate) fn is_quantity(text: &str) -> bool {
    parse(text).is_some()
}

/// The quantity as a whole number of its unit, rounded up; `None` if it is none, is negative, or is too large.
///
/// For memory and storage the unit is the byte.
pub(crate) fn whole(text: &str) -> Option<u64> {
    let value = parse(text)?.ceil();
    // 2^63 is the largest quantity that the API server itself keeps exactly enough.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
    (value < 9_223_372_036_854_775_808.0).then_some(value as u64)
}

/// The quantity as a number, to compare two of the same resource.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let digits = unsigned.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, suffix) = unsigned.split_at_checked(digits)?;
    if !number.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(number.parse::<f64>().ok()? * scale(suffix)?)
}

/// Whether a container can ask for the resource: one of Kubernetes' own, or one with a prefix.
pub(crate) fn is_resource(name: &str) -> bool {
    match name {
        "cpu" | "memory" | "ephemeral-storage" => true,
        _ => is_label_key(name) && (name.starts_with("hugepages-") || name.contains('/')),
    }
}

fn scale(suffix: &str) -> Option<f64> {
    let binary = |power| Some(1024f64.powi(power));
    let decimal = |power| Some(10f64.powi(power));
    match suffix {
        "" => Some(1.0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let power = suffix.strip_prefix(['e', 'E'])?;
            let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
            let is_number = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            if is_number { decimal(power.parse().ok()?) } else { None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_quantity, is_resource, parse, whole};

    #[test]
    fn a_resource_is_kubernetes_own_or_has_a_prefix() {
        for name in ["cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "nvidia.com/gpu"] {
            assert!(is_resource(name), "{name:?}");
        }
        for name in ["", "gpu", "CPU", "storage", "hugepages-2 Mi", "nvidia.com/", "Nvidia.com/gpu"] {
            assert!(!is_resource(name), "{name:?}");
        }
    }

    #[test]
    fn quantities_are_read() {
        for (text, value) in [
            ("1", 1.0),
            ("0", 0.0),
            ("500m", 0.5),
            ("1.5Gi", 1.5 * 1024.0 * 1024.0 * 1024.0),
            ("10G", 1e10),
            ("2e3", 2000.0),
            ("2E-3", 0.002),
            ("+1k", 1000.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("1E", 1e18),
        ] {
            let parsed = parse(text).expect(text);
            assert!((parsed - value).abs() <= value * 1e-12, "{text}: {parsed}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in
            ["", "G", "-1", "1 Gi", "1gb", "1KB", "1..5", ".", "1e", "1e9999", "0x10", "ten", "1Gi ", "+-1", "é"]
        {
            assert!(!is_quantity(text), "{text:?}");
        }
    }

    #[test]
    fn bytes_are_rounded_up() {
        assert_eq!(whole("1Ki"), Some(1024));
        assert_eq!(whole("1500m"), Some(2));
        assert_eq!(whole("9000Ei"), None);
    }
}
