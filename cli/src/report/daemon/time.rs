//! Times as daemons print them.

use crate::sys;

/// What a time without a zone is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// The zone of this machine (`TZ`).
    Local,
    /// So many seconds east of UTC.
    Offset(i64),
}

impl Zone {
    /// `utc`, `local` or `+08:00`.
    pub fn parse(text: &str) -> Option<Zone> {
        match text {
            "utc" => Some(Zone::Offset(0)),
            "local" => Some(Zone::Local),
            _ => offset(text.as_bytes()).map(Zone::Offset),
        }
    }
}

/// ns since the epoch of `2026-11-20 22:18:24.722209688Z`, `2026/11/20 22:18:24.722209`,
/// `2026-11-20T22:18:24+08:00`; of a number of seconds with a fraction; or of a whole number of
/// seconds, ms, us or ns, told apart by how many digits it has.
pub fn parse(text: &[u8], zone: Zone) -> Option<u64> {
    if text.len() >= 19 && matches!(text[4], b'-' | b'/') {
        return date(text, zone);
    }
    let dot = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = text.split_at(dot.unwrap_or(text.len()));
    let number = digits(whole)?;
    if dot.is_some() {
        return number
            .checked_mul(1_000_000_000)?
            .checked_add(nanos(&fraction[1..])?);
    }
    let unit = match whole.len() {
        0..=11 => 1_000_000_000,
        12..=14 => 1_000_000,
        15..=17 => 1_000,
        _ => 1,
    };
    number.checked_mul(unit)
}

fn date(text: &[u8], zone: Zone) -> Option<u64> {
    let separated = text[7] == text[4]
        && matches!(text[10], b' ' | b'T')
        && text[13] == b':'
        && text[16] == b':';
    if !separated {
        return None;
    }
    let number = |from: usize, to: usize| digits(&text[from..to]).map(|n| n as i64);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &text[19..];
    let mut ns = 0;
    if let Some((b'.' | b',', fraction)) = rest.split_first() {
        let length = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        ns = nanos(&fraction[..length])?;
        rest = &fraction[length..];
    }
    let zone = match rest.trim_ascii() {
        b"" => zone,
        b"Z" => Zone::Offset(0),
        other => Zone::Offset(offset(other)?),
    };
    let in_day = hour * 3600 + minute * 60 + second;
    let seconds = match zone {
        Zone::Offset(east) => days(year, month, day) * 86_400 + in_day - east,
        Zone::Local => sys::local_time([year, month, day, hour, minute, second])?,
    };
    u64::try_from(seconds)
        .ok()?
        .checked_mul(1_000_000_000)?
        .checked_add(ns)
}

/// Days since 1970-01-01 of a Gregorian date: Howard Hinnant's `days_from_civil`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Seconds of `+08:00`, `-0330`, `+08`.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = text.split_first()?;
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let plain: Vec<u8> = rest.iter().copied().filter(|byte| *byte != b':').collect();
    let (hours, minutes) = match plain.len() {
        2 => (digits(&plain)?, 0),
        4 => (digits(&plain[..2])?, digits(&plain[2..])?),
        _ => return None,
    };
    Some(sign * (hours * 3600 + minutes * 60) as i64)
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// ns of the digits behind a point.
fn nanos(fraction: &[u8]) -> Option<u64> {
    let kept = &fraction[..fraction.len().min(9)];
    Some(digits(kept)? * 10u64.pow(9 - kept.len() as u32))
}

/// ns of `24364 ns`, `625123`, `1.25ms`, `1m2.5s`, as Go and others print durations; a number
/// without a unit is ns.
pub fn duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if let Some(ns) = digits(rest.as_bytes()) {
        return Some(ns);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = rest[end..].trim_start();
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        total += number
            * match rest[..end].trim() {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    Some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTC: Zone = Zone::Offset(0);

    #[test]
    fn times_in_every_form() {
        const NS: u64 = 1_795_213_104_722_209_000;
        for text in [
            "2026-11-20 22:18:24.722209000Z",
            "2026/11/20 22:18:24.722209",
            "2026-11-20T22:18:24,722209",
            "2026-11-21T06:18:24.722209+08:00",
            "2026-11-20 18:48:24.722209 -0330",
            "1795213104.722209",
            "1795213104722209",
            "1795213104722209000",
        ] {
            assert_eq!(parse(text.as_bytes(), UTC), Some(NS), "{text}");
        }
        assert_eq!(
            parse(b"2026-11-20 22:18:24", Zone::parse("+01:00").unwrap()),
            Some(NS / 1_000_000_000 * 1_000_000_000 - 3600 * 1_000_000_000)
        );
        assert_eq!(parse(b"1970-01-01 00:00:00Z", UTC), Some(0));
        assert_eq!(
            parse(b"2000-02-29 23:59:59Z", UTC),
            Some(951_868_799_000_000_000)
        );
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "x",
            "2026-13-20 22:18:24",
            "2026-11-20 22:18",
            "2026-11-20 22:18:24 CET",
            "-5",
            "1.x",
            "1969-12-31 23:59:59Z",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text.as_bytes(), UTC), None, "{text}");
        }
    }

    #[test]
    fn durations_in_every_form() {
        for (text, ns) in [
            ("24364 ns", 24364),
            ("625123", 625_123),
            ("1.25ms", 1_250_000),
            ("625.123µs", 625_123),
            ("1m2.5s", 62_500_000_000),
        ] {
            assert_eq!(duration(text), Some(ns), "{text}");
        }
        assert_eq!(duration("soon"), None);
    }
}
