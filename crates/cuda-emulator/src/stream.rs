//! Streams and events. Work is only queued, and run when something waits for it: as late as a real
//! device may.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{
    counters::{self, Counter},
    memory,
    status::{ERROR_INVALID_HANDLE, ERROR_INVALID_VALUE, ERROR_NOT_READY, Status},
};

/// What a stream is to do.
pub(crate) type Job = Box<dyn FnOnce() -> Result<(), Status> + Send>;

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stream {
    /// The one that all others wait for, and that waits for all others, unless they were created
    /// not to.
    Legacy,
    /// Each thread's own.
    Thread(u64),
    /// From `cuStreamCreate`.
    Created(u64),
}

enum Work {
    Run(Job),
    Wait(Stream, u64),
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    /// How many jobs were ever queued, and how many are done.
    given: u64,
    done: u64,
    /// Whether the legacy stream and this one wait for each other.
    blocking: bool,
    destroyed: bool,
    /// Bytes that are free once the queue has run.
    freed: usize,
}

struct Event {
    /// The work that must be done before it has happened: none, if it was never recorded.
    target: Option<(Stream, u64)>,
    time: Arc<Mutex<Option<Instant>>>,
}

#[derive(Default)]
struct State {
    queues: HashMap<Stream, Queue>,
    events: HashMap<u64, Event>,
    /// The device's error: from then on nothing works, as on a real one.
    error: Option<Status>,
}

/// How many launches a stream queues before the caller has to wait.
const DEPTH: usize = 4096;
/// How much memory may wait to be freed.
const FREED: usize = 1 << 30;

fn state() -> MutexGuard<'static, State> {
    static STATE: OnceLock<Mutex<State>> = OnceLock::new();
    STATE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that was never given before, in the form of a pointer.
fn handle() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0x1000);
    NEXT.fetch_add(0x10, Ordering::Relaxed)
}

fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    thread_local!(static ID: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    ID.with(|id| *id)
}

/// The stream that a handle stands for.
pub(crate) fn stream(handle: u64) -> Result<Stream, Status> {
    match handle {
        0 | 1 => Ok(Stream::Legacy),
        2 => Ok(Stream::Thread(this_thread())),
        handle => {
            let stream = Stream::Created(handle);
            let known = state().queues.get(&stream).is_some_and(|queue| !queue.destroyed);
            if known { Ok(stream) } else { Err(ERROR_INVALID_HANDLE) }
        }
    }
}

/// A new stream's handle.
pub(crate) fn create(blocking: bool) -> u64 {
    let handle = handle();
    state().queues.insert(Stream::Created(handle), Queue { blocking, ..Queue::default() });
    handle
}

/// Forgets a stream; its queued work is still done.
pub(crate) fn destroy(stream: Stream) {
    if let Some(queue) = state().queues.get_mut(&stream) {
        queue.destroyed = true;
    }
}

/// The device's error, if there is one.
pub(crate) fn check() -> Result<(), Status> {
    state().error.map_or(Ok(()), Err)
}

impl State {
    fn queue(&mut self, stream: Stream) -> &mut Queue {
        let new = || Queue { blocking: stream != Stream::Legacy, ..Queue::default() };
        self.queues.entry(stream).or_insert_with(new)
    }

    /// Queues work, after everything that the stream must wait for.
    fn give(&mut self, stream: Stream, work: Work) -> u64 {
        let own = self.queue(stream).blocking;
        let waits = |other: &Stream, queue: &Queue| {
            queue.done < queue.given
                && match stream {
                    Stream::Legacy => queue.blocking && *other != Stream::Legacy,
                    _ => own && *other == Stream::Legacy,
                }
        };
        let waits: Vec<_> = (self.queues.iter())
            .filter(|(other, queue)| waits(other, queue))
            .map(|(other, queue)| Work::Wait(*other, queue.given))
            .collect();
        let queue = self.queue(stream);
        queue.given += waits.len() as u64 + 1;
        queue.work.extend(waits);
        queue.work.push_back(work);
        queue.given
    }

    fn done(&self, stream: Stream, target: u64) -> bool {
        self.queues.get(&stream).is_none_or(|queue| queue.done >= target)
    }
}

/// Queues a job in a stream.
pub(crate) fn give(stream: Stream, job: Job) -> Result<(), Status> {
    give_and_free(stream, job, 0)
}

/// Queues a job in a stream, after which this many bytes are free.
pub(crate) fn give_and_free(stream: Stream, job: Job, bytes: usize) -> Result<(), Status> {
    check()?;
    let mut state = state();
    let given = state.give(stream, Work::Run(job));
    let queue = state.queue(stream);
    queue.freed += bytes;
    let full = if queue.freed > FREED {
        queue.freed = 0;
        Some(given)
    } else if queue.work.len() > DEPTH {
        Some(given - DEPTH as u64 / 2)
    } else {
        None
    };
    drop(state);
    if let Some(target) = full {
        run(stream, target);
    }
    Ok(())
}

/// Does the stream's queued work, up to a number.
fn run(stream: Stream, target: u64) {
    // One at a time: a stream's work is done in order, whichever thread waits for it.
    static EXECUTION: Mutex<()> = Mutex::new(());
    let _alone = lock(&EXECUTION);
    run_alone(stream, target);
}

fn run_alone(stream: Stream, target: u64) {
    loop {
        let mut held = state();
        let Some(queue) = held.queues.get_mut(&stream) else { return };
        if queue.done >= target {
            return;
        }
        let Some(work) = queue.work.pop_front() else { return };
        let failed = held.error.is_some();
        drop(held);
        let outcome = match work {
            Work::Wait(other, target) => {
                run_alone(other, target);
                Ok(())
            }
            // Work queued earlier is dropped, as on a real device.
            Work::Run(_) if failed => Ok(()),
            Work::Run(job) => job(),
        };
        let mut held = state();
        if let Err(error) = outcome {
            held.error.get_or_insert(error);
        }
        if let Some(queue) = held.queues.get_mut(&stream) {
            queue.done += 1;
        }
    }
}

/// Waits for work; this counts as a synchronisation if it was not done yet.
fn wait_for(stream: Stream, target: u64) {
    if !state().done(stream, target) {
        counters::add(Counter::Synchronisations);
        run(stream, target);
    }
}

/// How much a stream was given.
fn given(stream: Stream) -> u64 {
    state().queues.get(&stream).map_or(0, |queue| queue.given)
}

/// Waits for a stream. The legacy one waits for all streams that wait for it.
pub(crate) fn synchronise(stream: Stream) -> Result<(), Status> {
    check()?;
    if stream == Stream::Legacy {
        let others: Vec<(Stream, u64)> = (state().queues.iter())
            .filter(|(_, queue)| queue.blocking)
            .map(|(stream, queue)| (*stream, queue.given))
            .collect();
        for (other, target) in others {
            wait_for(other, target);
        }
    }
    wait_for(stream, given(stream));
    memory::trim(None);
    check()
}

/// Waits for everything.
pub(crate) fn synchronise_all() -> Result<(), Status> {
    check()?;
    let mut all: Vec<(Stream, u64)> =
        state().queues.iter().map(|(stream, queue)| (*stream, queue.given)).collect();
    all.sort_unstable();
    let waiting = all.iter().any(|&(stream, target)| !state().done(stream, target));
    if waiting {
        counters::add(Counter::Synchronisations);
        for (stream, target) in all {
            run(stream, target);
        }
    }
    state().queues.retain(|_, queue| !queue.destroyed || queue.done < queue.given);
    memory::trim(None);
    check()
}

/// Whether everything in a stream is done. If not, it is done afterwards, so that the next query
/// says yes.
pub(crate) fn query(stream: Stream) -> Result<(), Status> {
    check()?;
    let target = given(stream);
    if state().done(stream, target) {
        return Ok(());
    }
    run(stream, target);
    check()?;
    Err(ERROR_NOT_READY)
}

/// A new event's handle.
pub(crate) fn create_event() -> u64 {
    let handle = handle();
    state().events.insert(handle, Event { target: None, time: Arc::default() });
    handle
}

/// Forgets an event.
pub(crate) fn destroy_event(event: u64) -> Result<(), Status> {
    state().events.remove(&event).map(drop).ok_or(ERROR_INVALID_HANDLE)
}

/// Records an event: it happens when the stream's work so far is done.
pub(crate) fn record(event: u64, stream: Stream) -> Result<(), Status> {
    check()?;
    counters::add(Counter::Events);
    let mut state = state();
    if !state.events.contains_key(&event) {
        return Err(ERROR_INVALID_HANDLE);
    }
    let time = Arc::new(Mutex::new(None));
    let happened = Arc::clone(&time);
    let mark: Job = Box::new(move || {
        *lock(&happened) = Some(Instant::now());
        Ok(())
    });
    let target = state.give(stream, Work::Run(mark));
    state.events.insert(event, Event { target: Some((stream, target)), time });
    Ok(())
}

fn target(event: u64) -> Result<Option<(Stream, u64)>, Status> {
    state().events.get(&event).map(|event| event.target).ok_or(ERROR_INVALID_HANDLE)
}

/// Makes the stream's future work wait for an event in its current recording.
pub(crate) fn wait(stream: Stream, event: u64) -> Result<(), Status> {
    check()?;
    match target(event)? {
        // The order within a stream is kept anyway.
        Some((other, target)) if other != stream => {
            let mut state = state();
            if !state.done(other, target) {
                state.give(stream, Work::Wait(other, target));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Waits for an event.
pub(crate) fn synchronise_event(event: u64) -> Result<(), Status> {
    check()?;
    if let Some((stream, target)) = target(event)? {
        wait_for(stream, target);
    }
    check()
}

/// Whether an event has happened; see [`query`].
pub(crate) fn query_event(event: u64) -> Result<(), Status> {
    check()?;
    match target(event)? {
        Some((stream, target)) if !state().done(stream, target) => {
            run(stream, target);
            check()?;
            Err(ERROR_NOT_READY)
        }
        _ => Ok(()),
    }
}

/// Milliseconds between two events.
pub(crate) fn elapsed(start: u64, end: u64) -> Result<f32, Status> {
    let time = |event: u64| match state().events.get(&event) {
        None => Err(ERROR_INVALID_HANDLE),
        Some(Event { target: None, .. }) => Err(ERROR_INVALID_VALUE),
        Some(event) => lock(&event.time).ok_or(ERROR_NOT_READY),
    };
    let (start, end) = (time(start)?, time(end)?);
    Ok(end.saturating_duration_since(start).as_secs_f32() * 1e3)
}
