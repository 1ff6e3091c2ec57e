//! Values as programs in Go read them, turned into those of settings. A text that is no such value is an error.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

type Converted = Result<Option<Value>, String>;

/// As it is.
pub(super) fn text(text: &str) -> Converted {
    Ok(Some(json!(text)))
}

/// Without the white space around it.
pub(super) fn trimmed(text: &str) -> Converted {
    Ok(Some(json!(text.trim())))
}

/// `true` or `false`, in the ways of `strconv.ParseBool`; nothing is `false`.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text.trim() {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" | "" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

pub(super) fn boolean(text: &str) -> Converted {
    parse_bool(text).map(|value| Some(json!(value)))
}

/// A number from 0.
pub(super) fn number(text: &str) -> Converted {
    let number = text.trim().parse::<u32>();
    number.map(|number| Some(json!(number))).map_err(|_| format!("{text:?} is no number from 0 to {}", u32::MAX))
}

/// `2m`, `1m30s`, `1.5h`; 0 needs no unit.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if matches!(trimmed, "0" | "+0" | "-0") {
        return Ok(Duration::ZERO);
    }
    let wrong = || format!("{text:?} is no duration; write 90s, 10m or 1h30m");
    // Go has no weeks, days or words for units.
    let is_go = trimmed.chars().all(|char| char.is_ascii_digit() || ".hmsunµ".contains(char));
    if !is_go {
        return Err(wrong());
    }
    let duration = trimmed.parse::<jiff::SignedDuration>().ok();
    duration.and_then(|duration| Duration::try_from(duration).ok()).ok_or_else(wrong)
}

/// A duration; 0 says that there is none.
pub(super) fn pause(text: &str) -> Converted {
    parse_duration(text).map(|duration| Some(json!(written(duration))))
}

/// A duration; 0 leaves what holds otherwise.
pub(super) fn duration(text: &str) -> Converted {
    parse_duration(text).map(|duration| (!duration.is_zero()).then(|| json!(written(duration))))
}

/// As settings have it. Whole milliseconds are enough for all of them.
fn written(duration: Duration) -> String {
    if duration.is_zero() { "0".to_owned() } else { format!("{}ms", duration.as_millis().max(1)) }
}

/// `key=value,key=value`. A value may have more equals signs; of two for one key the last counts.
pub(super) fn labels(text: &str) -> Converted {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let labels = items.map(|item| match item.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), json!(value))),
        _ => Err(format!("'{item}' is not key=value")),
    });
    labels.collect::<Result<serde_json::Map<_, _>, _>>().map(|map| Some(Value::Object(map)))
}

/// `name,name`.
pub(super) fn names(text: &str) -> Converted {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    Ok(Some(names.map(|name| json!(name)).collect()))
}

/// A map of texts, as YAML or JSON.
pub(super) fn map(text: &str) -> Converted {
    yaml::<Option<BTreeMap<String, String>>>(text, "a map in YAML or JSON, such as {key: value}")
        .map(|map| map.map(|map| json!(map)))
}

/// A list of objects, as YAML or JSON.
pub(super) fn list(text: &str) -> Converted {
    yaml::<Option<Vec<Value>>>(text, "a list in YAML or JSON").map(|list| list.map(Value::Array))
}

/// An object, as YAML or JSON.
pub(super) fn object(text: &str) -> Converted {
    yaml::<Option<serde_json::Map<_, _>>>(text, "a map in YAML or JSON").map(|map| map.map(Value::Object))
}

fn yaml<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, String> {
    serde_saphyr::from_str(text).map_err(|error| format!("it has to be {what}: {}", error.without_snippet()))
}

/// A level of Go's zerolog, as ours has it.
pub(super) fn level(text: &str) -> Converted {
    let level = match text.trim().to_ascii_lowercase().as_str() {
        "fatal" | "panic" | "error" => "error",
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warn" => "warn",
        "disabled" => "off",
        "" => return Ok(None),
        _ => return Err(format!("{text:?} is no level; write trace, debug, info, warn, error or disabled")),
    };
    Ok(Some(json!(level)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{boolean, duration, labels, level, list, map, names, pause};

    #[test]
    fn booleans_are_those_of_go() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(boolean(text), Ok(Some(json!(true))));
        }
        for text in ["0", "f", "F", "FALSE", "false", "False", ""] {
            assert_eq!(boolean(text), Ok(Some(json!(false))));
        }
        for text in ["yes", "on", "tRUE", "2"] {
            assert!(boolean(text).unwrap_err().contains(text));
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, written) in [
            ("2m", "120000ms"),
            ("1m30s", "90000ms"),
            ("500ms", "500ms"),
            ("1.5h", "5400000ms"),
            ("1us", "1ms"),
            ("0", "0"),
            ("0s", "0"),
        ] {
            assert_eq!(pause(text), Ok(Some(json!(written))), "{text}");
        }
        assert_eq!(duration("0"), Ok(None));
        for text in ["2", "-1s", "1d", "2 minutes", "1h 30m", "soon", "1h30", "m"] {
            assert!(pause(text).unwrap_err().contains("is no duration"), "{text}");
        }
    }

    #[test]
    fn labels_are_read_as_the_woodpecker_agent_does() {
        assert_eq!(labels("a=b, ,!c=d=e,,a=f"), Ok(Some(json!({"a": "f", "!c": "d=e"}))));
        for text in ["a", "a=", "=b"] {
            assert_eq!(labels(text), Err(format!("'{text}' is not key=value")));
        }
        assert_eq!(names(" a,,b "), Ok(Some(json!(["a", "b"]))));
    }

    #[test]
    fn maps_and_lists_are_yaml_or_json() {
        for text in [r#"{"a": "b", "c": "1"}"#, "a: b\nc: 1", "{a: b, c: 1}"] {
            assert_eq!(map(text), Ok(Some(json!({"a": "b", "c": "1"}))), "{text}");
        }
        assert_eq!(map("null"), Ok(None));
        assert!(map("{a:b}").is_err(), "what is left of JSON without its quotes");
        assert!(map("[a]").unwrap_err().starts_with("it has to be a map"));
        assert!(map("{a: hunter2").unwrap_err().starts_with("it has to be a map"));
        assert_eq!(list("[{key: a}]"), Ok(Some(json!([{"key": "a"}]))));
        assert!(list("{a: b}").is_err());
    }

    #[test]
    fn levels_are_those_of_zerolog() {
        let level = |text| level(text).map(|level| level.and_then(|level| level.as_str().map(str::to_owned)));
        for (theirs, ours) in
            [("Trace", "trace"), ("panic", "error"), ("fatal", "error"), ("warn", "warn"), ("disabled", "off")]
        {
            assert_eq!(level(theirs), Ok(Some(ours.to_owned())));
        }
        assert_eq!(level(""), Ok(None::<String>));
        assert!(level("loud").is_err());
    }
}
