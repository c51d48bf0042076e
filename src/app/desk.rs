//! The desk: how much is done at once with sources that are only looked at, who waits for which preview, and that nothing is done
//! twice at the same time. It does none of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::clip::Failure;
use crate::config;
use crate::sighting::SourceId;
use crate::store::previews::Part;
use crate::upload::UploadId;

/// Places at the desk.
pub struct Desk {
    probes: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    streams_per_visitor: usize,
    /// Streams that are open, the oldest first.
    seats: Arc<Mutex<Vec<Arc<Seat>>>>,
    uploads: Arc<Mutex<HashMap<UploadId, usize>>>,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    orders: Mutex<Orders>,
    /// Rung when there is a new order.
    pub bell: Notify,
}

#[derive(Default)]
struct Orders {
    given: HashMap<(SourceId, Part), Order>,
    next: u64,
    /// When visitors were last served, as the number of the order that was next then.
    served: HashMap<String, u64>,
}

/// A part that is wanted.
struct Order {
    number: u64,
    /// Who asked first.
    visitor: String,
    state: watch::Sender<Standing>,
    asked: Instant,
}

/// How far a part is.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    Waiting,
    /// From 0 to 1.
    Making(f64),
    Done,
    Failed(Failure, Instant),
}

/// A place for looking at a source; free again when this is dropped.
pub struct Probing {
    _turn: OwnedMutexGuard<()>,
    _place: OwnedSemaphorePermit,
}

/// A stream in hand; its place is free again when this is dropped.
pub struct Streaming {
    seat: Arc<Seat>,
    seats: Arc<Mutex<Vec<Arc<Seat>>>>,
}

/// A stream's place.
struct Seat {
    visitor: String,
    /// When a piece was last taken.
    taken: Mutex<Instant>,
    /// Set when the place was given to somebody else.
    gone: CancellationToken,
    /// None once it is free.
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

/// An upload that is being read; it does not expire until this is dropped.
pub struct Reading {
    upload: UploadId,
    uploads: Arc<Mutex<HashMap<UploadId, usize>>>,
}

/// Who makes it: what takes a moment is not kept waiting by what takes minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Quick,
    Slow,
}

impl Lane {
    /// The lane of a part.
    pub const fn of(part: Part) -> Lane {
        match part {
            Part::Filmstrip | Part::Waveform | Part::Texture => Lane::Quick,
            Part::Copy | Part::Preview => Lane::Slow,
        }
    }
}

/// More parts than this do not wait.
const MOST_ORDERS: usize = 64;
/// Nor more than this for one visitor.
const MOST_OF_ONE: usize = 8;
/// A stream of which nobody takes anything for so long gives its place to whoever wants one.
const IDLE: Duration = Duration::from_secs(60);
/// What failed is not tried again for so long.
const FAILED_FOR: Duration = Duration::from_secs(120);

impl Desk {
    /// With so many places.
    pub fn new(settings: &config::Sources) -> Desk {
        Desk {
            probes: Arc::new(Semaphore::new(settings.probes)),
            streams: Arc::new(Semaphore::new(settings.streams)),
            streams_per_visitor: settings.streams_per_visitor,
            seats: Arc::default(),
            uploads: Arc::default(),
            turns: Mutex::default(),
            orders: Mutex::default(),
            bell: Notify::new(),
        }
    }

    /// A place for looking at a source; `None` when none gets free in a moment. A visitor looks at one after the other.
    pub async fn probe(&self, visitor: &str) -> Option<Probing> {
        const OWN: Duration = Duration::from_secs(10);
        const MOMENT: Duration = Duration::from_secs(2);
        let own = format!("looks of {visitor}");
        let turn = tokio::time::timeout(OWN, self.turn(&own)).await.ok()?;
        let place = Arc::clone(&self.probes).acquire_owned();
        let place = tokio::time::timeout(MOMENT, place).await.ok()?.ok()?;
        Some(Probing {
            _turn: turn,
            _place: place,
        })
    }

    /// A place for a stream; `None` when the visitor, or all together, have as many as they may.
    pub fn stream(&self, visitor: String) -> Option<Streaming> {
        let mut seats = lock(&self.seats);
        let own = |seat: &&Arc<Seat>| seat.visitor == visitor;
        if seats.iter().filter(own).count() >= self.streams_per_visitor {
            // The visitor's own idle one, if there is any.
            drop(Seat::give_up(&mut seats, |seat| seat.visitor == visitor)?);
        }
        let place = match Arc::clone(&self.streams).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => Seat::give_up(&mut seats, |_| true)?,
        };
        let seat = Arc::new(Seat {
            visitor,
            taken: Mutex::new(Instant::now()),
            gone: CancellationToken::new(),
            place: Mutex::new(Some(place)),
        });
        seats.push(Arc::clone(&seat));
        drop(seats);
        Some(Streaming {
            seat,
            seats: Arc::clone(&self.seats),
        })
    }

    /// Keeps an upload while it is read.
    pub fn read(&self, upload: UploadId) -> Reading {
        *lock(&self.uploads).entry(upload).or_default() += 1;
        Reading {
            upload,
            uploads: Arc::clone(&self.uploads),
        }
    }

    /// Whether somebody reads an upload.
    pub fn reads(&self, upload: UploadId) -> bool {
        lock(&self.uploads).contains_key(&upload)
    }

    /// Waits until nobody else does the same thing.
    pub async fn turn(&self, thing: &str) -> OwnedMutexGuard<()> {
        let own = {
            let mut turns = lock(&self.turns);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(thing.to_owned()).or_default())
        };
        own.lock_owned().await
    }

    /// Orders a part unless it is ordered already, and follows it; `None` when too many wait.
    pub fn order(
        &self,
        visitor: &str,
        id: SourceId,
        part: Part,
    ) -> Option<watch::Receiver<Standing>> {
        let mut orders = lock(&self.orders);
        if let Some(order) = orders.given.get_mut(&(id, part)) {
            let over = match &*order.state.borrow() {
                Standing::Waiting | Standing::Making(_) => false,
                Standing::Failed(_, at) => at.elapsed() > FAILED_FOR,
                // It was there, and has gone again.
                Standing::Done => true,
            };
            if !over {
                order.asked = Instant::now();
                return Some(order.state.subscribe());
            }
        }
        orders
            .given
            .retain(|_, order| match &*order.state.borrow() {
                Standing::Waiting | Standing::Making(_) => true,
                Standing::Failed(_, at) => at.elapsed() <= FAILED_FOR,
                Standing::Done => false,
            });
        let waiting = |order: &&Order| *order.state.borrow() == Standing::Waiting;
        let own = |order: &&Order| waiting(order) && order.visitor == visitor;
        if orders.given.values().filter(waiting).count() >= MOST_ORDERS
            || orders.given.values().filter(own).count() >= MOST_OF_ONE
        {
            return None;
        }
        let (state, following) = watch::channel(Standing::Waiting);
        orders.next += 1;
        let order = Order {
            number: orders.next,
            visitor: visitor.to_owned(),
            state,
            asked: Instant::now(),
        };
        orders.given.insert((id, part), order);
        drop(orders);
        self.bell.notify_waiters();
        Some(following)
    }

    /// How far a part is, if it was ordered; asking keeps it wanted.
    pub fn standing(&self, id: SourceId, part: Part) -> Option<Standing> {
        let mut orders = lock(&self.orders);
        let order = orders.given.get_mut(&(id, part))?;
        order.asked = Instant::now();
        let standing = order.state.borrow().clone();
        Some(standing)
    }

    /// Takes an order of a lane in hand: of the visitor served longest ago, the oldest.
    pub fn take(&self, lane: Lane) -> Option<(SourceId, Part)> {
        let mut orders = lock(&self.orders);
        let Orders {
            given,
            next,
            served,
        } = &mut *orders;
        let waiting = given.iter().filter(|((_, part), order)| {
            Lane::of(*part) == lane && *order.state.borrow() == Standing::Waiting
        });
        let last = |visitor: &str| served.get(visitor).copied().unwrap_or(0);
        let (key, order) = waiting.min_by_key(|(_, order)| (last(&order.visitor), order.number))?;
        order.state.send_replace(Standing::Making(0.0));
        let (key, visitor) = (*key, order.visitor.clone());
        // Who has nothing here any more is as good as new.
        served.retain(|visitor, _| given.values().any(|order| order.visitor == *visitor));
        *next += 1;
        served.insert(visitor, *next);
        Some(key)
    }

    /// Notes how far a part is.
    pub fn note(&self, id: SourceId, part: Part, standing: Standing) {
        if let Some(order) = lock(&self.orders).given.get(&(id, part)) {
            order.state.send_replace(standing);
        }
    }

    /// Forgets an order, as if it had never been given.
    pub fn drop_order(&self, id: SourceId, part: Part) {
        lock(&self.orders).given.remove(&(id, part));
    }

    /// How long ago somebody asked for a part.
    pub fn unasked_for(&self, id: SourceId, part: Part) -> Duration {
        let orders = lock(&self.orders);
        let order = orders.given.get(&(id, part));
        order.map_or(Duration::MAX, |order| {
            // Whoever follows it asks all the time.
            if order.state.receiver_count() > 0 {
                Duration::ZERO
            } else {
                order.asked.elapsed()
            }
        })
    }
}

impl Seat {
    /// Takes the place of the stream that has been idle the longest among those that may lose it; `None` when none is idle.
    fn give_up(
        seats: &mut Vec<Arc<Seat>>,
        may: impl Fn(&Seat) -> bool,
    ) -> Option<OwnedSemaphorePermit> {
        let idle = |seat: &Seat| lock(&seat.taken).elapsed();
        let (number, _) = seats
            .iter()
            .enumerate()
            .filter(|(_, seat)| may(seat) && idle(seat) >= IDLE)
            .max_by_key(|(_, seat)| idle(seat))?;
        let seat = seats.remove(number);
        seat.gone.cancel();
        lock(&seat.place).take()
    }
}

impl Streaming {
    /// Notes that a piece is being taken; what is returned is set when the place has been given to somebody else.
    pub fn taking(&self) -> CancellationToken {
        *lock(&self.seat.taken) = Instant::now();
        self.seat.gone.clone()
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        lock(&self.seats).retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        drop(lock(&self.seat.place).take());
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut uploads = lock(&self.uploads);
        if let Some(count) = uploads.get_mut(&self.upload) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                uploads.remove(&self.upload);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(streams: usize, streams_per_visitor: usize) -> Desk {
        Desk::new(&config::Sources {
            streams,
            streams_per_visitor,
            ..config::Sources::default()
        })
    }

    #[test]
    fn streams_are_bounded_for_one_and_for_all() {
        let desk = desk(3, 2);
        let one = desk.stream("a".into());
        let two = desk.stream("a".into());
        assert!(one.is_some() && two.is_some() && desk.stream("a".into()).is_none());
        let three = desk.stream("b".into());
        assert!(three.is_some() && desk.stream("c".into()).is_none());
        drop(one);
        assert!(desk.stream("a".into()).is_some());
    }

    #[test]
    fn an_upload_is_read_until_the_last_reader_is_done() {
        let (desk, upload) = (desk(1, 1), UploadId(uuid::Uuid::new_v4()));
        let (one, two) = (desk.read(upload), desk.read(upload));
        drop(one);
        assert!(desk.reads(upload));
        drop(two);
        assert!(!desk.reads(upload));
    }

    #[test]
    fn the_same_part_is_ordered_once_and_the_oldest_comes_first() {
        let desk = desk(1, 1);
        let [one, two] = [(); 2].map(|()| SourceId(uuid::Uuid::now_v7()));
        let first = desk.order("a", one, Part::Filmstrip).unwrap();
        desk.order("a", two, Part::Waveform).unwrap();
        desk.order("a", two, Part::Preview).unwrap();
        let again = desk.order("a", one, Part::Filmstrip).unwrap();
        assert_eq!(desk.take(Lane::Quick), Some((one, Part::Filmstrip)));
        assert_eq!(desk.take(Lane::Slow), Some((two, Part::Preview)));
        assert_eq!(desk.take(Lane::Slow), None);
        desk.note(one, Part::Filmstrip, Standing::Done);
        assert_eq!(
            (&*first.borrow(), &*again.borrow()),
            (&Standing::Done, &Standing::Done)
        );
        assert_eq!(desk.take(Lane::Quick), Some((two, Part::Waveform)));
        // What has gone is made again.
        desk.order("a", one, Part::Filmstrip).unwrap();
        assert_eq!(desk.standing(one, Part::Filmstrip), Some(Standing::Waiting));
    }

    #[test]
    fn an_idle_stream_gives_its_place_to_who_wants_one() {
        let desk = desk(2, 2);
        let idle = desk.stream("a".into()).unwrap();
        let busy = desk.stream("b".into()).unwrap();
        assert!(desk.stream("c".into()).is_none());
        let long_ago = Instant::now().checked_sub(IDLE * 2).unwrap();
        *lock(&idle.seat.taken) = long_ago;
        *lock(&busy.seat.taken) = long_ago;
        assert!(!busy.taking().is_cancelled());
        let third = desk.stream("c".into());
        assert!(third.is_some() && idle.taking().is_cancelled() && !busy.taking().is_cancelled());
        // Going away twice frees nothing twice.
        drop(idle);
        assert!(desk.stream("d".into()).is_none());
        drop(busy);
        assert!(desk.stream("d".into()).is_some());
    }

    #[test]
    fn visitors_are_served_in_turn_and_none_orders_everything() {
        let desk = desk(1, 1);
        let ids: Vec<SourceId> = (0..12).map(|_| SourceId(uuid::Uuid::now_v7())).collect();
        for id in &ids[..MOST_OF_ONE] {
            desk.order("greedy", *id, Part::Filmstrip).unwrap();
        }
        assert!(desk.order("greedy", ids[10], Part::Filmstrip).is_none());
        desk.order("modest", ids[11], Part::Filmstrip).unwrap();
        assert_eq!(desk.take(Lane::Quick).unwrap().0, ids[0]);
        assert_eq!(desk.take(Lane::Quick).unwrap().0, ids[11]);
        assert_eq!(desk.take(Lane::Quick).unwrap().0, ids[1]);
    }

    #[tokio::test]
    async fn a_visitor_looks_at_one_source_after_the_other() {
        let desk = Desk::new(&config::Sources {
            probes: 2,
            ..config::Sources::default()
        });
        let first = desk.probe("a").await.unwrap();
        let second = tokio::time::timeout(Duration::from_millis(50), desk.probe("a"));
        assert!(second.await.is_err(), "two at once");
        let other = desk.probe("b").await;
        assert!(other.is_some());
        drop(first);
        assert!(desk.probe("a").await.is_some());
    }
}
