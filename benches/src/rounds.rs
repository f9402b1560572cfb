//! How often something is repeated, and which of it counts.

/// One repetition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Whether its numbers are kept; the first ones fill caches.
    pub(crate) is_counted: bool,
}

/// A number of repetitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds;

impl Rounds {
    /// Returns `counted` rounds after a tenth as many, at least two, that are not counted.
    pub(crate) fn with_warm_up(counted: usize) -> impl Iterator<Item = Round> {
        let warm_up = (counted / 10).max(2);
        (0..warm_up + counted).map(move |index| Round {
            is_counted: index >= warm_up,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_wanted_rounds_count() {
        assert_eq!(
            Rounds::with_warm_up(30).filter(|round| round.is_counted).count(),
            30
        );
        assert!(!Rounds::with_warm_up(1).next().unwrap().is_counted);
    }
}
