//! When tokens were last seen, to the minute: a token in use costs one write a minute, however often it comes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// The minutes that were written down. It holds tokens that count alone, which operators make.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<TokenId, Timestamp>>);

const MINUTE: i64 = 60_000;

impl Uses {
    /// The minute to write down for a token that is used now; `None` when that was done.
    pub fn news(&self, id: &TokenId, now: Timestamp) -> Option<Timestamp> {
        let minute = Timestamp(now.0 - now.0.rem_euclid(MINUTE));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(id.clone(), minute);
        (before != Some(minute)).then_some(minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_news_once_a_minute_and_token() {
        let uses = Uses::default();
        let (a, b) = (TokenId::new([1; 8]), TokenId::new([2; 8]));
        assert_eq!(uses.news(&a, Timestamp(61_000)), Some(Timestamp(60_000)));
        assert_eq!(uses.news(&a, Timestamp(119_999)), None);
        assert_eq!(uses.news(&b, Timestamp(119_999)), Some(Timestamp(60_000)));
        assert_eq!(uses.news(&a, Timestamp(120_000)), Some(Timestamp(120_000)));
    }
}
