//! CPU time and memory of processes, as Linux tells of them in /proc (proc_pid_stat(5)). CPU time is user and system
//! of all threads.

use std::time::Duration;

/// What /proc counts in: USER_HZ, which is 100 on every machine that Linux supports by now.
const TICK: Duration = Duration::from_millis(10);

struct Stat {
    parent: u32,
    own: Duration,
    /// Of children that have ended.
    reaped: Duration,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that can hold anything; behind it comes the third.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
    let time = |user, system| Some(TICK * (ticks(user)? + ticks(system)?));
    Some(Stat { parent: ticks(4)?, own: time(14, 15)?, reaped: time(16, 17)? })
}

/// Of this process.
pub fn own() -> Duration {
    of(std::process::id())
}

/// Of a process; zero if it is gone.
pub fn of(pid: u32) -> Duration {
    stat(pid).map_or(Duration::ZERO, |stat| stat.own)
}

/// Of a process and its children, those that have ended too.
pub fn of_family(pid: u32) -> Duration {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = pids.filter_map(stat).filter(|stat| stat.parent == pid);
    stat(pid).into_iter().chain(children).map(|stat| stat.own + stat.reaped).sum()
}

/// Memory of a process that is in RAM now, in MiB.
pub fn rss_mib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
