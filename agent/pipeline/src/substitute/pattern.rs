//! The globs of `${X#glob}`: `*`, `?`, `[a-z]`, `[!a-z]` and `\` for the character after it. Unlike in a path, `*`
//! matches slashes too.

/// One character of a glob.
#[derive(Debug)]
enum Token {
    Any,
    AnyRun,
    Literal(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Any | Self::AnyRun => true,
            Self::Literal(literal) => *literal == c,
            Self::Class { negated, ranges } => ranges.iter().any(|&(from, to)| from <= c && c <= to) != *negated,
        }
    }
}

/// The ends of all starts of `value` that the glob matches, shortest first, without the empty one.
pub(super) fn starts(value: &str, glob: &str) -> Vec<usize> {
    let Some(tokens) = parse(glob) else { return Vec::new() };
    let characters = value.char_indices().map(|(at, c)| (at + c.len_utf8(), c));
    matches(characters, &tokens.iter().collect::<Vec<_>>())
}

/// The starts of all ends of `value` that the glob matches, longest first, without the empty one.
pub(super) fn ends(value: &str, glob: &str) -> Vec<usize> {
    let Some(tokens) = parse(glob) else { return Vec::new() };
    let mut found = matches(value.char_indices().rev(), &tokens.iter().rev().collect::<Vec<_>>());
    found.reverse();
    found
}

/// Steps through all the places of the glob at once: the time is length times length, whatever the glob.
fn matches(characters: impl Iterator<Item = (usize, char)>, tokens: &[&Token]) -> Vec<usize> {
    let mut places = vec![false; tokens.len() + 1];
    places[0] = true;
    pass_runs(&mut places, tokens);
    let mut found = Vec::new();
    for (at, c) in characters {
        let mut next = vec![false; tokens.len() + 1];
        for (place, token) in tokens.iter().enumerate() {
            if places[place] && token.accepts(c) {
                next[if matches!(token, Token::AnyRun) { place } else { place + 1 }] = true;
            }
        }
        pass_runs(&mut next, tokens);
        places = next;
        if places[tokens.len()] {
            found.push(at);
        }
        if !places.contains(&true) {
            break;
        }
    }
    found
}

fn pass_runs(places: &mut [bool], tokens: &[&Token]) {
    for (place, token) in tokens.iter().enumerate() {
        if places[place] && matches!(token, Token::AnyRun) {
            places[place + 1] = true;
        }
    }
}

/// `None` if a class is never closed: such a glob matches nothing.
fn parse(glob: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = glob.chars();
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '*' => Token::AnyRun,
            '?' => Token::Any,
            '\\' => Token::Literal(rest.next().unwrap_or('\\')),
            '[' => class(&mut rest)?,
            c => Token::Literal(c),
        });
    }
    Some(tokens)
}

fn class(rest: &mut std::str::Chars<'_>) -> Option<Token> {
    let mut text = rest.as_str();
    let negated = text.starts_with(['!', '^']);
    if negated {
        rest.next();
        text = rest.as_str();
    }
    let mut ranges = Vec::new();
    let mut is_first = true;
    while is_first || !text.starts_with(']') {
        is_first = false;
        let from = rest.next()?;
        let from = if from == '\\' { rest.next()? } else { from };
        let mut ahead = rest.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *rest = ahead;
                to
            }
            _ => from,
        };
        ranges.push((from, to));
        text = rest.as_str();
    }
    rest.next();
    Some(Token::Class { negated, ranges })
}
