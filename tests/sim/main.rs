//! Agents, server and clusters on a simulated network, in virtual time, with faults drawn from a seed.
//!
//! `PICULET_SEEDS=N PICULET_SEED_BASE=M cargo test --release --test sim` runs N seeds from M on. A seed that fails is
//! printed with what it broke; the same seed does the same again: see [`a_seed`].

#![expect(clippy::unwrap_used, reason = "a test that can't go on shall panic")]

mod diary;
mod judge;
mod machine;
mod plan;
mod wire;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use diary::Diary;
use judge::Judge;
use server_stub::dispatch::Submission;
use world::World;

/// How many seeds run without being asked for more.
const SEEDS: u64 = 24;
/// How many of them run twice.
const TWICE: u64 = 4;

/// What became of a simulation.
struct Outcome {
    violations: Vec<String>,
    diary: Vec<String>,
    /// How long it lasted, by its own clock.
    lasted: Duration,
}

/// Runs the simulation of a seed.
fn simulate(seed: u64) -> Outcome {
    let plan = plan::draw(seed);
    let diary = Diary::default();
    let _kept = diary.keep();
    let mut world = World::new(seed, &plan, diary.clone());
    let mut judge = Judge::default();
    let mut faults = plan.faults.iter().peekable();
    let mut submissions: Vec<_> = plan.workflows.iter().collect();
    let mut cancels: Vec<_> = plan.workflows.iter().filter(|workflow| workflow.cancelled.is_some()).collect();
    let mut next_look = Duration::ZERO;
    loop {
        let now = world.sim.elapsed();
        while let Some((_, fault)) = faults.next_if(|(at, _)| *at <= now) {
            world.inflict(fault);
        }
        for workflow in submissions.extract_if(.., |workflow| workflow.at <= now) {
            world.submit(Submission::new(judge::id(workflow), workflow.spec()));
        }
        for workflow in cancels.extract_if(.., |workflow| workflow.cancelled.is_some_and(|at| at <= now)) {
            world.cancel(judge::id(workflow));
        }
        if let Err(error) = world.step() {
            judge.violations.push(format!("a host ended: {error}"));
            break;
        }
        if now >= next_look {
            next_look = now + Duration::from_secs(1);
            let is_planned = faults.peek().is_none() && submissions.is_empty() && cancels.is_empty();
            if judge.look(&world, &plan) && (is_planned || !judge.violations.is_empty()) {
                break;
            }
        }
    }
    if judge.violations.is_empty() {
        judge.judge(&world, &plan);
    }
    let lasted = world.sim.elapsed();
    drop(world);
    Outcome { violations: judge.violations, diary: diary.lines(), lasted }
}

#[expect(clippy::disallowed_methods, reason = "the one way to tell a test how much to do")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} has to be a number, and is {text:?}")))
}

/// Runs seeds on all processors; the violations of those that failed.
fn run_all(seeds: std::ops::Range<u64>) -> (Vec<(u64, Vec<String>)>, Duration) {
    let next = AtomicU64::new(seeds.start);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failed = Vec::new();
    let mut lasted = Duration::ZERO;
    std::thread::scope(|scope| {
        let work = || {
            let mut mine = (Vec::new(), Duration::ZERO);
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return mine;
                }
                let outcome = simulate(seed);
                mine.1 += outcome.lasted;
                if !outcome.violations.is_empty() {
                    mine.0.push((seed, outcome.violations));
                }
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (theirs, time) = worker.join().unwrap();
            failed.extend(theirs);
            lasted += time;
        }
    });
    failed.sort();
    (failed, lasted)
}

#[test]
fn promises_hold_whatever_goes_wrong() {
    let base = number("PICULET_SEED_BASE").unwrap_or(0);
    let count = number("PICULET_SEEDS").unwrap_or(SEEDS);
    let (failed, lasted) = run_all(base..base + count);
    println!(
        "{count} seeds from {base} on, {:.1} simulated hours, {} failed",
        lasted.as_secs_f64() / 3600.0,
        failed.len()
    );
    for (seed, violations) in &failed {
        println!("seed {seed}:");
        for violation in violations {
            println!("  {violation}");
        }
    }
    let seeds: Vec<_> = failed.iter().map(|(seed, _)| seed).collect();
    assert!(failed.is_empty(), "these seeds failed: {seeds:?}; paste one into `a_seed`");
}

#[test]
fn a_seed_does_the_same_again() {
    let base = number("PICULET_SEED_BASE").unwrap_or(0);
    for seed in base..base + TWICE {
        let (first, second) = (simulate(seed).diary, simulate(seed).diary);
        let differs = (0..first.len().max(second.len())).find(|&at| first.get(at) != second.get(at));
        if let Some(at) = differs {
            let from = at.saturating_sub(5);
            let near = |diary: &[String]| diary[from..diary.len().min(at + 3)].join("\n");
            panic!("seed {seed} differs at line {at}:\n{}\n--- and:\n{}", near(&first), near(&second));
        }
    }
}

/// Paste a seed here to see what it does.
#[test]
fn a_seed() {
    let seed = number("PICULET_SEED").unwrap_or(1);
    let outcome = simulate(seed);
    if number("PICULET_SEED").is_some() {
        println!("{:#?}\n{}", plan::draw(seed), outcome.diary.join("\n"));
    }
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
}
