//! Pictures that wait for a model, and the threads that classify them together.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError, Weak,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use taper_model::{ActivationMap, Classifier, Explanation, Input, Prediction};
use tokio::sync::oneshot;

use crate::{metrics::ModelMetrics, models::Model, options::ServeOptions};

/// A picture to be classified.
#[derive(Debug, Clone)]
pub(crate) enum Picture {
    /// The content of a picture file.
    File(Bytes),
    /// The same; an activation map is wanted too.
    Explained(Bytes),
    /// What the network takes, u8 `[size, size, 3]`.
    Pixels(Vec<u8>),
}

/// The answer for a picture, and the version of the model that gave it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) prediction: taper_model::Result<Prediction>,
    /// Where the network saw what speaks for the class, if that was asked for.
    pub(crate) map: Option<ActivationMap>,
    pub(crate) version: u64,
}

/// Why a picture was not classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Too many are waiting.
    Full,
    /// The classification itself failed.
    Failed,
}

struct Job {
    picture: Picture,
    reply: oneshot::Sender<Answer>,
}

/// The queue of a model.
#[derive(Debug)]
pub(crate) struct Batcher {
    sender: SyncSender<Job>,
    metrics: ModelMetrics,
}

/// Pictures of one request, which may be more than there is room for: those that come later wait
/// until earlier ones are answered.
#[derive(Debug)]
pub(crate) struct Together<'a> {
    queue: &'a Batcher,
    waiting: VecDeque<oneshot::Receiver<Answer>>,
    answers: Vec<Answer>,
}

impl Together<'_> {
    /// Puts a picture at the end.
    pub(crate) async fn add(&mut self, picture: Picture) -> std::result::Result<(), NotTaken> {
        let mut picture = picture;
        loop {
            picture = match self.queue.try_add(picture) {
                Ok(answer) => {
                    self.waiting.push_back(answer);
                    return Ok(());
                }
                Err((NotTaken::Full, back)) if !self.waiting.is_empty() => back,
                Err((reason, _)) => return Err(reason),
            };
            self.next().await?;
        }
    }

    async fn next(&mut self) -> std::result::Result<(), NotTaken> {
        if let Some(first) = self.waiting.pop_front() {
            self.answers.push(first.await.map_err(|_| NotTaken::Failed)?);
        }
        Ok(())
    }

    /// The answers, in the order of the pictures.
    pub(crate) async fn answers(mut self) -> std::result::Result<Vec<Answer>, NotTaken> {
        while !self.waiting.is_empty() {
            self.next().await?;
        }
        Ok(self.answers)
    }
}

impl Batcher {
    /// Starts the threads of a model, which end when the queue is dropped. There are as many as
    /// processors, up to a few, so that a picture that comes alone is begun at once while another
    /// one is being classified.
    pub(crate) fn start(model: Weak<Model>, options: &ServeOptions, metrics: ModelMetrics) -> Self {
        let (sender, receiver) = sync_channel(options.queue);
        let receiver = Arc::new(Mutex::new(receiver));
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS);
        let processors = Arc::new(Processors::new(workers));
        for _ in 0..workers {
            let worker = Worker {
                model: model.clone(),
                receiver: Arc::clone(&receiver),
                processors: Arc::clone(&processors),
                metrics: metrics.clone(),
                most: options.batch,
                delay: options.delay,
            };
            // Without threads every request is told that it failed, so nothing hangs.
            let named = std::thread::Builder::new().name("classify".into());
            if let Err(error) = named.spawn(|| worker.work()) {
                tracing::error!("a thread of a model cannot be started: {error}");
            }
        }
        Self { sender, metrics }
    }

    /// Puts a picture at the end; the answer comes through the channel.
    pub(crate) fn add(
        &self,
        picture: Picture,
    ) -> std::result::Result<oneshot::Receiver<Answer>, NotTaken> {
        self.try_add(picture).map_err(|(reason, _)| reason)
    }

    /// For the pictures of one request.
    pub(crate) fn together(&self) -> Together<'_> {
        Together { queue: self, waiting: VecDeque::new(), answers: Vec::new() }
    }

    fn try_add(
        &self,
        picture: Picture,
    ) -> std::result::Result<oneshot::Receiver<Answer>, (NotTaken, Picture)> {
        let (reply, answer) = oneshot::channel();
        match self.sender.try_send(Job { picture, reply }) {
            Ok(()) => {
                self.metrics.waiting.inc();
                Ok(answer)
            }
            Err(TrySendError::Full(job)) => {
                self.metrics.refused.inc();
                Err((NotTaken::Full, job.picture))
            }
            Err(TrySendError::Disconnected(job)) => Err((NotTaken::Failed, job.picture)),
        }
    }
}

/// The processors that a model's threads share: a batch has as many as it has pictures, so that a
/// large one is not slowed down by others beside it.
#[derive(Debug)]
struct Processors {
    all: usize,
    free: Mutex<usize>,
    freed: Condvar,
}

/// Processors that are taken, until it is dropped.
#[derive(Debug)]
struct Busy<'a> {
    of: &'a Processors,
    taken: usize,
}

impl Processors {
    fn new(all: usize) -> Self {
        Self { all, free: Mutex::new(all), freed: Condvar::new() }
    }

    /// Waits for so many, or for all that there are.
    fn take(&self, wanted: usize) -> Busy<'_> {
        let mut busy = Busy { of: self, taken: 0 };
        busy.extend(wanted);
        busy
    }
}

impl Busy<'_> {
    /// Waits for more of them, up to so many; whether there were any to wait for.
    fn extend(&mut self, wanted: usize) -> bool {
        let more = wanted.min(self.of.all).saturating_sub(self.taken);
        if more == 0 {
            return false;
        }
        let free = self.of.free.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.of.freed.wait_while(free, |free| *free < more);
        *wait.unwrap_or_else(PoisonError::into_inner) -= more;
        self.taken += more;
        true
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.of.free.lock().unwrap_or_else(PoisonError::into_inner) += self.taken;
        self.of.freed.notify_all();
    }
}

/// Threads of a model, at most.
const WORKERS: usize = 4;

struct Worker {
    model: Weak<Model>,
    receiver: Arc<Mutex<Receiver<Job>>>,
    processors: Arc<Processors>,
    metrics: ModelMetrics,
    most: usize,
    delay: Duration,
}

impl Worker {
    fn work(self) {
        while let Some((mut jobs, _busy)) = self.next() {
            self.metrics.waiting.dec_by(jobs.len() as i64);
            // Those whose clients have gone need no answer.
            jobs.retain(|job| !job.reply.is_closed());
            let Some(model) = self.model.upgrade() else { return };
            if !jobs.is_empty() {
                self.classify(&model, jobs);
            }
        }
    }

    /// Those that wait, up to a batch, and as many processors; at least one picture, for which it
    /// waits. None at the end.
    fn next(&self) -> Option<(Vec<Job>, Busy<'_>)> {
        // The other threads wait for the lock meanwhile, and take what comes after. Only who has
        // it waits for processors, so that no two wait for each other's.
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let mut jobs = vec![receiver.recv().ok()?];
        let until = Instant::now() + self.delay;
        while jobs.len() < self.most {
            let left = until.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok(job) => jobs.push(job),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let mut busy = self.processors.take(jobs.len());
        loop {
            // Those that came while it waited for processors.
            while jobs.len() < self.most
                && let Ok(job) = receiver.try_recv()
            {
                jobs.push(job);
            }
            if !busy.extend(jobs.len()) {
                return Some((jobs, busy));
            }
        }
    }

    fn classify(&self, model: &Model, jobs: Vec<Job>) {
        let loaded = model.current();
        let size = loaded.classifier.preprocessing().size as usize;
        let start = Instant::now();
        let answers = catch_unwind(AssertUnwindSafe(|| answers(&loaded.classifier, &jobs)));
        self.metrics.batches.observe(jobs.len() as f64);
        self.metrics.seconds.observe(start.elapsed().as_secs_f64());
        match answers {
            Ok(answers) => {
                for (job, (prediction, map)) in jobs.into_iter().zip(answers) {
                    self.metrics.pictures.inc();
                    // Nobody may be waiting any more.
                    let _ = job.reply.send(Answer { prediction, map, version: loaded.version });
                }
            }
            // The replies are dropped, and the requests are told that it failed.
            Err(_) => tracing::error!(
                "classifying {} pictures of {size} pixels with '{}' failed",
                jobs.len(),
                model.source.name
            ),
        }
    }
}

/// Those that are to be explained go through the network one by one, the others together.
fn answers(
    classifier: &Classifier,
    jobs: &[Job],
) -> Vec<(taper_model::Result<Prediction>, Option<ActivationMap>)> {
    let together = jobs.iter().filter_map(|job| match &job.picture {
        Picture::File(bytes) => Some(Input::Bytes(bytes)),
        Picture::Pixels(pixels) => Some(Input::Prepared(pixels)),
        Picture::Explained(_) => None,
    });
    let mut predicted = classifier.predict_many(&together.collect::<Vec<_>>()).into_iter();
    let answer = |job: &Job| match &job.picture {
        Picture::Explained(bytes) => Some(match classifier.explain(&bytes[..], None) {
            Ok(Explanation { prediction, map }) => (Ok(prediction), Some(map)),
            Err(error) => (Err(error), None),
        }),
        Picture::File(_) | Picture::Pixels(_) => predicted.next().map(|own| (own, None)),
    };
    jobs.iter().map_while(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_shared_and_come_back() {
        let processors = Processors::new(2);
        let mut one = processors.take(1);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let busy = processors.take(1);
                std::thread::sleep(Duration::from_millis(30));
                busy.taken
            });
            std::thread::sleep(Duration::from_millis(10));
            // Only once the other has ended.
            assert!(one.extend(8));
            assert!(!one.extend(8));
            assert_eq!((one.taken, other.join().unwrap()), (2, 1));
        });
        assert_eq!(*processors.free.lock().unwrap(), 0);
        drop(one);
        assert_eq!(*processors.free.lock().unwrap(), 2);
    }
}
