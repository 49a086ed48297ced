//! Wall-clock times, printed without a library that allocates.

use core::fmt;

/// A time in nanoseconds since 1970-01-01 00:00:00 UTC, printed as
/// `2026-11-20 21:40:01.123456789Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{nanos:09}Z"
        )
    }
}

/// The Gregorian date of a day counted from 1970-01-01: Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>), for days not before the epoch.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468; // counted from 0000-03-01
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + (month <= 2) as u64, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (ns, text) in [
            (0, "1970-01-01 00:00:00.000000000Z"),
            (951_782_399_999_999_999, "2000-02-28 23:59:59.999999999Z"),
            (951_782_400_000_000_001, "2000-02-29 00:00:00.000000001Z"),
            (1_795_210_801_123_456_789, "2026-11-20 21:40:01.123456789Z"),
            (4_107_542_400_000_000_000, "2100-03-01 00:00:00.000000000Z"),
            (u64::MAX, "2554-07-21 23:34:33.709551615Z"),
        ] {
            assert_eq!(Utc(ns).to_string(), text);
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut before = civil(0);
        let last = if cfg!(miri) { 1_500 } else { 220_000 };
        for days in 1..last {
            let today = civil(days);
            let next_day = (before.0, before.1, before.2 + 1);
            let next_month = (before.0, before.1 + 1, 1);
            let next_year = (before.0 + 1, 1, 1);
            let y = before.0;
            let leap = y.is_multiple_of(4) && !y.is_multiple_of(100) || y.is_multiple_of(400);
            let length = match before.1 {
                2 => 28 + leap as u64,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let expected = match before {
                (_, 12, 31) => next_year,
                (_, _, d) if d == length => next_month,
                _ => next_day,
            };
            assert_eq!(today, expected);
            before = today;
        }
    }
}
