//! How far the reader of a stream of events has come.

use std::collections::BTreeMap;
use std::fmt;

use piculet_core::outcome::StepState;

use crate::view::StepView;

/// The word of which an id is made where nothing follows.
const END: &str = "end";

/// The next line of a step of which all lines were told.
const NO_MORE: u64 = u64::MAX;

/// What was told of each step of a workflow, in one of its rounds.
///
/// As text, the round, a `:`, and words joined by `,`, each about neighbours of which the same was told: their places
/// among the steps, a letter (`p`: it waits, `r`: it runs, `e`: how it ended, `-`: no state), the attempt, and after a
/// `.` the next line, or `e` for all of them. `1:0-7e1.e,8r1.120,9-30p1.0`: the first eight are over, 120 lines of the
/// ninth were told, and that the others wait. So the text grows with the steps that run at once, not with all that there
/// are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    round: u64,
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

/// What a word says of each of its steps. An attempt ends once in a round, so that how it ended needs no letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    state: Option<(char, u32)>,
    next_line: u64,
}

impl Position {
    /// Nothing was told yet.
    pub(super) fn start(round: u64, steps: &[StepView]) -> Self {
        let told = |step: &StepView| Told { id: step.id.clone(), state: None, next_line: 0 };
        let index = steps.iter().enumerate().map(|(at, step)| (step.name.clone(), at)).collect();
        Self { round, steps: steps.iter().map(told).collect(), index }
    }

    /// The id of the last event in a round.
    pub(super) fn end(round: u64) -> String {
        format!("{round}:{END}")
    }

    /// Reads what [`fmt::Display`] writes; `None` if it is not about these steps.
    pub(super) fn parse(text: &str, steps: &[StepView]) -> Option<Self> {
        let (round, words) = text.split_once(':')?;
        let mut position = Self::start(round.parse().ok()?, steps);
        for text in words.split(',').filter(|word| !word.is_empty() && *word != END) {
            let (places, word) = Word::parse(text)?;
            let (first, last) = places.split_once('-').unwrap_or((places, places));
            let places = first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?;
            let told = position.steps.get_mut(places.clone()).filter(|told| !told.is_empty())?;
            told.iter_mut().zip(steps.get(places)?).for_each(|(told, step)| word.tell(told, step));
        }
        Some(position)
    }

    /// The round that it is about.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Passes over into a round, of which nothing was told. False if it is about that round already.
    pub(super) fn pass_round(&mut self, round: u64) -> bool {
        let is_news = round != self.round;
        if is_news {
            self.round = round;
            self.steps.iter_mut().for_each(|told| (told.state, told.next_line) = (None, 0));
        }
        is_news
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

    /// The same in a stream that tells lines, where the end of a step comes after the last of them.
    pub(super) fn pass_state_after_lines(&mut self, step: &StepView) -> bool {
        if let Some(told) = self.index.get(&step.name).and_then(|&at| self.steps.get_mut(at)) {
            match (step.state.is_final(), told.next_line) {
                (true, _) => told.next_line = NO_MORE,
                // There is another attempt.
                (false, NO_MORE) => told.next_line = 0,
                (false, _) => {}
            }
        }
        self.pass_state(step)
    }
}

impl Word {
    fn of(told: &Told) -> Self {
        let letter = |state| match state {
            StepState::Pending => 'p',
            StepState::Running => 'r',
            _ => 'e',
        };
        Self { state: told.state.map(|(state, attempt)| (letter(state), attempt)), next_line: told.next_line }
    }

    fn says_nothing(self) -> bool {
        self == Self { state: None, next_line: 0 }
    }

    /// The places of the steps, and what is said of them.
    fn parse(text: &str) -> Option<(&str, Self)> {
        let (front, next_line) = text.rsplit_once('.')?;
        let next_line = if next_line == "e" { NO_MORE } else { next_line.parse().ok()? };
        if let Some(places) = front.strip_suffix('-') {
            return Some((places, Self { state: None, next_line }));
        }
        let (places, attempt) = front.split_at(front.find(['p', 'r', 'e'])?);
        let mut attempt = attempt.chars();
        let letter = attempt.next()?;
        Some((places, Self { state: Some((letter, attempt.as_str().parse().ok()?)), next_line }))
    }

    /// What was told of a step, in the light of how it is now.
    fn tell(self, told: &mut Told, step: &StepView) {
        told.state = self.state.and_then(|(letter, attempt)| match letter {
            'p' => Some((StepState::Pending, attempt)),
            'r' => Some((StepState::Running, attempt)),
            // How another attempt ended is news.
            _ => (step.attempt == attempt && step.state.is_final()).then_some((step.state, attempt)),
        });
        let has_more = self.next_line == NO_MORE && !told.state.is_some_and(|(state, _)| state.is_final());
        told.next_line = if has_more { 0 } else { self.next_line };
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.round)?;
        let mut at = 0;
        let mut comma = "";
        for same in self.steps.chunk_by(|one, next| Word::of(one) == Word::of(next)) {
            let (first, last) = (at, at + same.len() - 1);
            at += same.len();
            let Some(word) = same.first().map(Word::of).filter(|word| !word.says_nothing()) else { continue };
            write!(f, "{comma}{first}")?;
            comma = ",";
            if last > first {
                write!(f, "-{last}")?;
            }
            match word.state {
                Some((letter, attempt)) => write!(f, "{letter}{attempt}")?,
                None => f.write_str("-")?,
            }
            match word.next_line {
                NO_MORE => f.write_str(".e")?,
                next_line => write!(f, ".{next_line}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Position;
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
        let mut position = Position::start(1, &steps());
        assert_eq!(position.to_string(), "1:");
        assert!(position.pass_state(&step("a", StepState::Running, 1)));
        assert!(position.pass_line("a", 0));
        assert!(position.pass_line("a", 119), "lines between were lost for good");
        assert!(position.pass_line("c", 0));
        assert!(!position.pass_line("a", 119));
        assert_eq!(position.to_string(), "1:0r1.120,2-.1");
        let mut again = Position::parse("1:0r1.120,2-.1", &steps()).expect("it is a position");
        assert_eq!(again, position);
        assert!(!again.pass_state(&step("a", StepState::Running, 1)));
        assert!(again.pass_state(&step("a", StepState::Running, 2)), "another attempt is news");
        assert_eq!(again.lines().collect::<Vec<_>>(), [("id-of-a", 120), ("id-of-b", 0), ("id-of-c", 1)]);
    }

    #[test]
    fn how_a_step_ended_is_told_once() {
        for (state, text) in [
            (StepState::Pending, "1:1p3.0"),
            (StepState::Running, "1:1r3.0"),
            (StepState::Success, "1:1e3.0"),
            (StepState::Failure, "1:1e3.0"),
            (StepState::Killed, "1:1e3.0"),
            (StepState::Skipped, "1:1e3.0"),
            (StepState::Canceled, "1:1e3.0"),
        ] {
            let now = [step("a", StepState::Pending, 1), step("b", state, 3), step("c", StepState::Pending, 1)];
            let mut position = Position::start(1, &now);
            assert!(position.pass_state(&now[1]));
            assert_eq!(position.to_string(), text, "{state:?}");
            let mut again = Position::parse(text, &now).expect("it is a position");
            assert_eq!(again, position);
            assert!(!again.pass_state(&now[1]));
            assert!(again.pass_state(&step("b", state, 4)), "another attempt is news");
        }
        // What was told is how the first attempt ended, and by now the second has ended, too.
        let later = [step("a", StepState::Success, 2)];
        let mut position = Position::parse("1:0e1.7", &later).expect("it is a position");
        assert!(position.pass_state(&later[0]));
        assert_eq!(position.lines().collect::<Vec<_>>(), [("id-of-a", 7)]);
    }

    #[test]
    fn of_a_step_that_is_over_nothing_is_left_to_tell() {
        let over = ["a", "b", "c"].map(|name| step(name, StepState::Success, 1));
        let mut position = Position::start(1, &steps());
        for (number, step) in (50..).zip(&over) {
            assert!(position.pass_line(&step.name, number));
            assert!(position.pass_state_after_lines(step));
        }
        assert_eq!(position.to_string(), "1:0-2e1.e");
        let mut again = Position::parse("1:0-2e1.e", &over).expect("it is a position");
        assert_eq!(again, position);
        assert!(!again.pass_line("b", 1000));
        assert!(!again.pass_state_after_lines(&over[1]));
        // One that begins anew is told from its beginning, whether somebody listened meanwhile or not.
        assert!(again.pass_state_after_lines(&steps()[1]) && again.pass_line("b", 0));
        let mut again = Position::parse("1:0-2e1.e", &steps()).expect("it is a position");
        assert!(again.pass_state_after_lines(&steps()[1]) && again.pass_line("b", 0));
    }

    #[test]
    fn its_text_grows_with_what_runs_at_once() {
        let name = |number: usize| format!("step {number}");
        let waiting: Vec<_> = (0..2000).map(|number| step(&name(number), StepState::Pending, 1)).collect();
        let mut position = Position::start(1, &waiting);
        waiting.iter().for_each(|step| assert!(position.pass_state_after_lines(step)));
        for number in 0..2000 {
            position.pass_state_after_lines(&step(&name(number), StepState::Running, 1));
            position.pass_line(&name(number), number as u64);
            // Three run at once, and they don't all end in the same way.
            if let Some(before) = number.checked_sub(2) {
                let state = if before % 2 == 0 { StepState::Success } else { StepState::Failure };
                position.pass_state_after_lines(&step(&name(before), state, 1));
            }
            assert!(position.to_string().len() < 80, "{position}");
        }
        assert_eq!(position.to_string(), "1:0-1997e1.e,1998r1.1999,1999r1.2000");
    }

    #[test]
    fn other_texts_are_no_position() {
        for text in [
            "1:7r1.0",
            "1:0q1.0",
            "1:0r.0",
            "1:0r1",
            "0r1.0",
            ":0r1.0",
            "x:0r1.0",
            "1:r1.0",
            "1:0r1.-1",
            "1:0-.x",
            "1:0r1.0;1r1.0",
            "1:0-3r1.0",
            "1:2-1r1.0",
            "1:0-1-2r1.0",
            "\u{fc}",
        ] {
            assert_eq!(Position::parse(text, &steps()), None, "{text:?}");
        }
    }
}
