use std::fmt::Write as _;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Cursor, Gap, Next, Passed};

/// A record as the container runtime writes it.
#[derive(Debug, Clone)]
struct Record {
    time: Timestamp,
    text: String,
    /// The line ends with it.
    full: bool,
}

/// A container's log and the kubelet that serves it.
#[derive(Debug, Default)]
struct Log {
    records: Vec<Record>,
    /// The first record of the newest file.
    start: usize,
}

impl Log {
    /// The stream that the kubelet gives when the first `written` records exist.
    fn serve(&self, since: Option<Timestamp>, written: usize) -> Vec<u8> {
        let mut out = String::new();
        let mut new_line = true;
        for record in &self.records[self.start..written] {
            if since.is_none_or(|since| record.time >= since) {
                if new_line {
                    write!(out, "{:.9} ", record.time).unwrap();
                }
                out.push_str(&record.text);
                if record.full {
                    out.push('\n');
                }
            }
            new_line = record.full;
        }
        out.into_bytes()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for record in &self.records {
            text.push_str(&record.text);
            if record.full {
                text.push('\n');
            }
        }
        text
    }
}

/// A reader, and what it passed on.
#[derive(Debug, Default)]
struct Reader {
    cursor: Cursor,
    text: String,
    gaps: Vec<(usize, Gap)>,
    streams: usize,
}

impl Reader {
    /// Reads a stream in frames of `frame` bytes, until it has given `bytes`. Says whether it ended level.
    fn read(&mut self, log: &Log, written: usize, bytes: usize, frame: usize) -> bool {
        for _ in 0..10 {
            self.streams += 1;
            let since = self.cursor.since();
            assert!(since.is_none_or(|since| since.subsec_nanosecond() == 0));
            let served = log.serve(since, written);
            let mut stream = self.cursor.stream();
            let mut next = Next::Frame;
            for frame in served[..bytes.min(served.len())].chunks(frame) {
                let mut passed = Passed::default();
                next = self.cursor.push(&mut stream, Bytes::copy_from_slice(frame), &mut passed);
                self.gaps.extend(passed.gap.map(|gap| (self.text.len(), gap)));
                for piece in passed.pieces {
                    self.text.push_str(std::str::from_utf8(&piece.bytes).unwrap());
                }
                if next == Next::Stream {
                    break;
                }
            }
            if next == Next::Frame && self.cursor.end(&stream) == Next::Frame {
                return stream.is_level();
            }
        }
        panic!("wants the stream again and again: {self:?}");
    }

    fn read_all(&mut self, log: &Log) -> bool {
        self.read(log, log.records.len(), usize::MAX, 4096)
    }
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_790_000_000_000 + milliseconds).unwrap()
}

fn log<'a>(lines: impl IntoIterator<Item = (i64, &'a str)>) -> Log {
    let record = |(time, text): (i64, &str)| Record { time: at(time), text: text.to_owned(), full: true };
    Log { records: lines.into_iter().map(record).collect(), start: 0 }
}

#[test]
fn a_line_goes_on_where_it_was_cut() {
    let log = log([(0, "first"), (1, "second"), (2, "third")]);
    let whole = log.serve(None, 3).len();
    for cut in 0..=whole {
        let mut reader = Reader::default();
        reader.read(&log, 3, cut, 7);
        assert!(reader.read_all(&log));
        assert_eq!((reader.text.as_str(), reader.streams), ("first\nsecond\nthird\n", 2), "cut at {cut}");
    }
}

#[test]
fn equal_lines_of_an_equal_time_are_counted() {
    let log = log((0..1000).map(|line| (0, ["a", "b"][line % 2])));
    for (written, cut) in [(0, 0), (1, 40), (7, 100), (500, 4000), (501, 16_016), (1000, 31_999)] {
        let mut reader = Reader::default();
        reader.read(&log, written, cut, 64);
        assert!(reader.read_all(&log));
        assert_eq!((reader.text, reader.streams), (log.text(), 2));
    }
}

#[test]
fn times_may_go_back() {
    let log =
        log([(5000, "out 1"), (5003, "err 1"), (5001, "out 2"), (5004, "out 3"), (4999, "set back"), (5000, "out 4")]);
    for written in 0..6 {
        let mut reader = Reader::default();
        reader.read(&log, written, usize::MAX, 64);
        assert!(reader.read_all(&log));
        assert_eq!(reader.text, log.text(), "after {written}");
    }
}

#[test]
fn a_clock_may_be_set_back_while_a_stream_is_open() {
    let log = log([
        (60_000, "before"),
        (61_000, "still before"),
        (1000, "after"),
        (1001, "after that"),
        (61_000, "much later"),
    ]);
    // By more than a second, and only the stream that was open shows what was written since.
    for written in 3..5 {
        let mut reader = Reader::default();
        reader.read(&log, written, usize::MAX, 64);
        assert!(reader.read_all(&log));
        assert_eq!((reader.text, reader.streams), (log.text(), 2), "after {written}");
    }
}

#[test]
fn the_rest_of_an_old_line_is_dropped() {
    let mut log = log([(0, "long"), (9000, " enough"), (9001, "next"), (9002, "last")]);
    log.records[0].full = false;
    let mut reader = Reader::default();
    reader.read(&log, 3, usize::MAX, 64);
    assert!(String::from_utf8(log.serve(reader.cursor.since(), 4)).unwrap().starts_with(" enough\n"));
    assert!(reader.read_all(&log));
    assert_eq!(reader.text, "long enough\nnext\nlast\n");
}

#[test]
fn a_line_without_an_end_is_complete_once_nothing_more_comes() {
    let mut log = log([(0, "first"), (1, "no line feed")]);
    log.records[1].full = false;
    let mut reader = Reader::default();
    assert!(reader.read_all(&log));
    assert!(reader.read_all(&log));
    assert_eq!(reader.text, "first\nno line feed");
}

#[test]
fn a_rotated_file_that_still_has_our_last_line_leaves_no_gap() {
    let mut log = log((0..200).map(|line| (line * 10, "text")));
    let mut reader = Reader::default();
    reader.read(&log, 150, usize::MAX, 64);
    log.start = 140;
    assert!(reader.read_all(&log));
    assert_eq!((reader.text, reader.gaps), (log.text(), vec![]));
}

#[test]
fn a_rotated_file_without_our_last_line_is_a_gap() {
    let mut log = log([(0, "read"), (10, "lost"), (20, "kept"), (30, "too")]);
    let mut reader = Reader::default();
    reader.read(&log, 1, usize::MAX, 64);
    log.start = 2;
    assert!(reader.read_all(&log));
    assert_eq!(reader.text, "read\nkept\ntoo\n");
    assert_eq!(reader.gaps, [(5, Gap { after: Some(at(0)), until: at(20) })]);
    assert!(reader.read_all(&log));
    assert_eq!(reader.gaps.len(), 1);
}

#[test]
fn a_beginning_that_was_rotated_away_is_a_gap() {
    // The number of lines before the first command, whether that is there, and how many come behind.
    for (complaints, begins, more, gap, doubt) in [
        (0, true, 30, false, false),
        (3, true, 30, false, false),
        (19, true, 0, false, false),
        (0, false, 30, true, false),
        (0, false, 20, true, false),
        (0, false, 19, false, true),
        (1, false, 0, false, true),
        (0, false, 0, false, true),
    ] {
        let lines = (0..complaints).map(|_| "ld.so: ignored").chain(begins.then_some("+ make"));
        let log = log(lines.chain((0..more).map(|_| "compiling")).enumerate().map(|(at, line)| (10 + at as i64, line)));
        let mut reader = Reader { cursor: Cursor::new(Some("+ make".to_owned())), ..Reader::default() };
        reader.read(&log, log.records.len(), usize::MAX, 64);
        let gaps: Vec<_> = reader.gaps.iter().map(|(_, gap)| *gap).collect();
        let what = format!("{complaints} before, begins: {begins}, {more} behind");
        assert_eq!(gaps, if gap { vec![Gap { after: None, until: at(10) }] } else { vec![] }, "{what}");
        assert_eq!(reader.cursor.doubt().is_some(), doubt, "{what}");
        let mut reader = Reader::default();
        reader.read(&log, log.records.len(), usize::MAX, 64);
        assert_eq!((reader.gaps.len(), reader.cursor.doubt()), (0, None), "nobody knows how it begins");
    }
}

#[test]
fn a_rotated_file_may_begin_at_the_time_of_our_last_line() {
    let mut log = log([(0, "read"), (0, "lost"), (0, "new")]);
    let mut reader = Reader::default();
    reader.read(&log, 1, usize::MAX, 64);
    log.start = 2;
    assert!(reader.read_all(&log));
    assert_eq!((reader.text.as_str(), reader.gaps.len()), ("read\nnew\n", 1));
}

#[test]
fn a_file_may_be_rotated_while_a_stream_is_wanted_again() {
    let mut log = log([(0, "read"), (0, "lost"), (0, "lost too"), (1, "new"), (2, "newer")]);
    let mut reader = Reader::default();
    reader.read(&log, 1, usize::MAX, 64);
    log.start = 1;
    let mut stream = reader.cursor.stream();
    let served = Bytes::from(log.serve(reader.cursor.since(), 5));
    let mut passed = Passed::default();
    assert_eq!(reader.cursor.push(&mut stream, served, &mut passed), Next::Stream);
    assert_eq!(passed, Passed::default());
    log.start = 3;
    assert!(reader.read_all(&log));
    assert_eq!((reader.text.as_str(), reader.gaps.len(), reader.streams), ("read\nnew\nnewer\n", 1, 2));
}

#[test]
fn a_second_rotation_hides_no_line_that_was_seen_to_be_new() {
    let mut log = log([(0, "a"), (0, "last"), (0, "new"), (1, "newer"), (2, "newest")]);
    let mut reader = Reader::default();
    reader.read(&log, 2, usize::MAX, 64);
    log.start = 1;
    let mut stream = reader.cursor.stream();
    let served = Bytes::from(log.serve(reader.cursor.since(), 5));
    assert_eq!(reader.cursor.push(&mut stream, served, &mut Passed::default()), Next::Stream);
    log.start = 3;
    assert!(reader.read_all(&log));
    assert_eq!((reader.text.as_str(), reader.gaps.len()), ("a\nlast\nnewer\nnewest\n", 1));
}

#[test]
fn lines_are_counted_anew_in_a_rotated_file() {
    let lines = (0..10).map(|_| (0, "x")).chain([(1, "y")]).chain((0..5).map(|_| (2, "z")));
    let mut log = log(lines);
    let mut reader = Reader::default();
    reader.read(&log, 10, usize::MAX, 64);
    log.start = 5;
    reader.read(&log, 14, usize::MAX, 64);
    assert!(reader.read_all(&log));
    assert_eq!((reader.text, reader.gaps), (log.text(), vec![]));
}

#[test]
fn the_count_outlives_streams_that_begin_later() {
    let log = log([(1000, "a"), (2000, "b"), (1999, "c"), (1998, "d")]);
    let mut reader = Reader::default();
    for written in [2, 2, 3, 4] {
        reader.read(&log, written, usize::MAX, 64);
    }
    assert_eq!((reader.text, reader.streams), (log.text(), 4));
}

#[test]
fn what_came_after_our_last_line_is_found_without_a_count() {
    // Rotation and a time that goes back over a second's border: the count of that second is not known.
    let mut log = log([(19_000, "a"), (20_000, "b"), (20_100, "c"), (19_900, "d"), (19_850, "e")]);
    let mut reader = Reader::default();
    reader.read(&log, 2, usize::MAX, 64);
    log.start = 1;
    reader.read(&log, 4, usize::MAX, 64);
    assert!(reader.read_all(&log));
    assert_eq!((reader.text, reader.gaps), (log.text(), vec![]));
}

#[test]
fn a_gap_is_said_also_if_the_stream_ends_before_the_first_piece() {
    let mut log = log([(0, "read"), (0, "read too"), (0, "lost"), (0, "new"), (1, "newer")]);
    let mut reader = Reader::default();
    reader.read(&log, 2, usize::MAX, 64);
    log.start = 3;
    // The first stream is wanted again, and ends before it has given a line.
    reader.read(&log, 5, 20, 64);
    assert!(reader.read_all(&log));
    assert_eq!(reader.text, "read\nread too\nnew\nnewer\n");
    assert_eq!(reader.gaps, [(14, Gap { after: Some(at(0)), until: at(0) })]);
}

#[test]
fn a_begun_line_is_found_again_in_a_new_file() {
    let mut log = log([(0, "first"), (10, "begun")]);
    let mut reader = Reader::default();
    reader.read(&log, 2, log.serve(None, 2).len() - 3, 64);
    log.start = 1;
    assert!(reader.read_all(&log));
    assert_eq!((reader.text.as_str(), reader.gaps.len()), ("first\nbegun\n", 0));
}

#[test]
fn a_begun_line_that_was_rotated_away_is_a_gap() {
    let mut log = log([(0, "first"), (10, "begun"), (10, "other"), (11, "last")]);
    for start in [2, 3] {
        log.start = 0;
        let mut reader = Reader::default();
        reader.read(&log, 2, log.serve(None, 2).len() - 3, 64);
        log.start = start;
        assert!(reader.read_all(&log));
        let rest = ["other\nlast\n", "last\n"][start - 2];
        assert_eq!(reader.text, format!("first\nbeg{rest}"));
        assert_eq!(reader.gaps, [(9, Gap { after: Some(at(10)), until: log.records[start].time })]);
    }
}

#[test]
fn lines_without_a_time_are_passed_on_once() {
    let mut cursor = Cursor::default();
    let mut stream = cursor.stream();
    let mut passed = Passed::default();
    cursor.push(&mut stream, Bytes::from_static(b"one\ntwo\n"), &mut passed);
    assert_eq!(passed.pieces.iter().map(|piece| piece.bytes.as_ref()).collect::<Vec<_>>(), [b"one\n", b"two\n"]);

    let mut stream = cursor.stream();
    let mut passed = Passed::default();
    cursor.push(&mut stream, Bytes::from_static(b"one\ntwo\n"), &mut passed);
    assert_eq!((passed, stream.dropped), (Passed::default(), 2));
}

#[test]
fn an_excuse_is_no_log() {
    let mut cursor = Cursor::default();
    for _ in 0..2 {
        let mut stream = cursor.stream();
        let mut passed = Passed::default();
        cursor.push(
            &mut stream,
            Bytes::from_static(b"unable to retrieve container logs for containerd://1"),
            &mut passed,
        );
        assert_eq!(passed, Passed::default());
        assert_eq!(stream.excuse.as_deref(), Some("unable to retrieve container logs for containerd://1"));
    }
}

/// How the tests' containers write: the pause before each record, text of few values, whether the line ends.
fn records(step: impl Strategy<Value = i64>, unit: i64) -> impl Strategy<Value = Vec<Record>> {
    let record = (step, "[ab]{0,3}", proptest::bool::weighted(0.8));
    proptest::collection::vec(record, 0..60).prop_map(move |records| {
        let mut now = at(0);
        let mut out: Vec<Record> = Vec::new();
        for (step, text, full) in records {
            // The records of a line are stamped one after the other.
            let begun = out.last().is_some_and(|record| !record.full);
            now += SignedDuration::from_millis(if begun { step.max(0) } else { step });
            let millisecond = now.as_millisecond();
            let time = Timestamp::from_millisecond(millisecond - millisecond.rem_euclid(unit)).unwrap();
            // A record of a line that goes on has text.
            let text = if full { text } else { format!("{text}c") };
            out.push(Record { time, text, full });
        }
        out
    })
}

/// Streams: how many more records exist, after how many bytes it is cut, and the size of a frame.
fn streams() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    proptest::collection::vec((0usize..20, prop_oneof![0usize..600, Just(usize::MAX)], 1usize..100), 0..12)
}

fn exact(records: Vec<Record>, streams: Vec<(usize, usize, usize)>) -> Result<(), TestCaseError> {
    let log = Log { records, start: 0 };
    let mut reader = Reader::default();
    let mut written = 0;
    for (more, cut, frame) in streams {
        written = log.records.len().min(written + more);
        reader.read(&log, written, cut, frame);
        prop_assert!(log.text().starts_with(&reader.text), "{:?} is no beginning of {:?}", reader.text, log.text());
    }
    prop_assert!(reader.read_all(&log));
    prop_assert_eq!(&reader.text, &log.text());
    prop_assert_eq!(reader.gaps.len(), 0);
    prop_assert!(reader.read_all(&log));
    prop_assert_eq!(&reader.text, &log.text());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn nothing_is_lost_and_nothing_doubled(records in records(0i64..700, 1), streams in streams()) {
        exact(records, streams)?;
    }

    #[test]
    fn nor_if_the_clock_is_coarse(records in records(0i64..700, 1000), streams in streams()) {
        exact(records, streams)?;
    }

    #[test]
    fn nor_if_it_goes_back_a_little(records in records(-150i64..300, 1), streams in streams()) {
        // By more than a second it is another matter: the kubelet then hides what was written since.
        let mut newest = Timestamp::MIN;
        for record in &records {
            newest = newest.max(record.time);
            prop_assume!(newest.duration_since(record.time) < SignedDuration::from_secs(1));
        }
        exact(records, streams)?;
    }

    /// Each line begins with a letter of its own: a line of the same time that begins with the same bytes as one that
    /// was begun and rotated away is taken for it. After a gap lines may be missing, and a line that was begun is cut.
    #[test]
    fn what_rotation_takes_away_is_said(
        steps in proptest::collection::vec(0i64..400, 1..75),
        streams in proptest::collection::vec((0usize..20, prop_oneof![0usize..600, Just(usize::MAX)], 1usize..100, any::<u8>()), 0..12),
    ) {
        let mut log = Log::default();
        let mut now = 0;
        for (letter, step) in (b'0'..).zip(&steps) {
            now += step;
            log.records.push(Record { time: at(now), text: format!("{}.", char::from(letter)), full: true });
        }
        let mut reader = Reader::default();
        // What was rotated away before the first stream nobody can know.
        let mut written = 1;
        reader.read(&log, written, usize::MAX, 64);
        for (more, cut, frame, rotate) in streams {
            written = log.records.len().min(written + more);
            if rotate % 3 == 0 {
                log.start += usize::from(rotate) * (written - 1 - log.start) / 255;
            }
            reader.read(&log, written, cut, frame);
        }
        prop_assert!(reader.read_all(&log));

        let mut from = 0;
        let mut next = b'0';
        for border in reader.gaps.iter().map(|(at, _)| *at).chain([reader.text.len()]) {
            let lines = reader.text.as_bytes()[from..border].split_inclusive(|byte| *byte == b'\n');
            for (index, line) in lines.enumerate() {
                let letter = line[0];
                prop_assert!(letter == next || (letter > next && index == 0 && from > 0), "{letter} for {next}: {reader:?}");
                next = letter + u8::from(line.len() == 3);
            }
            prop_assert!(border < reader.text.len() || reader.text.ends_with('\n'));
            from = border;
        }
        prop_assert_eq!(usize::from(next - b'0'), log.records.len());
    }
}
