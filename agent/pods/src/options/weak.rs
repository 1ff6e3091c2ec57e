//! Values as people write them in YAML: `1` for `"1"`, `"true"` for `true`, one value for a list of one.
//!
//! The conversions are those of the Woodpecker agent's decoder. An error is the second half of a sentence: what was
//! expected, and what was there.

use serde_json::Value;

/// A string; a number stands for its digits, a boolean for `1` or `0`, null for nothing.
pub(super) fn string(value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(if *flag { "1" } else { "0" }.to_owned()),
        Value::Array(_) | Value::Object(_) => Err(expected("a string", value)),
    }
}

/// A boolean; a number stands for whether it isn't 0, and a string for the boolean that it names.
pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(expected("true or false", value)),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => Err(expected("true or false", value)),
    }
}

/// A whole number; a string stands for the number that it names.
pub(super) fn integer(value: &Value) -> Result<i64, String> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.ok_or_else(|| expected("a whole number", value))
}

/// A list; a single value stands for a list of one, and null for none.
pub(super) fn list(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(values) => values,
        single => std::slice::from_ref(single),
    }
}

/// What was expected, and what was there instead.
pub(super) fn expected(what: &str, value: &Value) -> String {
    let there = match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let text = value.to_string();
            if text.chars().count() > 80 { format!("{}…", text.chars().take(80).collect::<String>()) } else { text }
        }
    };
    format!("expected {what}, and there is {there}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{boolean, expected, integer, list, string};

    #[test]
    fn scalars_stand_for_each_other() {
        assert_eq!(string(&json!(1)), Ok("1".to_owned()));
        assert_eq!(string(&json!(0.5)), Ok("0.5".to_owned()));
        assert_eq!(string(&json!(true)), Ok("1".to_owned()));
        assert_eq!(string(&json!(null)), Ok(String::new()));
        assert!(string(&json!({})).is_err());
        assert_eq!(boolean(&json!("False")), Ok(false));
        assert_eq!(boolean(&json!("t")), Ok(true));
        assert_eq!(boolean(&json!(2)), Ok(true));
        assert_eq!(boolean(&json!("")), Ok(false));
        assert!(boolean(&json!("yes")).is_err());
        assert_eq!(integer(&json!("1000")), Ok(1000));
        assert!(integer(&json!(1.5)).is_err() && integer(&json!("many")).is_err());
    }

    #[test]
    fn one_value_is_a_list() {
        assert_eq!(list(&json!("ALL")), [json!("ALL")]);
        assert_eq!(list(&json!(["a", "b"])).len(), 2);
        assert_eq!(list(&json!(null)).len(), 0);
    }

    #[test]
    fn long_values_are_cut_in_errors() {
        assert_eq!(expected("a list", &json!("x")), "expected a list, and there is \"x\"");
        assert!(expected("a list", &json!("é".repeat(1000))).len() < 300);
    }
}
