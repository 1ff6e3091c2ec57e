use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;

use super::Line;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// DATA of six bytes.
const DATA: [u8; 15] = [0, 0, 6, 0, 0, 0, 0, 0, 1, 7, 7, 7, 7, 7, 7];

fn line() -> (DuplexStream, Line<DuplexStream>, CancellationToken) {
    let (client, server) = tokio::io::duplex(1024);
    let breaker = CancellationToken::new();
    (client, Line::new(server, breaker.clone(), Duration::from_secs(300), Box::new(|| ())), breaker)
}

#[tokio::test(start_paused = true)]
async fn last_words_wait_for_the_end_of_a_frame() {
    let (mut client, mut line, _) = line();
    line.write_all(&DATA[..11]).await.expect("the line holds");
    client.write_all(PREFACE).await.expect("the line holds");
    for _ in 0..5 {
        client.write_all(&PING).await.expect("the line holds");
    }
    let (mut reading, mut writing) = tokio::io::split(line);
    let read = tokio::spawn(async move { reading.read_to_end(&mut Vec::new()).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!read.is_finished());
    // What is written beyond the frame goes nowhere.
    writing.write_all(&[&DATA[11..], &DATA].concat()).await.expect("the line takes it");
    assert!(read.await.expect("it ends").is_err());
    drop(writing);
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.expect("it can be read");
    let (data, goaway) = received.split_at(DATA.len());
    assert_eq!(data, DATA);
    assert!(goaway[3] == 7 && goaway.ends_with(b"too_many_pings"), "{goaway:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_line_ends_who_reads_and_who_writes() {
    let (_client, line, breaker) = line();
    let (mut reading, mut writing) = tokio::io::split(line);
    let read = tokio::spawn(async move { reading.read(&mut [0; 8]).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!read.is_finished());
    breaker.cancel();
    let read = tokio::time::timeout(Duration::from_secs(60), read).await.expect("it ends");
    assert!(read.expect("it doesn't panic").is_err());
    assert!(writing.write(b"x").await.is_err());
}
