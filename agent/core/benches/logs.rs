//! Throughput of masking and cutting, which is what a tail can read at most, and of the spool behind it.
//!
//! `cargo bench -p piculet-core --bench logs`

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use jiff::Timestamp;
use piculet_core::logs::lines::LineReader;
use piculet_core::logs::mask::Mask;
use piculet_core::logs::spool::{Batch, BlockId, Bounds, Spool, Why};
use piculet_core::report::LogLine;
use piculet_core::secret::Secret;

/// Lines of the input. With 80 bytes each they are a little more than a log file of the kubelet has.
const LINES: usize = 100_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    throughput(&mut criterion);
    build(&mut criterion);
    spool(&mut criterion);
    criterion.final_summary();
}

/// Text as builds print it: 79 bytes and a line feed, each line another one.
fn lines() -> Vec<Vec<u8>> {
    let words =
        ["Compiling", "downloaded", "ok", "warning:", "src/main.rs:42", "v1.0.229", "->", "tests", "Running", "0.04s"];
    (0..LINES)
        .map(|number| {
            let mut line = format!("{number:06}");
            let mut at = number;
            while line.len() < 79 {
                line.push(' ');
                line.push_str(words[at % words.len()]);
                at = at / 3 + 7 * (line.len() % 5) + 1;
            }
            let mut line = line.into_bytes();
            line.truncate(79);
            line.push(b'\n');
            line
        })
        .collect()
}

/// Tokens of 40 characters, as forges and clouds give them out.
fn secrets(count: usize) -> Vec<Secret> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut character = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"[(state >> 58) as usize])
    };
    (0..count).map(|_| Secret::new((0..40).map(|_| character()).collect::<String>())).collect()
}

fn throughput(criterion: &mut Criterion) {
    let lines = lines();
    let blocks: Vec<Vec<u8>> = lines.concat().chunks(16 * 1024).map(<[u8]>::to_vec).collect();
    let mut group = criterion.benchmark_group("mask-and-cut");
    group.sample_size(20).throughput(Throughput::Bytes((LINES * 80) as u64));
    for count in [0, 10, 100] {
        let mask = Mask::new(&secrets(count));
        // A record of the container's log is a line; a read of a stream without times is a block.
        for (name, reads) in [("by-line", &lines), ("by-block", &blocks)] {
            group.bench_with_input(BenchmarkId::new(name, count), reads, |bencher, reads| {
                bencher.iter_batched_ref(
                    || (LineReader::new(mask.clone()), Vec::with_capacity(1024)),
                    |(reader, out)| {
                        for read in reads {
                            reader.push(Timestamp::UNIX_EPOCH, read, out);
                            black_box(&out);
                            out.clear();
                        }
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build-mask");
    for count in [10, 100] {
        let secrets = secrets(count);
        group.bench_with_input(BenchmarkId::from_parameter(count), &secrets, |bencher, secrets| {
            bencher.iter(|| Mask::new(secrets));
        });
    }
    group.finish();
}

/// Lines into a spool and out of it as chunks, in memory, and with all blocks but the first and the last by way of a
/// disk that costs nothing.
#[expect(clippy::disallowed_methods, reason = "any instant will do as the beginning")]
fn spool(criterion: &mut Criterion) {
    let now = Instant::now();
    let lines: Vec<LogLine> = (0..)
        .zip(lines())
        .map(|(number, line)| LogLine { number, time: Timestamp::UNIX_EPOCH, bytes: Bytes::from(line) })
        .collect();
    let bounds = Bounds { memory: 64 << 20, disk: 1 << 30, block: 256 << 10, largest: 8 << 20 };
    let mut group = criterion.benchmark_group("spool");
    group.sample_size(20).throughput(Throughput::Elements(LINES as u64));
    for (name, has_disk) in [("memory", false), ("disk", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut spool = Spool::new(Batch::default(), bounds);
                let mut disk = Vec::new();
                for line in &lines {
                    spool.push(line, now, usize::MAX, Why::Memory);
                    if has_disk && spool.movable() > bounds.block {
                        let block = spool.store(BlockId(disk.len() as u64)).expect("one can go");
                        spool.written(block.id, block.last_line, true);
                        disk.push(block);
                    }
                }
                spool.abandon(now);
                while !spool.is_over() {
                    if let Some(next) = spool.fetch() {
                        let stored = usize::try_from(next.id.0).ok().and_then(|id| disk.get(id));
                        spool.fetched(next.id, next.last_line, stored.map(|block| block.bytes.clone()), now);
                    }
                    black_box(spool.take(now));
                }
            });
        });
    }
    group.finish();
}
