//! Token buckets: how much a client may do per second. Time is passed in.

/// A bucket that refills steadily and holds at most one second's worth (at least one token).
#[derive(Debug, Clone, Copy)]
pub struct TokenBucket {
    rate_per_s: f64,
    tokens: f64,
    refilled_ms: u64,
}

impl TokenBucket {
    /// A full bucket; `None` for a rate of 0, which means no limit.
    #[must_use]
    pub fn new(rate_per_s: f64, now_ms: u64) -> Option<Self> {
        (rate_per_s > 0.0).then(|| Self { rate_per_s, tokens: rate_per_s.max(1.0), refilled_ms: now_ms })
    }

    /// Takes `amount`; the bucket may go below zero, for what was already read must be paid.
    pub fn take(&mut self, amount: f64, now_ms: u64) {
        self.refill(now_ms);
        self.tokens -= amount;
    }

    /// Whether anything may be taken now.
    pub fn has_tokens(&mut self, now_ms: u64) -> bool {
        self.refill(now_ms);
        self.tokens > 0.0
    }

    /// Milliseconds until something may be taken again; 0 when it may now.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive, small number of milliseconds"
    )]
    pub fn wait_ms(&self) -> u64 {
        if self.tokens > 0.0 {
            return 0;
        }
        ((-self.tokens / self.rate_per_s) * 1000.0).ceil().min(3_600_000.0) as u64 + 1
    }

    #[allow(clippy::cast_precision_loss, reason = "milliseconds between two refills are far below 2^52")]
    fn refill(&mut self, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.refilled_ms);
        if elapsed_ms > 0 {
            self.tokens = (self.tokens + self.rate_per_s * elapsed_ms as f64 / 1000.0).min(self.rate_per_s.max(1.0));
            self.refilled_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_rate_through_and_no_more() {
        let Some(mut bucket) = TokenBucket::new(10.0, 0) else { panic!("a rate makes a bucket") };
        let taken = (0..100)
            .filter(|_| {
                bucket.has_tokens(0) && {
                    bucket.take(1.0, 0);
                    true
                }
            })
            .count();
        assert_eq!(taken, 10);
        assert!(!bucket.has_tokens(0));
        assert!(bucket.has_tokens(200));
    }

    #[test]
    fn a_debt_names_the_wait_that_pays_it() {
        let Some(mut bucket) = TokenBucket::new(100.0, 0) else { panic!("a rate makes a bucket") };
        bucket.take(150.0, 0);
        let wait = bucket.wait_ms();
        assert!((500..=502).contains(&wait));
        assert!(bucket.has_tokens(wait));
    }

    #[test]
    fn no_rate_is_no_bucket() {
        assert!(TokenBucket::new(0.0, 0).is_none());
    }
}
