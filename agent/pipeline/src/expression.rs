//! `evaluate:` expressions, in the expr language.
//!
//! Pipeline files come from anybody, and the evaluator has no limits of its own. So an expression is looked at before
//! it is run: its size, its depth, and whatever lets a short text take long. What is left takes milliseconds.

mod limits;

use std::cell::Cell;
use std::collections::BTreeMap;

use expr::{ContextProvider, Environment, Program, Value};

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpressionError {
    /// A sentence.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl ExpressionError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }
}

/// The longest text that `replace` may make.
const MAX_TEXT: usize = 1 << 20;

/// What expressions are evaluated with.
#[derive(Debug)]
pub(crate) struct Evaluator {
    environment: Environment<'static>,
    values: BTreeMap<String, Value>,
}

impl Evaluator {
    /// With these variables.
    pub(crate) fn new(variables: &BTreeMap<String, String>) -> Self {
        let mut environment = Environment::new();
        environment.add_function("replace", |call| match call.args.as_slice() {
            [Value::String(text), Value::String(from), Value::String(to)] => replace(text, from, to),
            _ => Err(expr::Error::ExprError("replace() takes three texts".to_owned())),
        });
        let values = variables.iter().map(|(name, value)| (name.clone(), Value::String(value.clone())));
        Self { environment, values: values.collect() }
    }

    /// The value of a condition. Variables that don't exist are `nil`; those words that look into a text find nothing
    /// in `nil`.
    pub(crate) fn evaluate(&self, code: &str) -> Result<bool, ExpressionError> {
        let budget = limits::check(code)?;
        let program = expr::compile(code).map_err(|error| unreadable(&error.to_string()))?;
        // Where this implementation refuses `nil`, the original says no. A text that occurs nowhere gives the same
        // answer.
        let value = match self.run(&program, Value::Nil, budget) {
            Err(error) if looks_into_nil(&error) => self.run(&program, Value::String("\0".to_owned()), budget)?,
            result => result?,
        };
        match value {
            Value::Bool(value) => Ok(value),
            other => Err(ExpressionError {
                message: format!("the expression gives {}, not true or false", kind(&other)),
                hint: Some("compare it with something, for example `CI_COMMIT_BRANCH == \"main\"`".to_owned()),
            }),
        }
    }

    fn run(&self, program: &Program, undefined: Value, budget: usize) -> Result<Value, ExpressionError> {
        let scope = Scope { values: &self.values, undefined, budget: Cell::new(Some(budget)) };
        let result = self.environment.run(program, &scope);
        if scope.budget.get().is_none() {
            return Err(ExpressionError::new("the expression reads too many variables, too often"));
        }
        result.map_err(|error| ExpressionError::new(format!("the expression has no value: {error}")))
    }
}

fn replace(text: &str, from: &str, to: &str) -> expr::Result<Value> {
    if text.len() + text.matches(from).count() * to.len() > MAX_TEXT {
        return Err(expr::Error::ExprError("replace() makes a text of more than 1 MiB".to_owned()));
    }
    Ok(Value::String(text.replace(from, to)))
}

fn looks_into_nil(error: &ExpressionError) -> bool {
    ["contains", "startsWith", "endsWith", "matches"]
        .iter()
        .any(|word| error.message.contains(&format!("Invalid operands for operator {word}")))
}

/// The parser's message is a drawing of several lines; of interest is where, and what it expected.
fn unreadable(error: &str) -> ExpressionError {
    let column =
        error.lines().next().and_then(|line| line.rsplit(':').next()).and_then(|text| text.trim().parse().ok());
    let at = column.map_or_else(String::new, |column: usize| format!(" at character {column}"));
    ExpressionError::new(format!("the expression can't be read{at}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nothing (nil)",
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Array(_) => "a list",
        _ => "something else",
    }
}

/// The variables, and how much of them may still be read.
struct Scope<'v> {
    values: &'v BTreeMap<String, Value>,
    undefined: Value,
    /// In bytes; `None` when it was not enough.
    budget: Cell<Option<usize>>,
}

/// What reading a variable costs apart from its text.
const LOOK: usize = 16;

impl Scope<'_> {
    fn pay(&self, value: &Value) -> bool {
        let price = value.as_string().map_or(0, str::len) + LOOK;
        self.budget.set(self.budget.get().and_then(|budget| budget.checked_sub(price)));
        self.budget.get().is_some()
    }
}

impl ContextProvider for Scope<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        // Names like `#index` belong to the evaluator.
        if name.starts_with('#') {
            return None;
        }
        let value = self.values.get(name).unwrap_or(&self.undefined);
        self.pay(value).then_some(value)
    }

    fn to_context(&self) -> expr::Context {
        let mut context = expr::Context::default();
        for (name, value) in self.values {
            if self.pay(value) {
                context.insert(name.clone(), value.clone());
            }
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Evaluator, ExpressionError};

    fn evaluate(code: &str, variables: &BTreeMap<String, String>) -> Result<bool, ExpressionError> {
        Evaluator::new(variables).evaluate(code)
    }

    fn variables() -> BTreeMap<String, String> {
        [
            ("CI_COMMIT_BRANCH", "main"),
            ("CI_COMMIT_MESSAGE", "Fix it [CI SKIP]"),
            ("CI_PIPELINE_EVENT", "push"),
            ("CI_REPO", "acme/shop"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn message(code: &str) -> String {
        evaluate(code, &variables()).unwrap_err().message
    }

    #[test]
    fn conditions_have_the_value_that_their_authors_mean() {
        for (code, expected) in [
            (r#"CI_PIPELINE_EVENT == "push" && CI_REPO == "acme/shop""#, true),
            ("CI_COMMIT_BRANCH != CI_REPO_DEFAULT_BRANCH", true),
            (r#"not (CI_COMMIT_MESSAGE contains "please ignore me")"#, true),
            (r#"CI_COMMIT_MESSAGE contains "[CI SKIP]""#, true),
            (r#"SKIP != "true""#, true),
            ("SKIP == nil", true),
            (r#"(SKIP ?? "no") == "no""#, true),
            (r#"CI_COMMIT_PULL_REQUEST_LABELS contains "build""#, false),
            (r#"not (CI_COMMIT_PULL_REQUEST_LABELS contains "build")"#, true),
            (r#"TAG startsWith "v" or TAG endsWith "x" or TAG matches "^v""#, false),
            (r#""abc" contains NOTHING"#, false),
            (r#""REBUILD_IMAGE" in $env"#, false),
            (r#"not("REBUILD_IMAGE" in $env)"#, true),
            (r#""CI_REPO" in $env"#, true),
            (r#"$env["CI_REPO"] == "acme/shop""#, true),
            (r#"CI_COMMIT_BRANCH in ["main", "dev"]"#, true),
            (r#"CI_COMMIT_BRANCH matches "^ma?in$""#, true),
            (r#"any(split(CI_REPO, "/"), # == "shop")"#, true),
            (r#"all(["acme", "shop"], CI_REPO contains #)"#, true),
            (r#"replace(CI_REPO, "/", "-") == "acme-shop""#, true),
            (r#"upper(CI_COMMIT_BRANCH) == "MAIN" ? true : false"#, true),
            (r#"len(CI_COMMIT_BRANCH) in 1..10"#, true),
            ("true", true),
        ] {
            assert_eq!(evaluate(code, &variables()), Ok(expected), "{code}");
        }
    }

    #[test]
    fn what_has_no_value_says_why() {
        for (code, expected) in [
            ("CI_REPO", "the expression gives a text, not true or false"),
            ("NOTHING", "the expression gives nothing (nil), not true or false"),
            ("1 +", "the expression can't be read at character 4"),
            ("", "the expression can't be read at character 1"),
            ("len(NOTHING) > 1", "the expression has no value: "),
            ("frobnicate(1)", "the expression has no value: Unknown function: frobnicate"),
            (r#"replace("aaa", "a") == """#, "the expression has no value: replace() takes three texts"),
            ("now() == now()", "the expression has no value: now() requires"),
        ] {
            assert!(message(code).starts_with(expected), "{code}: {}", message(code));
        }
    }

    #[test]
    fn reading_has_a_limit() {
        let mut many = variables();
        many.insert("BIG".to_owned(), "x,".repeat(100_000));
        assert_eq!(evaluate(r#"BIG contains "y""#, &many), Ok(false));
        assert_eq!(evaluate(r#"replace(BIG, ",", ";") contains ",""#, &many), Ok(false));
        let too_much = |code: &str| evaluate(code, &many).unwrap_err().message;
        let often = "the expression reads too many variables, too often";
        assert_eq!(too_much(r#"any(split(CI_REPO, ""), BIG contains "y")"#), often);
        assert_eq!(too_much(r#"any(split(CI_REPO, ""), "BIG" in $env and # == "!")"#), often);
        let long = "the expression has no value: replace() makes a text of more than 1 MiB";
        assert_eq!(too_much(r#"replace(BIG, "", BIG) == "x""#), long);
    }

    proptest! {
        #[test]
        fn any_text_has_a_value_or_an_error(
            code in r#"([a-c ()\[\]{}.,?:!=<>&|+*/%#'"0-9-]|CI_REPO|not |in | contains |any\(|\.\.|\$env|\PC){0,40}"#
        ) {
            drop(evaluate(&code, &variables()));
        }
    }
}
