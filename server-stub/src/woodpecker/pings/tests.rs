use std::time::{Duration, Instant};

use super::frames::{Frame, Kind};
use super::{Enforcer, IDLE_MIN_TIME};

const MIN_TIME: Duration = Duration::from_secs(300);
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const PING: u8 = 6;

/// A connection whose client has said its preface.
struct World {
    enforcer: Enforcer,
    now: Instant,
}

#[expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
fn world() -> World {
    let mut enforcer = Enforcer::new(MIN_TIME);
    let now = Instant::now();
    assert!(!enforcer.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now));
    World { enforcer, now }
}

fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
    let mut bytes = Frame { kind: Kind::Other, flags, stream }.header(kind, length);
    bytes.extend(std::iter::repeat_n(PING, length));
    bytes
}

impl World {
    fn receives(&mut self, kind: u8, flags: u8, stream: u32) -> bool {
        self.enforcer.received(&frame(kind, flags, stream, 8), self.now)
    }

    fn pings_after(&mut self, duration: Duration) -> bool {
        self.now += duration;
        self.receives(PING, 0, 0)
    }

    fn calls() -> Self {
        let mut world = world();
        world.receives(HEADERS, 1, 1);
        world
    }
}

#[test]
fn the_third_early_ping_is_one_too_many() {
    let mut world = World::calls();
    let ten = Duration::from_secs(10);
    let verdicts: Vec<_> = (0..4).map(|_| world.pings_after(ten)).collect();
    assert_eq!(verdicts, [false, false, false, true], "the first one is never early");
}

#[test]
fn pings_that_are_not_early_are_let_pass() {
    let mut world = World::calls();
    assert!((0..20).all(|_| !world.pings_after(MIN_TIME)));
}

#[test]
fn late_pings_do_not_forgive_early_ones() {
    let mut world = World::calls();
    let ten = Duration::from_secs(10);
    let verdicts = [ten, ten, ten, MIN_TIME, ten].map(|after| world.pings_after(after));
    assert_eq!(verdicts, [false, false, false, false, true]);
}

#[test]
fn what_the_server_sends_forgives() {
    for kind in [DATA, HEADERS] {
        let mut world = World::calls();
        for _ in 0..20 {
            assert!(!world.pings_after(Duration::from_secs(10)));
            assert!(!world.pings_after(Duration::from_secs(10)));
            world.enforcer.sent(&frame(kind, 0, 1, 5));
        }
    }
    let mut world = World::calls();
    let verdicts = [0; 4].map(|_| {
        world.enforcer.sent(&frame(PING, 1, 0, 8));
        world.pings_after(Duration::from_secs(10))
    });
    assert_eq!(verdicts, [false, false, false, true], "answers to pings don't");
}

#[test]
fn without_a_call_a_ping_every_two_hours_is_enough() {
    for (kind, is_servers) in [(DATA, true), (HEADERS, true), (RESET, true), (RESET, false)] {
        let mut world = World::calls();
        assert!(!world.pings_after(MIN_TIME));
        // The call is over.
        if is_servers {
            world.enforcer.sent(&frame(kind, 1, 1, 4));
        } else {
            world.receives(kind, 1, 1);
        }
        // Data and headers forgive once more.
        if kind != RESET {
            world.pings_after(MIN_TIME);
        }
        let verdicts = [0; 3].map(|_| world.pings_after(MIN_TIME));
        assert_eq!(verdicts, [false, false, true], "{kind} of the server: {is_servers}");
    }
    let mut world = world();
    assert!((0..20).all(|_| !world.pings_after(IDLE_MIN_TIME)));
}

#[test]
fn answers_to_pings_are_no_pings() {
    let mut world = World::calls();
    assert!((0..20).all(|_| !world.receives(PING, 1, 0)));
}

#[test]
fn frames_are_found_in_pieces() {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // What is in a frame is no frame, though these are full of the number that is a ping's.
    bytes.extend(frame(HEADERS, 0, 1, 40));
    bytes.extend((0..4).flat_map(|_| frame(PING, 0, 0, 8)));
    for size in [1, 7, 9, 10, 1000] {
        let World { enforcer: _, now } = world();
        let mut enforcer = Enforcer::new(MIN_TIME);
        let verdicts: Vec<_> = bytes.chunks(size).map(|piece| enforcer.received(piece, now)).collect();
        assert_eq!(verdicts.iter().position(|verdict| *verdict), Some((bytes.len() - 9) / size), "in pieces of {size}");
    }
}

#[test]
fn another_frame_may_begin_where_one_ends() {
    let mut world = world();
    assert_eq!(world.enforcer.missing(), 0);
    let bytes = frame(DATA, 0, 1, 3);
    let missing: Vec<_> = bytes
        .iter()
        .map(|byte| {
            world.enforcer.sent(&[*byte]);
            world.enforcer.missing()
        })
        .collect();
    assert_eq!(missing, [8, 7, 6, 5, 4, 3, 2, 1, 3, 2, 1, 0]);
}

#[test]
fn the_last_words_are_a_goaway() {
    let mut world = World::calls();
    world.receives(HEADERS, 1, 5);
    let expected = [&[0, 0, 22, 7, 0][..], &[0, 0, 0, 0], &[0, 0, 0, 5], &[0, 0, 0, 11], b"too_many_pings"];
    assert_eq!(world.enforcer.goaway(), expected.concat());
}
