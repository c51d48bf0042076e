//! Several clips at once: all of them are queued in one transaction, or none.

use super::clips::{Place, place};
use super::queue::{Answered, Barred, Submission, answered, barred, insert};
use super::{Index, IndexError};
use crate::clip::{Clip, ClipId};
use crate::timestamp::Timestamp;

/// What became of clips that were asked for together.
#[derive(Clone, Debug)]
pub enum Batched {
    /// They are queued, each at its place and with the number of its event.
    New(Vec<(Clip, Place, i64)>),
    /// The same request was answered before, with these.
    Known(Vec<ClipId>),
    Barred(Barred),
}

impl Index {
    /// Puts clips of one source and visitor into the queue, unless the key of the first is known or there is no place for all of them.
    ///
    /// # Errors
    /// When the index does not take them.
    pub async fn submit_all(
        &self,
        now: Timestamp,
        submissions: Vec<Submission>,
        queue_limit: u32,
    ) -> Result<Batched, IndexError> {
        self.write(move |connection| {
            let mut known = Vec::new();
            for submission in &submissions {
                let Some((key, body)) = &submission.idempotency else {
                    continue;
                };
                match answered(connection, &submission.visitor, key, body)? {
                    Answered::No => {}
                    Answered::Otherwise => return Ok(Batched::Barred(Barred::KeyReused)),
                    Answered::With(id) => known.push(id),
                }
            }
            // Some may have been removed since.
            if !known.is_empty() {
                return Ok(Batched::Known(known));
            }
            let more = u32::try_from(submissions.len()).unwrap_or(u32::MAX);
            if let Some(first) = submissions.first()
                && let Some(barred) = barred(connection, now, first, more, queue_limit)?
            {
                return Ok(Batched::Barred(barred));
            }
            let mut queued = Vec::with_capacity(submissions.len());
            for submission in &submissions {
                let (clip, seq) = insert(connection, now, submission)?;
                let place = place(connection, clip.id)?;
                queued.push((clip, place, seq));
            }
            Ok(Batched::New(queued))
        })
        .await
    }
}
