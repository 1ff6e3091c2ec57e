//! The agent, and what it costs.

use std::error::Error;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use piculet::agent::Agent;
use piculet::config::Config;
use piculet::shutdown::Shutdown;
use piculet_cluster::{Cluster, KubeSource, Limits};
use piculet_core::id::InstanceId;
use piculet_link::stream::{Settings, StreamLink};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

use super::{FAR_SIDE, LINES, NAMESPACE, QUIET_STEPS, RATE};

/// Memory for logs: little, so that most of the log has to go to the disk.
const MEMORY: usize = 16 << 20;
/// Disk for logs.
const DISK: u64 = 1 << 30;

/// Peaks, in bytes.
#[derive(Debug, Default)]
struct Peaks {
    anonymous: u64,
    spool: i64,
    disk: i64,
}

pub(super) async fn run() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let mut far_side = Command::new(std::env::current_exe()?)
        .arg(FAR_SIDE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = BufReader::new(far_side.stdout.take().ok_or("no output")?).lines();
    let server = said.next_line().await?.ok_or("the other side did not start")?;
    let mut kubeconfig = String::new();
    while let Some(line) = said.next_line().await?.filter(|line| !line.is_empty()) {
        kubeconfig.push_str(&line);
        kubeconfig.push('\n');
    }
    let path = directory.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig)?;

    let mut config = Config::default();
    config.agent.name = "flood".to_owned();
    config.admin.address = None;
    config.pods.namespace = NAMESPACE.to_owned();
    config.logs.memory = MEMORY;
    config.logs.disk = DISK;
    config.logs.directory = Some(directory.path().join("logs"));
    let source = KubeSource::Kubeconfig { path, context: None };
    let cluster = Cluster::connect(&source, Some(NAMESPACE), Limits::default()).await?;
    let agent = Agent::new(config, cluster, InstanceId::new("flood"), "bench".to_owned());
    let metrics = agent.metrics().clone();
    let shutdown = Shutdown::default();
    let link = StreamLink::new(Settings::new(server.parse()?));
    let idle = memory("RssAnon:")?;
    let began = Instant::now();
    let running = tokio::spawn(agent.run(link, shutdown.clone()));

    let (mut peaks, mut read_after) = (Peaks::default(), None);
    let results = loop {
        peaks.anonymous = peaks.anonymous.max(memory("RssAnon:")?);
        peaks.spool = peaks.spool.max(metrics.log_spooled.get());
        peaks.disk = peaks.disk.max(metrics.log_spooled_disk.get());
        if read_after.is_none() && metrics.log_lines.get() >= LINES {
            read_after = Some(began.elapsed());
        }
        if let Ok(line) = tokio::time::timeout(Duration::from_millis(50), said.next_line()).await {
            break line?.ok_or("the other side gave up")?;
        }
    };
    let took = began.elapsed();
    shutdown.drain.cancel();
    running.await??;
    drop(far_side.stdin.take());
    far_side.wait().await?;

    let mut out = std::io::stdout().lock();
    writeln!(out, "one step with {LINES} lines beside {QUIET_STEPS} quiet ones, server: {RATE} lines a second")?;
    writeln!(out, "{results}")?;
    writeln!(out, "lost lines, as the agent counts them: {}", metrics.log_lines_lost.get())?;
    writeln!(
        out,
        "flood read after {:.1} s, all delivered after {:.1} s",
        read_after.unwrap_or(took).as_secs_f64(),
        took.as_secs_f64()
    )?;
    writeln!(
        out,
        "spool: {} MiB of {} MiB memory at most, {} MiB disk at most",
        mib(peaks.spool.unsigned_abs()),
        MEMORY >> 20,
        mib(peaks.disk.unsigned_abs())
    )?;
    writeln!(
        out,
        "process: {} MiB anonymous memory before, {} MiB at most; VmHWM {} MiB",
        mib(idle),
        mib(peaks.anonymous),
        mib(memory("VmHWM:")?)
    )?;
    Ok(())
}

/// With one decimal.
fn mib(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A line of what the kernel says about this process, in bytes.
fn memory(name: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
