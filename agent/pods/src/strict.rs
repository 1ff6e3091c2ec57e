//! Kubernetes values inside settings and options, without losing a misspelt key: the API types drop what they don't
//! know, and a toleration without its `tolerationSeconds` is not what somebody asked for.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Reads a Kubernetes value, and the paths of the keys that its type doesn't know.
pub(crate) fn read<T: Serialize + DeserializeOwned>(value: Value) -> Result<(T, Vec<String>), serde_json::Error> {
    let typed: T = serde_json::from_value(value.clone())?;
    let mut unknown = Vec::new();
    lost("", &value, &serde_json::to_value(&typed)?, &mut unknown);
    Ok((typed, unknown))
}

/// For `#[serde(deserialize_with)]`: an unknown key is an error.
pub(crate) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Serialize + DeserializeOwned,
{
    let (typed, unknown) = read(Value::deserialize(deserializer)?).map_err(D::Error::custom)?;
    match unknown.as_slice() {
        [] => Ok(typed),
        unknown => Err(D::Error::custom(format_args!("unknown field {}", unknown.join(", ")))),
    }
}

fn lost(path: &str, written: &Value, kept: &Value, unknown: &mut Vec<String>) {
    match (written, kept) {
        (Value::Object(written), kept) => {
            for (key, value) in written {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match kept.get(key) {
                    Some(kept) => lost(&path, value, kept, unknown),
                    // A null says nothing, so nothing is lost with it.
                    None if value.is_null() => {}
                    None => unknown.push(format!("'{path}'")),
                }
            }
        }
        (Value::Array(written), Value::Array(kept)) => {
            for (i, (written, kept)) in written.iter().zip(kept).enumerate() {
                lost(&format!("{path}[{i}]"), written, kept, unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Affinity, Toleration};
    use serde_json::json;

    use super::read;

    #[test]
    fn a_known_value_is_read_without_complaint() {
        let value = json!([{"key": "ci", "operator": "Exists", "tolerationSeconds": 5, "value": null}]);
        let (tolerations, unknown) = read::<Vec<Toleration>>(value).unwrap();
        assert_eq!(tolerations[0].toleration_seconds, Some(5));
        assert_eq!(unknown, Vec::<String>::new());
    }

    #[test]
    fn unknown_keys_are_named_with_their_path() {
        let value = json!({"podAffinity": {"preferred": [], "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "lableSelector": {}}
        ]}});
        let (_, unknown) = read::<Affinity>(value).unwrap();
        assert_eq!(
            unknown,
            [
                "'podAffinity.preferred'",
                "'podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].lableSelector'"
            ]
        );
    }

    #[test]
    fn a_wrong_type_is_an_error() {
        assert!(read::<Vec<Toleration>>(json!([{"key": 5}])).is_err());
    }
}
