//! What the kernel says of this process, in the names that Prometheus' own client libraries use.
//!
//! Read from `/proc/self` at each scrape; what can't be read (another system, a hidden `/proc`) is left out.

use std::fs;

/// Clock ticks in a second as `/proc` counts them: USER_HZ, 100 on every architecture that Linux runs servers on.
const TICKS: f64 = 100.0;

/// Numbers of this process.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) resident_bytes: Option<u64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) open_fds: Option<u64>,
    /// Unix time.
    pub(super) start_seconds: Option<f64>,
}

/// Looks now.
pub(super) fn read() -> Process {
    let (ticks, started) = fs::read_to_string("/proc/self/stat").map(|stat| times(&stat)).unwrap_or_default();
    Process {
        resident_bytes: fs::read_to_string("/proc/self/status").ok().and_then(|status| resident(&status)),
        cpu_seconds: ticks.map(|ticks| ticks / TICKS),
        open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
        start_seconds: started
            .zip(fs::read_to_string("/proc/stat").ok().and_then(|stat| boot_time(&stat)))
            .map(|(started, boot)| boot + started / TICKS),
    }
}

/// `VmRSS` of `/proc/self/status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let kib: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Ticks of CPU (fields 14 and 15 of proc_pid_stat(5)) and the tick since boot at which the process started (22).
fn times(stat: &str) -> (Option<f64>, Option<f64>) {
    // The name of the command, field 2, is in brackets and may hold anything, brackets and spaces too.
    let Some((_, behind_name)) = stat.rsplit_once(')') else {
        return (None, None);
    };
    let mut fields = behind_name.split_ascii_whitespace().map(|field| field.parse::<f64>().ok());
    // `nth` counts on from where it was: field 3 is the first, then 14 and 15, then 22.
    let (user, system) = (fields.nth(11).flatten(), fields.next().flatten());
    (user.zip(system).map(|(user, system)| user + system), fields.nth(6).flatten())
}

/// `btime` of `/proc/stat`: Unix time of boot.
fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 12345 1000 200 18446744073709551615";
        assert_eq!(times(stat), (Some(300.0), Some(12345.0)));
        assert_eq!(times("nonsense"), (None, None));
        assert_eq!(times("7 (a) S 1"), (None, None));
        assert_eq!(resident("Name:\ta\nVmRSS:\t   2048 kB\nX: 1\n"), Some(2048 * 1024));
        assert_eq!(resident("VmRSS: lots"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000.0));
    }
}
