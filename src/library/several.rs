//! Several clips of one source at once: all of them are queued, or none. Those that lie close together share one window.

use super::{LibraryError, View, answered, at_once, barred, room_for, standing, title, view};
use crate::access::{self, Allowance, Asker};
use crate::app::rates::{Asked, Standing};
use crate::app::{App, What};
use crate::clip::{ClipId, Sharing};
use crate::index::batch::Batched;
use crate::index::queue::Submission;
use crate::recipe::{Recipe, Segment, Source};
use crate::seconds::Seconds;

/// Spans that come within so much of each other are fetched in one go: a request costs about as much as what lies between.
const CLOSE: Seconds = Seconds::from_whole(2);

/// A request to make several clips, at least one, of one source.
#[derive(Debug)]
pub struct Wishes {
    pub recipes: Vec<Recipe>,
    pub asker: Asker,
    /// The visitor's key for this request and the hash of its body.
    pub idempotency: Option<(String, String)>,
}

/// How many clips somebody may ask for at once; `None` where only the queue says.
pub fn most(app: &App, allowance: Allowance) -> Option<u32> {
    let limits = &app.settings.limits;
    let rate = Some(limits.clips_per_minute).filter(|most| *most > 0);
    match allowance {
        Allowance::Limited => rate.into_iter().chain(at_once(app, allowance)).min(),
        Allowance::Unlimited => None,
    }
}

/// Counts wishes against what their visitor may ask for, each as one, and all of them or none. What brings back an earlier answer is not
/// counted.
///
/// # Errors
/// When the link is refused, or the visitor asked too often.
pub async fn count(app: &App, wishes: &Wishes) -> Result<Option<Standing>, LibraryError> {
    if let Some(Source::Url(url)) = wishes.recipes.first().map(|recipe| &recipe.source) {
        app.tools.gate.judge(url, None)?;
    }
    if answered(app, &wishes.asker, wishes.idempotency.as_ref()).await? {
        return Ok(None);
    }
    let number = u32::try_from(wishes.recipes.len()).unwrap_or(u32::MAX);
    Ok(access::count_several(
        app,
        &wishes.asker,
        Asked::Clips,
        number,
    )?)
}

/// Accepts wishes: judged, weighed against the disk, queued together.
///
/// # Errors
/// When the link is refused, the disk or the queue is too full for all of them, or the key was used for another wish.
pub async fn submit(app: &App, wishes: Wishes) -> Result<Vec<View>, LibraryError> {
    let upload = match wishes.recipes.first().map(|recipe| &recipe.source) {
        Some(Source::Upload(id)) => app.index.upload(*id).await?,
        Some(Source::Url(_) | Source::File(_)) | None => None,
    };
    let spans: Vec<Segment> = wishes.recipes.iter().map(Recipe::span).collect();
    let ids: Vec<ClipId> = spans.iter().map(|_| ClipId(uuid::Uuid::now_v7())).collect();
    let mut submissions = Vec::with_capacity(ids.len());
    let mut bytes = 0_u64;
    let shared = groups(&spans);
    for (number, recipe) in wishes.recipes.into_iter().enumerate() {
        let title = title(app, &recipe, upload.as_ref()).await?;
        let length = recipe.length().as_f64();
        let estimate = app
            .costs()
            .guess(recipe.mode, length, recipe.segments.len());
        bytes = bytes.saturating_add(estimate.bytes);
        let sharing = match &recipe.source {
            Source::Url(_) => shared[number].map(|(first, span)| Sharing {
                first: ids[first],
                span,
            }),
            // What lies on this machine is not fetched.
            Source::Upload(_) | Source::File(_) => None,
        };
        submissions.push(Submission {
            id: ids[number],
            title,
            recipe,
            visitor: wishes.asker.mark.clone(),
            at_once: at_once(app, wishes.asker.allowance),
            estimate,
            // No header can hold a line break, so that none of these is somebody's own key.
            idempotency: wishes.idempotency.clone().map(|(key, body)| match number {
                0 => (key, body),
                number => (format!("{key}\n{number}"), body),
            }),
            sharing,
        });
    }
    room_for(app, bytes).await?;
    let limit = app.settings.limits.queue;
    match app.index.submit_all(app.now(), submissions, limit).await? {
        Batched::New(queued) => {
            let mut views = Vec::with_capacity(queued.len());
            for (clip, place, seq) in queued {
                metrics::counter!("meme_maker_clips_submitted_total").increment(1);
                app.bus.tell(clip.id, What::State(seq));
                views.push(standing(app, clip, Some(place)));
            }
            app.work.notify_waiters();
            Ok(views)
        }
        Batched::Known(ids) => {
            let mut views = Vec::with_capacity(ids.len());
            for id in ids {
                match view(app, id).await {
                    Ok(view) => views.push(view),
                    Err(LibraryError::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(views)
        }
        Batched::Barred(why) => Err(barred(app, why, upload.as_ref())),
    }
}

/// Of each span the first of those that it shares a window with, and what covers all of them; none of one that lies apart.
fn groups(spans: &[Segment]) -> Vec<Option<(usize, Segment)>> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|number| spans[*number].start);
    let mut groups: Vec<(Segment, Vec<usize>)> = Vec::new();
    for number in order {
        let span = spans[number];
        match groups.last_mut() {
            Some((covered, members)) if span.start <= covered.end + CLOSE => {
                covered.end = covered.end.max(span.end);
                members.push(number);
            }
            Some(_) | None => groups.push((span, vec![number])),
        }
    }
    let mut shared = vec![None; spans.len()];
    for (covered, members) in groups.into_iter().filter(|(_, members)| members.len() > 1) {
        // In the order in which they were asked for, which is that in which they are made.
        let first = members.iter().copied().min().unwrap_or_default();
        for member in members {
            shared[member] = Some((first, covered));
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: i64, end: i64) -> Segment {
        Segment {
            start: Seconds::from_whole(start),
            end: Seconds::from_whole(end),
        }
    }

    #[test]
    fn what_overlaps_or_nearly_touches_shares_a_window() {
        for (spans, expected) in [
            (vec![span(1, 2)], vec![None]),
            (vec![span(1, 2), span(5, 6)], vec![None, None]),
            (vec![span(1, 2), span(4, 6)], vec![Some((0, span(1, 6))); 2]),
            (
                vec![
                    span(20, 22),
                    span(4, 6),
                    span(21, 30),
                    span(5, 9),
                    span(50, 51),
                ],
                vec![
                    Some((0, span(20, 30))),
                    Some((1, span(4, 9))),
                    Some((0, span(20, 30))),
                    Some((1, span(4, 9))),
                    None,
                ],
            ),
            // One inside another does not end it.
            (
                vec![span(1, 30), span(2, 3), span(31, 32)],
                vec![Some((0, span(1, 32))); 3],
            ),
        ] {
            assert_eq!(groups(&spans), expected, "{spans:?}");
        }
    }
}
