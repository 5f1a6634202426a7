//! Quality as a score: the E-model of ITU-T G.107 with its default values, so that R = 93.2 − Id − Ie,eff.

/// How a codec suffers (G.113 appendix I).
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct CodecImpairment {
    /// Ie: impairment without loss.
    pub equipment: f64,
    /// Bpl: robustness against random loss.
    pub loss_robustness: f64,
}

/// G.711 with packet loss concealment.
pub const G711_WITH_CONCEALMENT: CodecImpairment = CodecImpairment { equipment: 0.0, loss_robustness: 25.1 };
/// G.711 without concealment.
pub const G711_PLAIN: CodecImpairment = CodecImpairment { equipment: 0.0, loss_robustness: 4.3 };

/// R with every default value of G.107 and no delay, no loss.
pub const BEST_RATING: f64 = 93.2;

/// The rating R, 0.0..=93.2. `delay_ms` is mouth to ear one way; `loss_ratio` 0.0..=1.0 of the packets, random.
pub fn rating(codec: CodecImpairment, delay_ms: f64, loss_ratio: f64) -> f64 {
    let delay_ms = delay_ms.max(0.0);
    let mut delay_impairment = 0.024 * delay_ms;
    if delay_ms > 177.3 {
        delay_impairment += 0.11 * (delay_ms - 177.3);
    }
    let loss_percent = loss_ratio.clamp(0.0, 1.0) * 100.0;
    let equipment = codec.equipment + (95.0 - codec.equipment) * loss_percent / (loss_percent + codec.loss_robustness);
    (BEST_RATING - delay_impairment - equipment).clamp(0.0, BEST_RATING)
}

/// Mean opinion score 1.0..=4.5 of a rating (G.107 annex B).
pub fn mean_opinion_score(rating: f64) -> f64 {
    if rating <= 0.0 {
        return 1.0;
    }
    if rating >= 100.0 {
        return 4.5;
    }
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g711_without_loss_is_4_4_and_falls_with_delay_and_loss() {
        let best = mean_opinion_score(rating(G711_WITH_CONCEALMENT, 0.0, 0.0));
        assert!((best - 4.41).abs() < 0.01, "{best}");
        let score = |delay, loss| mean_opinion_score(rating(G711_WITH_CONCEALMENT, delay, loss));
        assert!(score(150.0, 0.0) < best && score(400.0, 0.0) < score(150.0, 0.0));
        assert!(score(50.0, 0.05) < score(50.0, 0.01));
        assert!(mean_opinion_score(rating(G711_PLAIN, 50.0, 0.05)) < score(50.0, 0.05));
    }

    #[test]
    fn the_ends_are_held() {
        assert_eq!(mean_opinion_score(rating(G711_PLAIN, 5000.0, 1.0)), 1.0);
        assert_eq!(mean_opinion_score(100.0), 4.5);
        assert_eq!(rating(G711_PLAIN, -5.0, -1.0), BEST_RATING);
    }
}
