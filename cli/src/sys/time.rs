//! The time zone of this machine.

use std::ffi::c_int;

/// Seconds since the epoch of a local time: year, month (1 to 12), day, hour, minute, second.
pub fn local_time(parts: [i64; 6]) -> Option<i64> {
    let mut numbers = [0 as c_int; 6];
    for (number, part) in numbers.iter_mut().zip(parts) {
        *number = c_int::try_from(part).ok()?;
    }
    let [year, month, day, hour, minute, second] = numbers;
    // SAFETY: a `tm` is plain data with a pointer that may be null.
    let mut time: libc::tm = unsafe { std::mem::zeroed() };
    time.tm_year = year - 1900;
    time.tm_mon = month - 1;
    time.tm_mday = day;
    time.tm_hour = hour;
    time.tm_min = minute;
    time.tm_sec = second;
    // The zone's rules say whether it is summer.
    time.tm_isdst = -1;
    // SAFETY: `time` is a valid `tm`; this process changes its environment nowhere.
    let seconds = unsafe { libc::mktime(&mut time) };
    (seconds != -1).then_some(seconds)
}
