//! Quantities of resources: `500m`, `1.5`, `2Gi`.

use serde_json::Value;

use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::list;

/// The value in thousandths, rounded up; `None` if the text is no quantity.
pub(crate) fn millis(text: &str) -> Option<u128> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (multiplier, divisor): (u128, u128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000_000, 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        "Ei" => (1_000 << 60, 1),
        exponent => {
            let power: u32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            (1_000_u128.checked_mul(10_u128.checked_pow(power)?)?, 1)
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let parse = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let scaled = parse(whole)?.checked_mul(scale)?.checked_add(parse(fraction)?)?;
    Some(scaled.checked_mul(multiplier)?.div_ceil(divisor.checked_mul(scale)?))
}

/// Refuses an object with a quantity that is none, as the server's decoder does.
pub(crate) fn check(kind: Kind, object: &Value) -> Result<(), Failure> {
    let spec = &object["spec"];
    let of_containers = list(&spec["initContainers"]).chain(list(&spec["containers"]));
    let holders = of_containers.map(|container| &container["resources"]).chain([&spec["resources"]]);
    for resources in holders {
        for list in ["requests", "limits"] {
            let mut quantities = resources[list].as_object().into_iter().flatten().map(|(_, value)| value);
            if quantities.any(|value| value.as_str().and_then(millis).is_none()) {
                return Err(Failure::bad_request(format!(
                    "{name} in version \"v1\" cannot be handled as a {name}: quantities must match the regular \
                     expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                    name = kind.name(),
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::millis;

    #[test]
    fn quantities_have_one_meaning() {
        assert_eq!(millis("1"), Some(1_000));
        assert_eq!(millis("500m"), Some(500));
        assert_eq!(millis("0.5"), Some(500));
        assert_eq!(millis(".5"), Some(500));
        assert_eq!(millis("1Ki"), Some(1_024_000));
        assert_eq!(millis("1.5Gi"), Some(1_610_612_736_000));
        assert_eq!(millis("2e3"), Some(2_000_000));
        assert_eq!(millis("100u"), Some(1), "rounded up");
        for broken in ["", "x", "1.2.3", "-1", "1 Gi", "1KiB", "e3", "."] {
            assert_eq!(millis(broken), None, "{broken:?}");
        }
    }
}
