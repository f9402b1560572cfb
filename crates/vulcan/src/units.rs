//! Sizes and durations as people write them: `64MiB`, `1.5s`, `2m`.

use std::time::Duration;

/// The units of a duration, in seconds.
const DURATIONS: [(&str, f64); 5] = [
    ("ms", 0.001),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
];
/// The units of a size, in bytes. A bare letter is the binary unit, as in most tools that limit memory.
const SIZES: [(&str, u64); 11] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
];
/// The longest duration: a hundred years is a typing error.
const DURATION_MAX_S: f64 = 100.0 * 365.0 * 86_400.0;
/// The largest size: the next power of ten does not fit the database's integers.
const SIZE_MAX: f64 = 1e18;

/// Reads a duration with its unit; a bare number is refused, because nobody can tell what it counts.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const ALLOWED: &str = "write a number and one of ms, s, m, h, d, for example 30s";
    let (number, unit) = split(text).ok_or_else(|| not(text, "duration", ALLOWED))?;
    let scale = DURATIONS
        .into_iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, scale)| scale)
        .ok_or_else(|| not(text, "duration", ALLOWED))?;
    let seconds = number * scale;
    if seconds > DURATION_MAX_S {
        return Err(not(text, "duration", "at most a hundred years"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads a duration; a bare number counts seconds.
pub(crate) fn duration_or_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(_) => duration(&format!("{text}s")),
        Err(_) => duration(text),
    }
}

/// Reads a size with its unit, in bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const ALLOWED: &str = "write a number and one of B, KiB, MiB, GiB, TiB, KB, MB, GB, for example 64MiB";
    let (number, unit) = split(text).ok_or_else(|| not(text, "size", ALLOWED))?;
    let scale = SIZES
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .map(|(_, scale)| scale)
        .ok_or_else(|| not(text, "size", ALLOWED))?;
    #[expect(clippy::cast_precision_loss, reason = "a unit is at most 2^40")]
    let bytes = (number * scale as f64).round();
    if bytes > SIZE_MAX {
        return Err(not(text, "size", "at most 1e18 bytes"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, not negative, below 1e18"
    )]
    Ok(bytes as u64)
}

/// Reads a size in whole MiB; a bare number counts MiB.
pub(crate) fn mebibytes(text: &str) -> Result<u32, String> {
    let bytes = match text.parse::<f64>() {
        Ok(_) => size(&format!("{text}MiB"))?,
        Err(_) => size(text)?,
    };
    u32::try_from(bytes.div_ceil(1 << 20)).map_err(|_| not(text, "size", "at most 4095 TiB"))
}

/// Writes a size the way [`size`] reads it, exactly.
pub(crate) fn size_text(bytes: u64) -> String {
    for (unit, scale) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= scale && bytes.is_multiple_of(scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    format!("{bytes}B")
}

/// Writes a duration the way [`duration`] reads it, to the millisecond.
pub(crate) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, scale) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= scale && millis.is_multiple_of(scale) {
            return format!("{}{unit}", millis / scale);
        }
    }
    format!("{millis}ms")
}

/// Writes milliseconds for people.
pub(crate) fn millis_for_people(millis: f64) -> String {
    if millis < 10.0 {
        format!("{millis:.1} ms")
    } else if millis < 1_000.0 {
        format!("{millis:.0} ms")
    } else if millis < 120_000.0 {
        format!("{:.1} s", millis / 1_000.0)
    } else {
        format!("{:.0} min", millis / 60_000.0)
    }
}

/// Writes a size for people, in the units that disks are sold in.
pub(crate) fn bytes_for_people(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
    let size = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", size / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size / 1e6),
        _ => format!("{:.2} GB", size / 1e9),
    }
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.trim_end().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some((number, unit))
}

fn not(text: &str, noun: &str, allowed: &str) -> String {
    format!("'{text}' is not a {noun}: {allowed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_needs_a_unit_and_survives_its_text() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1.5 kib"), Ok(1536));
        assert_eq!(size("2g"), Ok(2 << 30));
        for bytes in [0, 1, 1_000, 1 << 20, (1 << 30) + 1] {
            assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }
        for bad in ["", "64", "MiB", "-1MiB", "1e999GiB", "99999999TiB", "1XiB"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_duration_needs_a_unit_and_survives_its_text() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["0ms", "1ms", "90s", "2h", "3d"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
        for bad in ["", "5", "s", "-1s", "NaNs", "1e300d", "5 lightyears"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_command_line_takes_bare_numbers_where_the_unit_is_plain() {
        assert_eq!(mebibytes("256"), Ok(256));
        assert_eq!(mebibytes("1GiB"), Ok(1024));
        assert_eq!(duration_or_seconds("2.5"), Ok(Duration::from_millis(2_500)));
        assert_eq!(duration_or_seconds("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration_or_seconds("NaN").is_err());
    }
}
