//! Figures of all rounds.

use std::time::Duration;

use serde_json::{Value, json};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    Mebibytes,
    Count,
}

/// What was measured, by round; and ratios.
#[derive(Default)]
pub(crate) struct Figures {
    works: Vec<Work>,
    ratios: Vec<(String, f64)>,
}

struct Work {
    name: String,
    unit: Unit,
    values: Vec<f64>,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::Count => "",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.2} s"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

impl Figures {
    pub(crate) fn add(&mut self, name: &str, unit: Unit, value: f64) {
        println!("  {name}: {}", unit.show(value));
        match self.works.iter_mut().find(|work| work.name == name) {
            Some(work) => work.values.push(value),
            None => self.works.push(Work { name: name.to_owned(), unit, values: vec![value] }),
        }
    }

    pub(crate) fn took(&mut self, name: &str, time: Duration) {
        self.add(name, Unit::Seconds, time.as_secs_f64());
    }

    /// What half of the times are below, and 99 of 100.
    pub(crate) fn spread(&mut self, name: &str, mut times: Vec<Duration>) {
        times.sort();
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
        self.add(&format!("{name}, p50"), Unit::Milliseconds, at(50));
        self.add(&format!("{name}, p99"), Unit::Milliseconds, at(99));
    }

    /// The ratio of two works, by their medians.
    pub(crate) fn ratio(&mut self, work: &str, floor: &str) {
        let median = |wanted: &str| {
            let found = self.works.iter().find(|work| work.name == wanted);
            found.map_or(f64::NAN, |work| median(&work.values))
        };
        self.ratios.push((format!("{work} / {floor}"), median(work) / median(floor)));
    }

    pub(crate) fn print(&self) {
        println!("\n| work | min | median | max |\n|---|---|---|---|");
        for Work { name, unit, values } in &self.works {
            let (min, max) =
                (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(0.0, f64::max));
            println!("| {name} | {} | {} | {} |", unit.show(min), unit.show(median(values)), unit.show(max));
        }
        if !self.ratios.is_empty() {
            println!("\n| ratio of medians | |\n|---|---|");
        }
        for (what, ratio) in &self.ratios {
            println!("| {what} | {ratio:.2} |");
        }
    }

    pub(crate) fn save(&self) {
        let show = |work: &Work| json!({"work": work.name, "unit": work.unit.name(), "rounds": work.values});
        let figures: Vec<Value> = self.works.iter().map(show).collect();
        let ratios: serde_json::Map<_, _> =
            self.ratios.iter().map(|(what, ratio)| (what.clone(), (*ratio).into())).collect();
        let all = json!({"figures": figures, "ratios": ratios});
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-cluster.json");
        std::fs::write(path, serde_json::to_vec_pretty(&all).unwrap()).unwrap();
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
