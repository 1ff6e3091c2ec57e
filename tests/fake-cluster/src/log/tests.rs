use super::*;

async fn read(log: &Arc<ContainerLog>, options: LogOptions) -> String {
    let mut reader = Reader::new(Arc::clone(log), &options);
    let mut read = Vec::new();
    while let Some(chunk) = reader.next().await {
        read.extend_from_slice(&chunk);
    }
    String::from_utf8_lossy(&read).into_owned()
}

fn log(rotate_at: Option<usize>) -> Arc<ContainerLog> {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().expect("a time"));
    let settings = LogSettings { rotate_at, tick: Duration::from_nanos(1) };
    Arc::new(ContainerLog::new(clock, settings))
}

fn timestamps() -> LogOptions {
    LogOptions { timestamps: true, ..LogOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_line_is_readable_once_it_is_whole() {
    let log = log(None);
    log.append(Bytes::from_static(b"one\ntw"));
    assert_eq!(read(&log, LogOptions::default()).await, "one\n");
    tokio::time::advance(Duration::from_millis(1500)).await;
    log.append(Bytes::from_static(b"o\nthr"));
    log.close();
    assert_eq!(
        read(&log, timestamps()).await,
        "2026-01-01T00:00:00.000000000Z one\n2026-01-01T00:00:01.500000000Z two\n\
         2026-01-01T00:00:01.500000001Z thr\n"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_line_is_several_records_with_one_time() {
    let log = log(None);
    let line = format!("{}\n", "x".repeat(2 * RECORD + 5));
    log.append(Bytes::from(format!("a\n{line}b\n")));
    log.append(Bytes::from("y".repeat(RECORD + 1)));
    log.close();
    let stamp = |nano: usize| format!("2026-01-01T00:00:00.{nano:09}Z ");
    let expected = format!("{}a\n{}{line}{}b\n{}{}\n", stamp(0), stamp(1), stamp(4), stamp(5), "y".repeat(RECORD + 1));
    assert_eq!(read(&log, timestamps()).await, expected);
    // The tail counts records: the last one of the last line is one byte.
    let tail = LogOptions { tail: Some(2), ..timestamps() };
    assert_eq!(read(&log, tail).await, format!("{}{}\n", stamp(5), "y".repeat(RECORD + 1)));
    let tail = LogOptions { tail: Some(1), ..timestamps() };
    assert_eq!(read(&log, tail).await, format!("{}y\n", stamp(6)));
}

#[tokio::test(start_paused = true)]
async fn a_line_of_exactly_one_record_is_not_split() {
    let log = log(None);
    log.append(Bytes::from(format!("{}\n", "x".repeat(RECORD))));
    let tail = LogOptions { tail: Some(1), ..LogOptions::default() };
    assert_eq!(read(&log, tail).await.len(), RECORD + 1);
}

#[tokio::test(start_paused = true)]
async fn since_drops_records_even_in_the_middle_of_a_line() {
    let log = log(None);
    log.append(Bytes::from("x".repeat(RECORD + 1)));
    tokio::time::advance(Duration::from_secs(5)).await;
    log.append(Bytes::from_static(b"end\nnext\n"));
    let since = "2026-01-01T00:00:05Z".parse().ok();
    let options = LogOptions { since, ..timestamps() };
    // The rest of the line has no time of its own: the line did not begin there.
    assert_eq!(read(&log, options).await, "xend\n2026-01-01T00:00:05.000000001Z next\n");
}

#[tokio::test(start_paused = true)]
async fn following_ends_with_the_container() {
    let log = log(None);
    log.append(Bytes::from_static(b"one\n"));
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let reading = tokio::spawn({
        let log = Arc::clone(&log);
        async move { read(&log, follow).await }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!reading.is_finished());
    log.append(Bytes::from_static(b"two"));
    log.close();
    assert_eq!(reading.await.expect("the reader ends"), "one\ntwo\n");
}

#[tokio::test(start_paused = true)]
async fn the_limit_counts_bytes() {
    let log = log(None);
    log.append(Bytes::from_static(b"one\ntwo\n"));
    let options = LogOptions { limit: Some(5), ..LogOptions::default() };
    assert_eq!(read(&log, options).await, "one\nt");
}

#[tokio::test(start_paused = true)]
async fn rotation_takes_what_a_slow_reader_has_not_read() {
    let log = log(Some(8));
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut slow = Reader::new(Arc::clone(&log), &follow);
    let mut quick = Reader::new(Arc::clone(&log), &follow);
    log.append(Bytes::from_static(b"first file\n"));
    assert_eq!(quick.next().await.as_deref(), Some(b"first file\n".as_slice()));
    assert!(tokio::time::timeout(Duration::from_secs(1), quick.next()).await.is_err(), "it waits for more");
    tokio::time::advance(Duration::from_secs(10)).await;
    log.append(Bytes::from_static(b"second file\n"));
    assert_eq!(quick.next().await.as_deref(), Some(b"second file\n".as_slice()));
    log.close();
    assert_eq!(quick.next().await, None);
    assert_eq!(slow.next().await.as_deref(), Some(b"first file\n".as_slice()));
    assert_eq!(slow.next().await, None, "its stream ends with the old file");
    assert_eq!(read(&log, LogOptions::default()).await, "second file\n");
}
