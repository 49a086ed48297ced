//! Times as daemons print them.

use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::str;

/// What a time without a zone is in: `utc`, `local` (`TZ`, else the zone of this machine), `+08:00`
/// or a name such as `Asia/Shanghai`.
pub fn zone(text: &str) -> Option<TimeZone> {
    match text {
        "utc" => Some(TimeZone::UTC),
        "local" => Some(TimeZone::system()),
        _ if text.starts_with(['+', '-']) => DateTimeParser::new().parse_time_zone(text).ok(),
        _ => TimeZone::get(text).ok(),
    }
}

/// ns since the epoch of `2026-11-20 22:18:24.722209688Z`, `2026/11/20 22:18:24,722209`,
/// `2026-11-20T22:18:24 +08:00`; of a number of seconds with a fraction; or of a whole number of
/// seconds, ms, us or ns, told apart by how many digits it has.
pub fn parse(text: &[u8], zone: &TimeZone) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    let time = match text.split_once('.') {
        _ if matches!(text.as_bytes().get(4), Some(b'-' | b'/')) => date(text, zone)?,
        Some((seconds, fraction)) => {
            let ns = fraction.get(..9).unwrap_or(fraction);
            let ns = number(ns)? * 10_i64.pow(9 - ns.len() as u32);
            Timestamp::new(number(seconds)?, ns as i32).ok()?
        }
        None => {
            let number = number(text)?;
            match text.len() {
                0..=11 => Timestamp::from_second(number),
                12..=14 => Timestamp::from_millisecond(number),
                15..=17 => Timestamp::from_microsecond(number),
                _ => Timestamp::from_nanosecond(number.into()),
            }
            .ok()?
        }
    };
    u64::try_from(time.as_nanosecond()).ok()
}

fn date(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let text = match text.as_bytes()[4] {
        b'/' => text.replacen('/', "-", 2),
        _ => text.to_owned(),
    };
    // Between date and time there may be a space, before the zone the parser wants none.
    let (date, time) = text.split_at_checked(11)?;
    let text = format!("{date}{}", time.replacen(' ', "", 1));
    text.parse().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        zone.to_timestamp(local).ok()
    })
}

/// A plus sign is no part of a number here.
fn number(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// ns of `24364 ns`, `625123`, `1.25ms`, `1m2.5s`, as Go and others print durations; a number
/// without a unit is ns.
pub fn duration(text: &str) -> Option<u64> {
    let text = text.trim();
    let ns = match number(text) {
        Some(ns) => i128::from(ns),
        None => text.parse::<SignedDuration>().ok()?.as_nanos(),
    };
    u64::try_from(ns).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_every_form() {
        const NS: u64 = 1_795_213_104_722_209_000;
        for text in [
            "2026-11-20 22:18:24.722209000Z",
            "2026/11/20 22:18:24.722209",
            "2026-11-20T22:18:24,722209",
            "2026-11-21T06:18:24.722209+08:00",
            "2026-11-20 18:48:24.722209 -0330",
            "2026/11/21 06:18:24.722209 +08",
            "1795213104.722209",
            "1795213104722209",
            "1795213104722209000",
        ] {
            assert_eq!(parse(text.as_bytes(), &TimeZone::UTC), Some(NS), "{text}");
        }
        assert_eq!(parse(b"1970-01-01 00:00:00Z", &TimeZone::UTC), Some(0));
        assert_eq!(
            parse(b"2000-02-29 23:59:59Z", &TimeZone::UTC),
            Some(951_868_799_000_000_000)
        );
    }

    #[test]
    fn zones_by_offset_and_by_name() {
        let hours = |text: &str, zone_name: &str| {
            let utc = parse(text.as_bytes(), &TimeZone::UTC).unwrap();
            let there = parse(text.as_bytes(), &zone(zone_name).unwrap()).unwrap();
            (utc as i64 - there as i64) / 3_600_000_000_000
        };
        assert_eq!(hours("2026-11-20 22:18:24", "utc"), 0);
        assert_eq!(hours("2026-11-20 22:18:24", "+08:00"), 8);
        assert_eq!(hours("2026-11-20 22:18:24", "-0500"), -5);
        for unknown in ["", "UTC+8", "Nowhere/Else", "8"] {
            assert!(zone(unknown).is_none(), "{unknown}");
        }
        assert!(zone("local").is_some());
        // Where the machine has a database of zones, their rules say whether it is summer.
        if std::path::Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
            assert_eq!(hours("2026-11-20 22:18:24", "Europe/Berlin"), 1);
            assert_eq!(hours("2026-07-20 22:18:24", "Europe/Berlin"), 2);
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "x",
            "2026-13-20 22:18:24",
            "2026-11-20 22:18:61",
            "2026-11-20 22:18:24 CET",
            "2026-11-20",
            "-5",
            "1.x",
            "1.+5",
            "1969-12-31 23:59:59Z",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text.as_bytes(), &TimeZone::UTC), None, "{text}");
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
            ("1h0m0.5s", 3_600_500_000_000),
        ] {
            assert_eq!(duration(text), Some(ns), "{text}");
        }
        for text in ["soon", "", "-1s", "1 parsec"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
