//! Agents, server and clusters on a simulated network, in virtual time, with faults drawn from a seed.
//!
//! `PICULET_SEEDS=N PICULET_SEED_BASE=M cargo test --release --test sim` runs N seeds from M on. A seed that fails is
//! printed with what it broke; the same seed does the same again: see [`a_seed`].

#![expect(clippy::unwrap_used, reason = "a test that can't go on shall panic")]

mod complaints;
mod diary;
mod judge;
mod machine;
mod panics;
mod plan;
mod service;
mod shown;
mod tally;
mod wire;
mod world;

use std::collections::BTreeSet;
use std::hash::Hasher as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use diary::Diary;
use judge::Judge;
use plan::Plan;
use service::Protocol;
use tally::Tally;
use world::World;

/// How many seeds run without being asked for more.
const SEEDS: u64 = 24;
/// From how many on something of every kind has to have happened.
const MANY: u64 = 20;
/// How long everything goes on when it is over, so that what comes late or twice is seen.
const AFTERMATH: Duration = Duration::from_secs(120);

/// What became of a simulation.
#[derive(Default)]
struct Outcome {
    violations: Vec<String>,
    diary: Vec<String>,
    /// How long it lasted, by its own clock.
    lasted: Duration,
    tally: Tally,
    /// Of the final views and all logs.
    digest: u64,
}

/// Runs the simulation of a seed. A panic, wherever it is, is a violation.
fn simulate(seed: u64, protocol: Protocol) -> Outcome {
    let panics = panics::Watch::begin();
    let diary = Diary::default();
    let mut outcome = catch_unwind(AssertUnwindSafe(|| {
        let plan = plan::draw(seed, protocol);
        let _kept = diary.keep();
        let mut world = World::new(seed, &plan, protocol, diary.clone());
        let mut judge = Judge::default();
        play(&mut world, &mut judge, &plan);
        let mut tally = judge.tally;
        tally.merge(std::mem::take(&mut world.tally));
        let lasted = world.sim.elapsed();
        drop(world);
        Outcome { violations: judge.violations, diary: Vec::new(), lasted, tally, digest: judge.digest.finish() }
    }))
    .unwrap_or_default();
    outcome.violations.extend(panics.end());
    outcome.diary = diary.lines();
    let opened = outcome.diary.iter().filter(|line| line.contains("connected to the server")).count();
    outcome.tally.add("sessions", opened);
    outcome
}

fn play(world: &mut World, judge: &mut Judge, plan: &Plan) {
    let mut faults = plan.faults.iter().peekable();
    let mut submissions: Vec<_> = plan.workflows.iter().collect();
    let mut cancels: Vec<_> = plan.workflows.iter().filter(|workflow| workflow.cancelled.is_some()).collect();
    let mut next_look = Duration::ZERO;
    let mut over_since = None;
    loop {
        let now = world.sim.elapsed();
        while let Some((_, fault)) = faults.next_if(|(at, _)| *at <= now) {
            world.inflict(fault);
        }
        for workflow in submissions.extract_if(.., |workflow| workflow.at <= now) {
            world.submit(workflow);
        }
        for workflow in cancels.extract_if(.., |workflow| workflow.cancelled.is_some_and(|at| at <= now)) {
            world.cancel(judge::id(workflow));
        }
        if let Err(error) = world.step() {
            judge.violations.push(format!("a host ended: {error}"));
            return;
        }
        if now >= next_look {
            next_look = now + Duration::from_secs(1);
            let is_planned = faults.peek().is_none() && submissions.is_empty() && cancels.is_empty();
            let is_over = judge.look(world, plan) && is_planned;
            if !judge.violations.is_empty() {
                return;
            }
            if is_over && now >= *over_since.get_or_insert(now) + AFTERMATH {
                judge.judge(world, plan);
                return;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one way to tell a test how much to do")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} has to be a number, and is {text:?}")))
}

/// What became of many simulations.
#[derive(Default)]
struct Total {
    failed: Vec<(u64, Vec<String>)>,
    lasted: Duration,
    tally: Tally,
}

/// Runs seeds on all processors.
fn run_all(seeds: std::ops::Range<u64>, protocol: Protocol) -> Total {
    let next = AtomicU64::new(seeds.start);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut total = Total::default();
    std::thread::scope(|scope| {
        let work = || {
            let mut mine = Total::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return mine;
                }
                let outcome = simulate(seed, protocol);
                mine.lasted += outcome.lasted;
                mine.tally.merge(outcome.tally);
                if !outcome.violations.is_empty() {
                    mine.failed.push((seed, outcome.violations));
                }
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let theirs = worker.join().unwrap();
            total.failed.extend(theirs.failed);
            total.lasted += theirs.lasted;
            total.tally.merge(theirs.tally);
        }
    });
    total.failed.sort();
    total
}

#[test]
fn promises_hold_whatever_goes_wrong() {
    promises_hold(
        Protocol::Stream,
        &["server restarts", "cancels that took effect", "pods evicted", "retries after eviction"],
    );
}

#[test]
fn promises_hold_with_a_woodpecker_server_too() {
    promises_hold(Protocol::Woodpecker, &["server restarts", "cancels that took effect", "pods evicted"]);
}

#[expect(clippy::print_stdout, reason = "the account of a run is for whoever ran it")]
fn promises_hold(protocol: Protocol, needed: &[&str]) {
    let base = number("PICULET_SEED_BASE").unwrap_or(0);
    let count = number("PICULET_SEEDS").unwrap_or(SEEDS);
    assert!(count > 0, "PICULET_SEEDS has to be at least 1: no seeds prove nothing");
    let Total { failed, lasted, tally } = run_all(base..base + count, protocol);
    println!(
        "{protocol:?}: {count} seeds from {base} on, {:.1} simulated hours, {} failed",
        lasted.as_secs_f64() / 3600.0,
        failed.len()
    );
    println!("{tally}");
    for (seed, violations) in &failed {
        println!("seed {seed}:");
        for violation in violations {
            println!("  {violation}");
        }
    }
    let seeds: Vec<_> = failed.iter().map(|(seed, _)| seed).collect();
    assert!(failed.is_empty(), "these seeds failed: {seeds:?}; paste one into `a_seed`");
    if count >= MANY {
        let needed = ["workflows Success", "workflows Failure"].iter().chain(needed);
        let missing: Vec<_> = needed.filter(|what| tally.count(what) == 0).collect();
        assert!(missing.is_empty(), "none of these happened: {missing:?}");
    }
}

/// Few seeds that have a fault of every kind together.
fn of_every_kind(base: u64, protocol: Protocol) -> Vec<u64> {
    let mut missing: BTreeSet<_> = plan::KINDS.iter().map(ToString::to_string).collect();
    if protocol == Protocol::Woodpecker {
        missing.remove("AgentKilled");
    }
    let mut seeds = Vec::new();
    for seed in base..base + 1000 {
        let kinds: Vec<_> = plan::draw(seed, protocol).faults.iter().map(|(_, fault)| fault.kind()).collect();
        let before = missing.len();
        missing.retain(|kind| !kinds.contains(kind));
        if missing.len() < before {
            seeds.push(seed);
        }
    }
    assert!(missing.is_empty(), "no plan has these faults: {missing:?}");
    seeds
}

#[test]
fn a_seed_does_the_same_again() {
    does_the_same_again(Protocol::Stream);
}

#[test]
fn a_seed_does_the_same_again_with_a_woodpecker_server() {
    does_the_same_again(Protocol::Woodpecker);
}

fn does_the_same_again(protocol: Protocol) {
    for seed in of_every_kind(number("PICULET_SEED_BASE").unwrap_or(0), protocol) {
        let (one, other) = (simulate(seed, protocol), simulate(seed, protocol));
        let (first, second) = (one.diary, other.diary);
        let differs = (0..first.len().max(second.len())).find(|&at| first.get(at) != second.get(at));
        if let Some(at) = differs {
            let from = at.saturating_sub(5);
            let near = |diary: &[String]| diary[from..diary.len().min(at + 3)].join("\n");
            panic!("seed {seed} differs at line {at}:\n{}\n--- and:\n{}", near(&first), near(&second));
        }
        assert_eq!(one.digest, other.digest, "seed {seed} ends in other views or logs");
    }
}

/// Paste a seed here to see what it does.
#[test]
fn a_seed() {
    show_seed(Protocol::Stream);
}

/// The same with a Woodpecker server.
#[test]
fn a_seed_with_a_woodpecker_server() {
    show_seed(Protocol::Woodpecker);
}

#[expect(clippy::print_stdout, reason = "it is pasted to be looked at")]
fn show_seed(protocol: Protocol) {
    let seed = number("PICULET_SEED").unwrap_or(1);
    let outcome = simulate(seed, protocol);
    if number("PICULET_SEED").is_some() {
        println!("{:#?}\n{}", plan::draw(seed, protocol), outcome.diary.join("\n"));
    }
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
}
