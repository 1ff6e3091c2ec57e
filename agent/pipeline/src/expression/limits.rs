//! Which expressions are run at all.

use super::ExpressionError;

/// Far longer than anybody writes.
const MAX_BYTES: usize = 2048;
/// Words, signs and literals. Bounds how deep the evaluator recurses.
const MAX_TOKENS: usize = 256;
/// Brackets inside each other. The parser's time doubles with each nested index.
const MAX_BRACKETS: usize = 8;
/// How many functions may go through a list, none inside another: each multiplies the time.
const MAX_LOOPS: usize = 2;
/// Bytes of variables that an expression may read.
const BUDGET: usize = 16 << 20;
/// The same where something is done over and over.
const BUDGET_WITH_LOOPS: usize = 128 << 10;
/// The longest `1..n`.
const MAX_RANGE: u64 = 1_000;

const LOOPS: [&str; 14] = [
    "all",
    "any",
    "count",
    "filter",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "groupBy",
    "map",
    "none",
    "one",
    "sortBy",
    "sum",
];
/// Their results grow faster than the expression, or their time does.
const REFUSED: [&str; 5] = ["join", "let", "reduce", "repeat", "uniq"];
const OPERATORS: [&str; 8] = ["and", "contains", "endsWith", "in", "matches", "not", "or", "startsWith"];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'c> {
    Word(&'c str),
    Number(&'c str),
    Text,
    Range,
    Sign(char),
}

impl Token<'_> {
    /// Whether a value can end with it, so that an operator may follow.
    fn ends_value(self) -> bool {
        match self {
            Self::Word(word) => !OPERATORS.contains(&word),
            Self::Number(_) | Self::Text => true,
            Self::Range => false,
            Self::Sign(sign) => matches!(sign, ')' | ']' | '}'),
        }
    }
}

/// Refuses an expression that could take long, or overflow the stack; else says how many bytes of variables it may read.
pub(super) fn check(code: &str) -> Result<usize, ExpressionError> {
    if code.len() > MAX_BYTES {
        return Err(ExpressionError::new(format!("the expression is longer than {MAX_BYTES} bytes")));
    }
    let tokens = tokens(code);
    if tokens.len() > MAX_TOKENS {
        return Err(ExpressionError::new(format!("the expression has more than {MAX_TOKENS} words and signs")));
    }
    // Of each open bracket, whether a loop goes on inside of it.
    let mut brackets: Vec<bool> = Vec::new();
    let mut loops = Vec::new();
    for (at, &token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at)).copied();
        let after = tokens.get(at + 1).copied();
        match token {
            Token::Sign('(' | '[' | '{') => brackets.push(is_loop(before, Some(token))),
            Token::Sign(')' | ']' | '}') => drop(brackets.pop()),
            Token::Word(word) if REFUSED.contains(&word) => {
                return Err(ExpressionError::new(format!("`{word}` is not available in conditions")));
            }
            Token::Word(word) if is_loop(Some(token), after) => {
                if brackets.contains(&true) || loops.len() == MAX_LOOPS || word == "map" && loops.contains(&word) {
                    return Err(ExpressionError::new("too many functions go through lists"));
                }
                loops.push(word);
            }
            Token::Word(word) if is_misused(word, before) => {
                return Err(ExpressionError {
                    message: format!("`{word}` is an operator, not a function"),
                    hint: Some(format!("write `NAME {word} \"text\"`; its opposite is `not (NAME {word} \"text\")`")),
                });
            }
            Token::Range => range(before, after)?,
            _ => {}
        }
        if brackets.len() > MAX_BRACKETS {
            return Err(ExpressionError::new(format!("more than {MAX_BRACKETS} brackets lie inside each other")));
        }
    }
    Ok(if loops.is_empty() { BUDGET } else { BUDGET_WITH_LOOPS })
}

fn is_loop(word: Option<Token<'_>>, after: Option<Token<'_>>) -> bool {
    matches!((word, after), (Some(Token::Word(word)), Some(Token::Sign('('))) if LOOPS.contains(&word))
}

/// Whether an operator stands where a value has to be, as in `!contains(A, "x")`.
fn is_misused(word: &str, before: Option<Token<'_>>) -> bool {
    ["contains", "endsWith", "matches", "startsWith"].contains(&word) && !before.is_some_and(Token::ends_value)
}

fn range(from: Option<Token<'_>>, to: Option<Token<'_>>) -> Result<(), ExpressionError> {
    let (Some(Token::Number(from)), Some(Token::Number(to))) = (from, to) else {
        return Err(ExpressionError::new("a range needs two plain numbers, for example `1..10`"));
    };
    match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if to.saturating_sub(from) < MAX_RANGE => Ok(()),
        _ => Err(ExpressionError::new(format!("a range may have {MAX_RANGE} numbers at most"))),
    }
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let length = if c.is_whitespace() {
            c.len_utf8()
        } else if c.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token::Number(rest.get(..end).unwrap_or_default()));
            end
        } else if c.is_alphanumeric() || matches!(c, '_' | '$' | '#') {
            let end = rest.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '$' | '#')).unwrap_or(rest.len());
            tokens.push(Token::Word(rest.get(..end).unwrap_or_default()));
            end
        } else if matches!(c, '"' | '\'' | '`') {
            tokens.push(Token::Text);
            text_length(rest, c)
        } else if rest.starts_with("..") {
            tokens.push(Token::Range);
            2
        } else {
            tokens.push(Token::Sign(c));
            c.len_utf8()
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

/// How long the literal is that `rest` starts with.
fn text_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped && quote != '`';
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::{ExpressionError, check};

    fn refused(code: &str) -> String {
        check(code).unwrap_err().message
    }

    #[test]
    fn ordinary_conditions_pass() {
        for code in [
            r#"not (A contains "((((((((((((") && B startsWith ("v" + C)"#,
            r#"A in ["x", "y"] or (B matches 'z\'..' and len(C) in 1..10)"#,
            "any(split(A, `..`), # endsWith B)",
            "",
        ] {
            assert!(check(code).is_ok(), "{code}");
        }
    }

    #[test]
    fn what_could_take_long_is_refused() {
        for (code, message) in [
            (" ".repeat(2049).as_str(), "the expression is longer than 2048 bytes"),
            ("1+".repeat(200).as_str(), "the expression has more than 256 words and signs"),
            ("[".repeat(9).as_str(), "more than 8 brackets lie inside each other"),
            ("any(A, any(B, true))", "too many functions go through lists"),
            ("any(A, true) or any(B, true) or any(C, true)", "too many functions go through lists"),
            ("map(map(A, #), #)", "too many functions go through lists"),
            ("let a = 1; a == 1", "`let` is not available in conditions"),
            ("reduce([1], #acc + #)", "`reduce` is not available in conditions"),
            (r#"A | join(",") == """#, "`join` is not available in conditions"),
            ("len(1..1000000) > 1", "a range may have 1000 numbers at most"),
            ("1..n == 1", "a range needs two plain numbers, for example `1..10`"),
            ("(1)..(9)", "a range needs two plain numbers, for example `1..10`"),
        ] {
            assert_eq!(refused(code), message, "{code}");
        }
    }

    #[test]
    fn an_operator_used_as_a_function_is_explained() {
        let error = check(r#"A != "" && !contains(A, "b")"#).unwrap_err();
        assert_eq!(
            error,
            ExpressionError {
                message: "`contains` is an operator, not a function".to_owned(),
                hint: Some(r#"write `NAME contains "text"`; its opposite is `not (NAME contains "text")`"#.to_owned()),
            }
        );
    }

    #[test]
    fn the_worst_that_passes_is_quick_and_shallow() {
        let variables = std::collections::BTreeMap::from([("A".to_owned(), "x".repeat(10_000))]);
        for code in [
            "a[".repeat(8) + "1" + &"]".repeat(8),
            "a[".repeat(8),
            "1+".repeat(127) + "1",
            "1?".repeat(128),
            "true?1:".repeat(60) + "1",
            "if a {".repeat(8),
            "not ".repeat(200),
            "a?.".repeat(80) + "a",
            "a|f(".repeat(8),
            "a??".repeat(60) + "a",
            "any(split(A, ''), len(1..1000) == 1)".to_owned(),
            format!("len(map(split(A, ''), #{})) == 1", "+#".repeat(110)),
        ] {
            assert!(check(&code).is_ok(), "{code}");
            drop(super::super::Evaluator::new(&variables).evaluate(&code));
        }
    }
}
