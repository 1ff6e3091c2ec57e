use jiff::Timestamp;
use proptest::prelude::*;

use super::{KEEP, LineReader, MAX_LINE};
use crate::logs::mask::Mask;
use crate::report::{LogLine, LogTotal};
use crate::secret::Secret;

fn reader(values: &[&str]) -> LineReader {
    LineReader::new(mask(values))
}

fn mask(values: &[&str]) -> Mask {
    Mask::new(&values.iter().map(|value| Secret::new(*value)).collect::<Vec<_>>())
}

fn at(second: usize) -> Timestamp {
    Timestamp::from_second(i64::try_from(second).expect("small")).expect("small")
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
}

#[test]
fn lines_are_numbered_from_zero_and_counted() {
    let mut reader = reader(&["hunter2"]);
    let mut out = Vec::new();
    reader.push(at(1), b"one\n\ntwo hunter2\r\nta", &mut out);
    reader.push(at(2), b"il", &mut out);
    assert_eq!(texts(&out), ["one", "", "two ********\r"]);
    let total = reader.finish(&mut out);
    assert_eq!(texts(&out), ["one", "", "two ********\r", "tail"]);
    assert_eq!(out.iter().map(|line| line.number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(out.iter().all(|line| line.time == at(1)), "a line has the time of its first byte");
    assert_eq!(total, LogTotal { lines: 4, bytes: 20 });
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let mut out = Vec::new();
    let mut reader = reader(&["hunter2"]);
    reader.push(at(0), b"\xff\x00hunter2\xc3\n\xc3", &mut out);
    reader.finish(&mut out);
    assert_eq!(out.iter().map(|line| &line.bytes[..]).collect::<Vec<_>>(), [&b"\xff\x00********\xc3"[..], b"\xc3"]);
}

#[test]
fn what_the_agent_says_takes_the_next_number() {
    let mut out = Vec::new();
    let mut reader = reader(&["hunter2"]);
    reader.push(at(1), b"one\nunfin", &mut out);
    reader.say("[piculet] waiting for hunter2\nand more", at(2), &mut out);
    reader.push(at(3), b"ished\n", &mut out);
    reader.say("", at(4), &mut out);
    assert_eq!(texts(&out), ["one", "[piculet] waiting for ********", "and more", "unfinished", ""]);
    assert_eq!(out.iter().map(|line| line.number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(out.iter().map(|line| line.time).collect::<Vec<_>>(), [at(1), at(2), at(2), at(1), at(4)]);
    assert_eq!(reader.finish(&mut out).lines, 5);
}

#[test]
fn a_flush_ends_the_line_and_the_numbers_go_on() {
    let mut out = Vec::new();
    let mut reader = reader(&["hunter2"]);
    reader.push(at(1), b"first attempt: hunter", &mut out);
    reader.flush(&mut out);
    reader.flush(&mut out);
    reader.push(at(2), b"2: second attempt\n", &mut out);
    assert_eq!(reader.finish(&mut out).lines, 2);
    assert_eq!(texts(&out), ["first attempt: hunter", "2: second attempt"]);
    assert_eq!(out[1].time, at(2));
}

#[test]
fn a_long_line_is_cut_at_one_mebibyte_and_no_cut_shows_a_secret() {
    let mut out = Vec::new();
    let mut reader = reader(&["correct horse battery staple"]);
    assert_eq!(reader.cutter.line.capacity(), 0, "an idle step costs no buffer");
    let mut text = vec![b'x'; MAX_LINE - 4];
    text.extend(b"correct horse battery staple and so on\n");
    for part in text.chunks(1000) {
        reader.push(at(1), part, &mut out);
    }
    assert_eq!(out.iter().map(|line| line.bytes.len()).collect::<Vec<_>>(), [MAX_LINE, 4 + 10]);
    assert!(out[0].bytes.ends_with(b"x****"));
    assert_eq!(&out[1].bytes[..], b"**** and so on");
    assert!(reader.cutter.line.capacity() <= KEEP, "a long line doesn't leave its buffer behind");

    // A line that just fits is one line.
    let mut out = Vec::new();
    reader.push(at(1), &vec![b'y'; MAX_LINE], &mut out);
    assert!(out.is_empty());
    reader.push(at(1), b"\n", &mut out);
    reader.push(at(1), &vec![b'z'; MAX_LINE], &mut out);
    reader.finish(&mut out);
    assert_eq!(out.iter().map(|line| line.bytes.len()).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE]);
}

/// Strikes out, splits and cuts the whole log at once, byte by byte. `times` has the time of each byte.
fn naive(values: &[String], log: &[u8], times: &[Timestamp], max_line: usize) -> Vec<(Timestamp, Vec<u8>)> {
    let mut struck = vec![false; log.len()];
    for value in values.iter().filter(|value| value.len() >= 3) {
        for start in (0..log.len()).filter(|start| log[*start..].starts_with(value.as_bytes())) {
            struck[start..start + value.len()].fill(true);
        }
    }
    let mut lines = Vec::new();
    let mut line: Vec<(Timestamp, u8)> = Vec::new();
    let mut end = |line: &mut Vec<(Timestamp, u8)>, empty: Option<Timestamp>| {
        if let (true, Some(time)) = (line.is_empty(), empty) {
            lines.push((time, Vec::new()));
        }
        for piece in line.chunks(max_line) {
            lines.push((piece[0].0, piece.iter().map(|(_, byte)| *byte).collect()));
        }
        line.clear();
    };
    for (index, byte) in log.iter().enumerate() {
        match byte {
            _ if struck[index] && index > 0 && struck[index - 1] => {}
            _ if struck[index] => line.extend([(times[index], b'*'); 8]),
            b'\n' => end(&mut line, Some(times[index])),
            byte => line.push((times[index], *byte)),
        }
    }
    end(&mut line, None);
    lines
}

proptest! {
    #[test]
    fn lines_depend_on_the_bytes_alone(
        values in prop::collection::vec("[abc]{0,8}", 0..4),
        records in prop::collection::vec(("[abc]{0,30}|[abc\r\n]{0,30}", 0usize..5), 0..12),
        splits in prop::collection::vec(1usize..20, 1..6),
        max_line in 1usize..40,
    ) {
        let mask = Mask::new(&values.iter().map(Secret::new).collect::<Vec<_>>());
        let times: Vec<Timestamp> = records.iter().flat_map(|(text, second)| vec![at(*second); text.len()]).collect();
        let log: String = records.iter().map(|(text, _)| text.as_str()).collect();
        let expected = naive(&values, log.as_bytes(), &times, max_line);

        let mut whole = Vec::new();
        let mut reader = LineReader::with_max_line(mask.clone(), max_line);
        for (text, second) in &records {
            reader.push(at(*second), text.as_bytes(), &mut whole);
            let kept = reader.times.until.front().map_or(0, |_| reader.times.read - reader.masker.released());
            prop_assert!(reader.times.until.len() as u64 <= kept, "times are kept for what is not decided only");
        }
        let total = reader.finish(&mut whole);

        let shown: Vec<_> = whole.iter().map(|line| (line.time, line.bytes.to_vec())).collect();
        prop_assert_eq!(shown, expected);
        prop_assert!(whole.iter().enumerate().all(|(index, line)| line.number == index as u64));
        let bytes = whole.iter().map(|line| line.bytes.len() as u64).sum();
        prop_assert_eq!(total, LogTotal { lines: whole.len() as u64, bytes });

        // The same records, read in pieces.
        let mut pieces = Vec::new();
        let mut reader = LineReader::with_max_line(mask, max_line);
        let mut sizes = splits.iter().cycle();
        for (text, second) in &records {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*sizes.next().expect("a cycle")).min(rest.len()));
                reader.push(at(*second), piece, &mut pieces);
                rest = after;
            }
        }
        prop_assert_eq!(reader.finish(&mut pieces), total);
        prop_assert_eq!(pieces, whole);
    }
}
