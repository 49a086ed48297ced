//! What the figures were measured on.

use std::fs;

/// One line: processor, how many of it, memory, kernel, and what else the machine does.
pub fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .split_once(':')
                .map(|(_, v)| v.trim().to_owned())
        })
    };
    let processor = field(&read("/proc/cpuinfo"), "model name");
    let processor = processor.unwrap_or_else(|| "unknown processor".to_owned());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|total| total.split(' ').next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib >> 20);
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    format!(
        "{processor}, {count} processors, {memory} GiB, Linux {release}, load average {load} at the \
         beginning"
    )
}
