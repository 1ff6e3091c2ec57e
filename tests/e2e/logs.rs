//! Logs of containers: all of it, once, in order, whatever happens on the way.

#![expect(clippy::print_stdout, reason = "rows of a table, to be looked at")]

use std::time::Duration;

use piculet_core::id::WorkflowId;
use piculet_core::outcome::StepState::Killed;

use crate::acts::{Acts, numbered};
use crate::site::is_real;
use crate::world::{World, job, scenario, scripted};

/// What a step waits before it writes much: nobody can read a log in the first second, and what is rotated away before that
/// is lost.
const START: Duration = Duration::from_secs(3);

/// Prints how many lines were expected, stored, doubled and announced as lost; none may be lost, and nothing may be said to be,
/// but that somebody stopped the step.
pub(crate) fn has_all(world: &World, what: &str, id: &WorkflowId, step: &str, expected: &[String]) {
    let announced = all_but_doubts(world, what, id, step, expected);
    assert_eq!(announced, Vec::<String>::new(), "{what}: nothing is lost");
}

/// The same; what was said of lines that may be missing is for the caller to judge.
fn all_but_doubts(world: &World, what: &str, id: &WorkflowId, step: &str, expected: &[String]) -> Vec<String> {
    let stored = world.own_lines(id, step);
    let announced = world.log(id, step).into_iter().filter(|line| line.starts_with("[piculet] "));
    let about_others = ["The pod waits", "[piculet] Stopped: "];
    let announced: Vec<_> = announced.filter(|line| !about_others.iter().any(|words| line.contains(words))).collect();
    let differs = expected.iter().zip(&stored).position(|(expected, stored)| expected != stored);
    let doubled = stored.len().saturating_sub(stored.iter().collect::<std::collections::BTreeSet<_>>().len());
    let (kind, count, kept) = (world.site.kind(), expected.len(), stored.len());
    println!("| {kind} | {what} | {count} expected | {kept} stored | {doubled} doubled | announced: {announced:?} |");
    let near = differs.map(|at| (at, expected.get(at), stored.get(at)));
    let short = near.map(|(at, expected, stored)| (at, expected.map(|line| head(line)), stored.map(|line| head(line))));
    assert_eq!(short, None, "{what}: the first line that differs: its place, what was printed, what is stored");
    assert_eq!(stored.len(), expected.len(), "{what}");
    assert_eq!(world.step(&world.stub.workflow(id), step).log_complaint, None);
    announced
}

fn head(line: &str) -> String {
    line.chars().take(100).collect()
}

fn all_numbered(count: usize, width: usize) -> Vec<String> {
    (0..count).map(|number| numbered(number, width)).collect()
}

#[test]
fn a_flood_for_a_slow_server_is_whole() {
    scenario("flood", async |world| {
        let agent = world.agent().await;
        // Some 5000 lines a second.
        agent.network.limit(500_000);
        let id = world.submit(vec![vec![job("flood", Acts::new().wait(START).lines(0..200_000, 80))]]);
        world.ended(&id).await;
        has_all(world, "200,000 lines, 5000 a second are taken", &id, "flood", &all_numbered(200_000, 80));
    });
}

#[test]
fn a_log_that_is_rotated_again_and_again_is_whole() {
    scenario("rotated", async |world| {
        world.agent().await;
        let Some(options) = world.site.on_breaking_node().await else { return };
        // Some 60 MB within 20 s, in files of 1 MiB.
        let bursts = (0..40).fold(Acts::new().wait(START), |acts, burst| {
            acts.lines(burst * 15_000..(burst + 1) * 15_000, 100).wait(Duration::from_millis(400))
        });
        let id = world.submit(vec![vec![job("bursts", bursts).kubernetes(options)]]);
        world.ended(&id).await;
        let said = all_but_doubts(world, "60 MB in bursts, rotated", &id, "bursts", &all_numbered(600_000, 100));
        only_doubts(&said);
    });
}

#[test]
fn a_log_that_was_rotated_and_then_was_quiet_is_whole() {
    scenario("quiet-end", async |world| {
        world.agent().await;
        let Some(options) = world.site.on_breaking_node().await else { return };
        let acts = Acts::new().wait(START).lines(0..50_000, 100).wait(Duration::from_secs(12));
        let id = world.submit(vec![vec![job("quiet", acts).kubernetes(options)]]);
        world.ended(&id).await;
        let said = all_but_doubts(world, "rotated, then quiet", &id, "quiet", &all_numbered(50_000, 100));
        // A real kubelet that is busy may leave a doubt.
        assert!(
            said.is_empty() || is_real() && said.iter().all(|line| line.contains("could not be checked")),
            "{said:?}"
        );
    });
}

/// A real kubelet that is busy may leave a doubt about the end of a log; nothing else may be said of one that is whole.
fn only_doubts(said: &[String]) {
    assert!(said.is_empty() || is_real() && said.iter().all(|line| line.contains("could not be checked")), "{said:?}");
}

/// What is written before anybody can read it may be rotated away; then that is said.
#[test]
fn a_beginning_that_the_node_threw_away_is_announced() {
    scenario("head", async |world| {
        world.agent().await;
        let Some(options) = world.site.on_breaking_node().await else { return };
        for round in 0..4 {
            let job = scripted("head", Acts::new().lines(0..100_000, 100).wait(Duration::from_secs(5)));
            let expected = [job.printed.clone(), all_numbered(100_000, 100)].concat();
            let id = world.submit(vec![vec![job.kubernetes(options.clone())]]);
            world.ended(&id).await;
            let stored = world.own_lines(&id, "head");
            let log = world.log(&id, "head");
            let missing = log.iter().filter(|line| line.contains("may be missing")).count();
            let doubts = log.iter().filter(|line| line.contains("could not be checked")).count();
            let holes = holes(&expected, &stored);
            // Of an end that could not be read no more than a doubt can be said.
            let at_the_end = holes.last().is_some_and(|hole| hole.end == expected.len());
            let (kind, count, kept) = (world.site.kind(), expected.len(), stored.len());
            println!(
                "| {kind} | 10 MB before the log is opened | {count} expected | {kept} stored | missing {holes:?} | announced: {missing}, doubts: {doubts} |"
            );
            assert!(
                missing + doubts.min(at_the_end.into()) >= holes.len(),
                "round {round}: each hole is said: {log:?}"
            );
            // Whether something was between two files nobody can tell if a stream ends where a real kubelet begins the next.
            assert!(is_real() || missing == 0 || !holes.is_empty(), "round {round}: nothing is missing: {log:?}");
        }
    });
}

/// Which of the expected lines are not stored; the stored ones have to be expected, and in that order.
fn holes(expected: &[String], stored: &[String]) -> Vec<std::ops::Range<usize>> {
    let mut holes: Vec<std::ops::Range<usize>> = Vec::new();
    let mut next = 0;
    for (at, line) in expected.iter().enumerate() {
        // Of a line that a rotation went through, the rest is there: it is known by the line behind it.
        let is_rest = |stored: &str| !stored.is_empty() && line.ends_with(stored);
        let goes_on = || stored.get(next + 1) == expected.get(at + 1);
        if stored.get(next).is_some_and(|stored| stored == line || is_rest(stored) && goes_on()) {
            next += 1;
            continue;
        }
        match holes.last_mut().filter(|hole| hole.end == at) {
            Some(hole) => hole.end = at + 1,
            None => holes.push(at..at + 1),
        }
    }
    assert_eq!(stored.get(next), None, "it was never printed, or not here");
    holes
}

#[test]
fn connections_that_break_lose_and_double_nothing() {
    scenario("cut", async |world| {
        world.agent_with_cuts(Duration::from_secs(5)).await;
        // Less than what one file holds: of a rotation in the middle of a cut nobody can tell whether something was in between.
        let steady = (0..60).fold(Acts::new(), |acts, burst| {
            acts.lines(burst * 100..(burst + 1) * 100, 80).wait(Duration::from_millis(500))
        });
        let id = world.submit(vec![vec![job("steady", steady)]]);
        world.ended(&id).await;
        has_all(world, "a connection cut each 5 s", &id, "steady", &all_numbered(6_000, 80));
    });
}

#[test]
fn odd_lines_arrive_as_they_are() {
    scenario("odd-lines", async |world| {
        world.agent().await;
        let acts = Acts::new()
            .bytes(b"\xff\xfe no text \x00\n")
            .bytes(b"10 %\r50 %\r100 %\n")
            .bytes(b"\n\n")
            .long_line(3 << 20)
            .bytes(b"no end")
            .exit(3);
        let id = world.submit(vec![vec![job("odd", acts)]]);
        let ended = world.ended(&id).await;
        assert_eq!(world.step(&ended, "odd").exit_code, Some(3));
        let lines = world.stub.log(&id, "odd");
        let lines: Vec<_> = lines.iter().filter(|line| !line.bytes.starts_with(b"[piculet]")).collect();
        let sizes: Vec<_> = lines.iter().map(|line| line.bytes.len()).collect();
        assert_eq!(sizes, [12, 15, 0, 0, 1 << 20, 1 << 20, 1 << 20, 6], "a line is cut at 1 MiB");
        assert_eq!(&lines[0].bytes[..], b"\xff\xfe no text \x00");
        assert_eq!(&lines[1].bytes[..], b"10 %\r50 %\r100 %");
        assert!(lines[4..7].iter().all(|line| line.bytes.iter().all(|byte| *byte == b'x')));
        assert_eq!(&lines[7].bytes[..], b"no end");
    });
}

#[test]
fn what_is_written_in_the_last_moment_arrives() {
    scenario("last-moment", async |world| {
        world.agent().await;
        let names: Vec<_> = (0..10).map(|number| format!("last{number}")).collect();
        let jobs = names.iter().map(|name| job(name, Acts::new().lines(0..200, 40).line("the very last").exit(7)));
        let id = world.submit(vec![jobs.collect()]);
        world.ended(&id).await;
        let mut expected = all_numbered(200, 40);
        expected.push("the very last".to_owned());
        for name in &names {
            has_all(world, "the moment before the exit", &id, name, &expected);
        }
    });
}

#[test]
fn what_is_written_after_a_cancel_arrives() {
    scenario("cancelled", async |world| {
        world.agent().await;
        let acts = Acts::new().line("begins").on_sigterm(Duration::from_secs(2), "cleaned up", 0).forever();
        let id = world.submit(vec![vec![job("long", acts)]]);
        world.until_line(&id, "long", "begins").await;
        world.cancel(&id);
        let ended = world.ended(&id).await;
        assert_eq!(world.step(&ended, "long").state, Killed);
        let expected = ["begins".to_owned(), "cleaned up".to_owned()];
        let said = all_but_doubts(world, "during the grace after a cancel", &id, "long", &expected);
        // A real kubelet may have taken the pod away before the log could be looked at once more.
        assert!(said.is_empty() || is_real(), "{said:?}");
    });
}
