//! Numbers for people.

/// Writes a number with about three digits that say something.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Writes a number that may be missing.
pub(super) fn digits_or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), digits)
}

/// Returns bytes in MiB. Counts beyond what a double holds exactly are petabytes.
#[expect(
    clippy::cast_precision_loss,
    reason = "memory of one machine is far below 2^53 bytes"
)]
pub(super) const fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_say_enough() {
        let written = [0.043, 9.996, 12.34, 999.6, 4321.0].map(digits);
        assert_eq!(written, ["0.04", "10.00", "12.3", "1000", "4321"]);
        assert_eq!(digits_or_dash(None), "–");
        assert_eq!(digits(mebibytes(3 << 19)), "1.50");
    }
}
