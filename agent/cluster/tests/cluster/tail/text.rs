//! What is read: every byte once, and a word where some are missing.

use std::time::Duration;

use fake_cluster::{Fault, LogSettings, Script, Settings, Verb};
use piculet_cluster::TailEnd;
use tokio::time::sleep;

use super::{all, is_log_of, lines, log_of, tail};
use crate::setup::Setup;

#[tokio::test(start_paused = true)]
async fn a_log_is_read_byte_by_byte() {
    let long = "x".repeat(5 << 20);
    for text in [
        "",
        "one\n",
        "one\ntwo\n\n\n",
        "no line feed",
        "\n",
        "carriage\rreturn\r\n",
        "2026-08-22T10:00:00Z a time of its own\n",
        &format!("short\n{long}\nshort\n"),
        &long,
    ] {
        let setup = Setup::new();
        let log = log_of(&setup, Script::new().print(text.to_owned())).await;
        let shown = text.get(..30).unwrap_or(text);
        assert!(is_log_of(&log.bytes, text.as_bytes()), "{shown:?}: {} of {} bytes", log.bytes.len(), text.len());
        assert_eq!((log.end, log.gaps.len()), (Some(TailEnd::Complete), 0), "{shown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_need_not_be_text() {
    let setup = Setup::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let log = log_of(&setup, Script::new().print(bytes.clone())).await;
    assert!(is_log_of(&log.bytes, &bytes));
}

#[tokio::test(start_paused = true)]
async fn two_hundred_thousand_lines_are_all_there() {
    let setup = Setup::new();
    let line = |number: usize| format!("{number:08} {}", "x".repeat(71));
    let log = log_of(&setup, Script::new().lines(200_000, line)).await;
    assert!(log.text() == lines(200_000, line));
    assert_eq!(log.end, Some(TailEnd::Complete));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_over_already_is_read_too() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    setup.cluster.watch().synced().await;
    let made = setup.run(&anchor, "wp-1", Script::new().line("long ago")).await;
    sleep(Duration::from_secs(3600)).await;
    let log = all(tail(&setup, &made, "wp-1")).await;
    assert_eq!(log.complete(), "long ago\n");
}

#[tokio::test(start_paused = true)]
async fn what_is_rotated_away_unread_is_said() {
    let logs = LogSettings { rotate_at: Some(100_000), ..LogSettings::default() };
    let setup = Setup::with(Settings { logs, ..Settings::default() });
    let anchor = setup.anchor("1").await;
    let line = |number: usize| format!("{number:05} {}", "z".repeat(93));
    let mut script = Script::new();
    for second in 0..55 {
        let from = second * 100;
        script = script.lines(100, move |number| line(from + number)).wait(Duration::from_secs(1));
    }
    let made = setup.run(&anchor, "wp-1", script).await;
    let log = tokio::spawn(all(tail(&setup, &made, "wp-1")));
    sleep(Duration::from_millis(4500)).await;
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Get).of("pods/log").times(6));
    setup.fake.faults().cut_streams();
    let log = log.await.unwrap();

    assert_eq!((log.gaps.len(), &log.end), (1, &Some(TailEnd::Complete)));
    let (border, gap) = log.gaps[0];
    assert!(gap.after.is_some_and(|after| after < gap.until));
    let (before, behind) = log.text().split_at(border);
    assert_eq!(before, lines(500, line), "five seconds before");
    let all = lines(5500, line);
    assert!(all.ends_with(behind) && behind.len() < all.len() - before.len() && !behind.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_rotated_after_its_last_line_is_whole() {
    let logs = LogSettings { rotate_at: Some(500_000), ..LogSettings::default() };
    let setup = Setup::with(Settings { logs, ..Settings::default() });
    let line = |number: usize| format!("{number:05} {}", "z".repeat(93));
    let script = Script::new().wait(Duration::from_secs(1)).lines(10_000, line).wait(Duration::from_secs(30));
    let log = log_of(&setup, script).await;
    assert!(log.text() == lines(10_000, line), "{} bytes", log.text().len());
    assert_eq!((log.gaps.len(), log.end), (0, Some(TailEnd::Complete)));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_rotated_under_a_reader_at_full_speed_loses_nothing() {
    let logs = LogSettings { rotate_at: Some(100_000), ..LogSettings::default() };
    let setup = Setup::with(Settings { logs, ..Settings::default() });
    let line = |number: usize| format!("{number:05} {}", "z".repeat(93));
    let mut script = Script::new();
    for second in 0..55 {
        let from = second * 100;
        script = script.lines(100, move |number| line(from + number)).wait(Duration::from_secs(1));
    }
    let log = log_of(&setup, script).await;
    assert!(log.text() == lines(5500, line), "{} bytes", log.text().len());
    assert_eq!((log.gaps.len(), log.end), (0, Some(TailEnd::Complete)));
}
