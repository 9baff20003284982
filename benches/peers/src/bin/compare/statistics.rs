//! Medians, and how far they can be trusted.

/// A median with its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    rounds: usize,
}

/// An interval from fewer rounds says nothing.
const ROUNDS_MIN: usize = 6;

/// What a ratio of costs says about ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Won,
    Level,
    Lost,
    Unknown,
}

impl Ratio {
    /// Of ratios of one round each, by the percentile bootstrap. Always the same for the same ratios.
    pub fn of(ratios: &[f64]) -> Option<Ratio> {
        const RESAMPLES: usize = 4000;
        if ratios.is_empty() {
            return None;
        }
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            ratios[(random % ratios.len() as u64) as usize]
        };
        let mut medians: Vec<f64> =
            (0..RESAMPLES).map(|_| median((0..ratios.len()).map(|_| draw()).collect())).collect();
        medians.sort_by(f64::total_cmp);
        let at = |share: f64| medians[((RESAMPLES - 1) as f64 * share).round() as usize];
        let (median, rounds) = (median(ratios.to_vec()), ratios.len());
        Some(Ratio { median, low: at(0.025), high: at(0.975), rounds })
    }

    pub fn verdict(&self) -> Verdict {
        if self.rounds < ROUNDS_MIN {
            Verdict::Unknown
        } else if self.high < 1.0 {
            Verdict::Won
        } else if self.low > 1.0 {
            Verdict::Lost
        } else {
            Verdict::Level
        }
    }
}

/// The middle one, or between the middle two; of nothing, nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (half, even) = (values.len() / 2, values.len() % 2 == 0);
    match values.len() {
        0 => f64::NAN,
        _ if even => f64::midpoint(values[half - 1], values[half]),
        _ => values[half],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn an_interval_that_holds_one_is_level() {
        let verdict = |ratios: &[f64]| Ratio::of(ratios).unwrap().verdict();
        assert_eq!(verdict(&[0.8, 0.85, 0.9, 0.82, 0.84, 0.86]), Verdict::Won);
        assert_eq!(verdict(&[0.8, 1.2, 0.9, 1.1, 1.0, 1.3]), Verdict::Level);
        assert_eq!(verdict(&[1.2, 1.25, 1.3, 1.22, 1.21, 1.24]), Verdict::Lost);
        assert_eq!(verdict(&[0.8, 0.85]), Verdict::Unknown);
        assert!(Ratio::of(&[]).is_none());
    }

    #[test]
    fn the_interval_is_around_the_median() {
        let ratios: Vec<f64> = (0..12).map(|index| 0.9 + 0.01 * f64::from(index)).collect();
        let ratio = Ratio::of(&ratios).unwrap();
        assert!(0.9 <= ratio.low && ratio.low < ratio.median);
        assert!(ratio.median < ratio.high && ratio.high <= 1.01);
    }
}
