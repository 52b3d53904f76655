//! What the machine has, as far as this process may have it.

/// Where nothing can be read, bytes.
const MEMORY_BYTES_DEFAULT: u64 = 1 << 30;

/// Memory of the machine, or of the control group of this process if that is less, bytes.
pub(crate) fn memory_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let total_kib = read("/proc/meminfo").lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    let total = total_kib.map_or(MEMORY_BYTES_DEFAULT, |kib| kib.saturating_mul(1024));
    // "max" where there is no limit; version 1 of control groups says a huge number.
    let group = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    .iter()
    .filter_map(|path| read(path).trim().parse::<u64>().ok());
    group.fold(total, u64::min)
}
