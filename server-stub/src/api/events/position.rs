//! How far the reader of a stream of events has come.

use std::collections::BTreeMap;
use std::fmt;

use piculet_core::outcome::StepState;

use crate::view::StepView;

/// States by the letters that stand for them.
const LETTERS: [(StepState, char); 7] = [
    (StepState::Pending, 'p'),
    (StepState::Running, 'r'),
    (StepState::Success, 's'),
    (StepState::Failure, 'f'),
    (StepState::Killed, 'k'),
    (StepState::Skipped, 'x'),
    (StepState::Canceled, 'c'),
];

/// What was told of each step of a workflow.
///
/// As text, one word for each step of which something was told, joined by `,`: its place among the steps, the letter of
/// its state (`-`: not told), the attempt, and after a `.` the next line. `0s1.120,2p1.0`: 120 lines and the success of
/// the first step, and that the third waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// In the order of the workflow's steps.
    steps: Vec<Told>,
    index: BTreeMap<String, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    id: String,
    state: Option<(StepState, u32)>,
    next_line: u64,
}

impl Position {
    /// Nothing was told yet.
    pub(super) fn start(steps: &[StepView]) -> Self {
        let told = |step: &StepView| Told { id: step.id.clone(), state: None, next_line: 0 };
        let index = steps.iter().enumerate().map(|(at, step)| (step.name.clone(), at)).collect();
        Self { steps: steps.iter().map(told).collect(), index }
    }

    /// Reads what [`fmt::Display`] writes; `None` if it is not about these steps.
    pub(super) fn parse(text: &str, steps: &[StepView]) -> Option<Self> {
        let mut position = Self::start(steps);
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (front, next_line) = word.split_once('.')?;
            let letter_at = front.find(|c: char| !c.is_ascii_digit())?;
            let (at, rest) = front.split_at(letter_at);
            let mut rest = rest.chars();
            let letter = rest.next()?;
            let told = position.steps.get_mut(at.parse::<usize>().ok()?)?;
            told.next_line = next_line.parse().ok()?;
            if letter != '-' {
                let (state, _) = LETTERS.iter().find(|(_, other)| *other == letter)?;
                told.state = Some((*state, rest.as_str().parse().ok()?));
            }
        }
        Some(position)
    }

    /// Each step's id, and the line that comes next.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&str, u64)> {
        self.steps.iter().map(|told| (told.id.as_str(), told.next_line))
    }

    /// Where to begin with a step of which nobody has told anything yet: at this line. Else where it was left.
    pub(super) fn begin(&mut self, id: &str, from: u64) -> u64 {
        let Some(told) = self.steps.iter_mut().find(|told| told.id == id) else { return from };
        if told.state.is_none() && told.next_line == 0 {
            told.next_line = from;
        }
        told.next_line
    }

    /// Passes over a line. False if it was told before.
    pub(super) fn pass_line(&mut self, step: &str, number: u64) -> bool {
        let Some(told) = self.index.get(step).and_then(|&at| self.steps.get_mut(at)) else { return true };
        let is_news = number >= told.next_line;
        told.next_line = told.next_line.max(number.saturating_add(1));
        is_news
    }

    /// Passes over a step's state. False if it was told before.
    pub(super) fn pass_state(&mut self, step: &StepView) -> bool {
        let Some(told) = self.index.get(&step.name).and_then(|&at| self.steps.get_mut(at)) else { return true };
        told.state.replace((step.state, step.attempt)) != Some((step.state, step.attempt))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.steps.iter().enumerate().filter(|(_, told)| told.state.is_some() || told.next_line > 0);
        for (count, (at, told)) in told.enumerate() {
            let comma = if count > 0 { "," } else { "" };
            write!(f, "{comma}{at}")?;
            match told.state.and_then(|(state, attempt)| Some((letter(state)?, attempt))) {
                Some((letter, attempt)) => write!(f, "{letter}{attempt}")?,
                None => f.write_str("-")?,
            }
            write!(f, ".{}", told.next_line)?;
        }
        Ok(())
    }
}

fn letter(state: StepState) -> Option<char> {
    LETTERS.iter().find(|(other, _)| *other == state).map(|(_, letter)| *letter)
}

#[cfg(test)]
mod tests {
    use super::{LETTERS, Position};
    use crate::view::StepView;
    use piculet_core::outcome::StepState;
    use piculet_core::workload::StepKind;

    fn step(name: &str, state: StepState, attempt: u32) -> StepView {
        StepView {
            id: format!("id-of-{name}"),
            name: name.to_owned(),
            stage: 0,
            kind: StepKind::Commands,
            needs: None,
            state,
            attempt,
            exit_code: None,
            outcome: None,
            error: String::new(),
            started: None,
            finished: None,
            log_lines: 0,
            log_complaint: None,
        }
    }

    fn steps() -> [StepView; 3] {
        ["a", "b", "c"].map(|name| step(name, StepState::Pending, 1))
    }

    #[test]
    fn what_was_told_is_told_once_and_outlives_its_text() {
        let mut position = Position::start(&steps());
        assert_eq!(position.to_string(), "");
        assert!(position.pass_state(&step("a", StepState::Running, 1)));
        assert!(position.pass_line("a", 0));
        assert!(position.pass_line("a", 119), "lines between were lost for good");
        assert!(position.pass_line("c", 0));
        assert!(!position.pass_line("a", 119));
        assert_eq!(position.to_string(), "0r1.120,2-.1");
        let mut again = Position::parse("0r1.120,2-.1", &steps()).expect("it is a position");
        assert_eq!(again, position);
        assert!(!again.pass_state(&step("a", StepState::Running, 1)));
        assert!(again.pass_state(&step("a", StepState::Running, 2)), "another attempt is news");
        assert_eq!(again.lines().collect::<Vec<_>>(), [("id-of-a", 120), ("id-of-b", 0), ("id-of-c", 1)]);
    }

    #[test]
    fn each_state_has_a_letter_of_its_own() {
        for (state, _) in LETTERS {
            let mut position = Position::start(&steps());
            position.pass_state(&step("b", state, 3));
            assert_eq!(Position::parse(&position.to_string(), &steps()), Some(position), "{state:?}");
        }
    }

    #[test]
    fn other_texts_are_no_position() {
        for text in ["7r1.0", "0q1.0", "0r.0", "0r1", "r1.0", "0r1.-1", "0-.x", "0r1.0;1r1.0", "\u{fc}"] {
            assert_eq!(Position::parse(text, &steps()), None, "{text:?}");
        }
    }
}
