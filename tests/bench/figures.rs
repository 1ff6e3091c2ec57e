//! Figures of all rounds.

use std::time::Duration;

/// Seconds of each work, by round; and ratios.
#[derive(Default)]
pub(crate) struct Figures {
    works: Vec<(&'static str, Vec<f64>)>,
    ratios: Vec<(String, f64)>,
}

impl Figures {
    pub(crate) fn add(&mut self, work: &'static str, took: Duration) {
        println!("  {work}: {:.2} s", took.as_secs_f64());
        match self.works.iter_mut().find(|(name, _)| *name == work) {
            Some((_, seconds)) => seconds.push(took.as_secs_f64()),
            None => self.works.push((work, vec![took.as_secs_f64()])),
        }
    }

    /// The ratio of two works, by their medians.
    pub(crate) fn ratio(&mut self, work: &str, floor: &str) {
        let median = |work: &str| {
            let found = self.works.iter().find(|(name, _)| *name == work);
            found.map_or(f64::NAN, |(_, seconds)| median(seconds))
        };
        self.ratios.push((format!("{work} / {floor}"), median(work) / median(floor)));
    }

    pub(crate) fn print(&self) {
        println!("\n| work | min | median | max |\n|---|---|---|---|");
        for (work, seconds) in &self.works {
            let (min, max) =
                (seconds.iter().copied().fold(f64::MAX, f64::min), seconds.iter().copied().fold(0.0, f64::max));
            println!("| {work} | {min:.2} s | {:.2} s | {max:.2} s |", median(seconds));
        }
        println!("\n| ratio of medians | |\n|---|---|");
        for (what, ratio) in &self.ratios {
            println!("| {what} | {ratio:.2} |");
        }
    }

    pub(crate) fn save(&self) {
        let seconds: serde_json::Map<_, _> =
            self.works.iter().map(|(work, seconds)| ((*work).to_owned(), seconds.clone().into())).collect();
        let ratios: serde_json::Map<_, _> =
            self.ratios.iter().map(|(what, ratio)| (what.clone(), (*ratio).into())).collect();
        let all = serde_json::json!({"seconds": seconds, "ratios": ratios});
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-cluster.json");
        std::fs::write(path, serde_json::to_vec_pretty(&all).unwrap()).unwrap();
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
