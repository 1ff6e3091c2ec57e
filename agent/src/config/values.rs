//! How values are written: what a YAML file has as a value, and variables and flags as text.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// `true` or `false`.
pub(super) fn read_bool(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err(format!("{value} is neither true nor false")),
    }
}

/// A number; variables and flags have it as text.
pub(super) fn read_number(value: &Value) -> Result<u32, String> {
    let number = match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| format!("{value} is no number from 0 to {}", u32::MAX))
}

/// A list, or `a,b` as a variable has it best.
pub(super) fn read_list(value: Value) -> Result<Vec<String>, String> {
    let Some(text) = value.as_str() else { return read(value) };
    Ok(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
}

/// A map, or `key=value,key=value` as a variable has it best.
pub(super) fn read_labels(value: Value) -> Result<BTreeMap<String, String>, String> {
    let Some(text) = value.as_str() else { return read(value) };
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let labels = pairs.map(|pair| match pair.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("'{pair}' is not key=value")),
    });
    let mut map = BTreeMap::new();
    for label in labels {
        let (key, value) = label?;
        if let Some(other) = map.insert(key.clone(), value.clone()) {
            return Err(format!("'{key}' is given twice, as '{other}' and as '{value}'"));
        }
    }
    Ok(map)
}

/// Ten years: what is added to it still is a time.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// `90s`, `1h 30m`, or a number of seconds; longer than 0.
pub(super) fn read_duration(value: &Value) -> Result<Duration, String> {
    read_pause(value)?.ok_or_else(|| "it must be longer than 0".to_owned())
}

/// The same; 0 is none.
pub(super) fn read_pause(value: &Value) -> Result<Option<Duration>, String> {
    let duration = match value {
        Value::Number(seconds) => seconds.as_u64().map(Duration::from_secs),
        Value::String(text) => match text.trim().parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => text.trim().parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok()),
        },
        _ => None,
    };
    match duration {
        Some(duration) if duration > LONGEST => Err(format!("{value} is longer than ten years")),
        Some(duration) => Ok(Some(duration).filter(|duration| !duration.is_zero())),
        None => Err(format!("{value} is no duration; write 90s, 10m or 1h 30m")),
    }
}

/// `64Mi`, `512Ki`, or a number of bytes.
pub(super) fn read_bytes(value: &Value) -> Result<usize, String> {
    let bytes = match value {
        Value::Number(bytes) => bytes.as_u64(),
        Value::String(text) => {
            let text = text.trim();
            let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (digits, unit) = text.split_at(split);
            let factor = match unit {
                "" => Some(1),
                "Ki" => Some(1 << 10),
                "Mi" => Some(1 << 20),
                "Gi" => Some(1u64 << 30),
                _ => None,
            };
            digits.parse::<u64>().ok().zip(factor).and_then(|(digits, factor)| digits.checked_mul(factor))
        }
        _ => None,
    };
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("{value} is no size; write 512Ki, 64Mi or a number of bytes"))
}
