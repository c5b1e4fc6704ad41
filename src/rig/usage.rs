//! What a process has used of the machine, as `/proc` tells it; None where there is no `/proc`.

use std::time::Duration;

/// Clock ticks of `/proc/<id>/stat` in a second: 100 on every Linux that Rust is built for.
const TICKS_PER_S: u64 = 100;

/// Places of the user's and the system's ticks, counted from the state, which follows the name in brackets.
const USER_TICKS: usize = 11;

/// CPU time so far, in steps of ten milliseconds.
pub fn cpu(id: u32) -> Option<Duration> {
    cpu_of(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Most memory it ever had, in KiB.
pub fn peak_rss_kib(id: u32) -> Option<u64> {
    peak_of(&std::fs::read_to_string(format!("/proc/{id}/status")).ok()?)
}

fn cpu_of(stat: &str) -> Option<Duration> {
    // The name may hold anything, brackets too; what follows its last one is fixed.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(USER_TICKS).map(|ticks| ticks.parse::<u64>().ok());
    let (user, system) = (ticks.next()??, ticks.next()??);
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_S))
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(3)));
        assert_eq!(peak_of("Name:\tx\nVmHWM:\t    1234 kB\n"), Some(1_234));
        assert_eq!((cpu_of(""), peak_of("")), (None, None));
    }
}
