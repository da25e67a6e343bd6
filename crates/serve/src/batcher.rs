//! Pictures that wait for a model, and the thread that classifies them together.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Weak,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use taper_model::{Input, Prediction};
use tokio::sync::oneshot;

use crate::{metrics::ModelMetrics, models::Model, options::ServeOptions};

/// A picture to be classified.
#[derive(Debug, Clone)]
pub(crate) enum Picture {
    /// The content of a picture file.
    File(Bytes),
    /// What the network takes, u8 `[size, size, 3]`.
    Pixels(Vec<u8>),
}

/// The answer for a picture, and the version of the model that gave it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) prediction: taper_model::Result<Prediction>,
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

impl Batcher {
    /// Starts the thread of a model, which ends when the queue is dropped.
    pub(crate) fn start(model: Weak<Model>, options: &ServeOptions, metrics: ModelMetrics) -> Self {
        let (sender, receiver) = sync_channel(options.queue);
        let worker = Worker {
            model,
            receiver,
            metrics: metrics.clone(),
            most: options.batch,
            delay: options.delay,
        };
        // Without a thread every request is told that it failed, so nothing hangs.
        let started = std::thread::Builder::new().name("classify".into()).spawn(|| worker.work());
        if let Err(error) = started {
            tracing::error!("the thread of a model cannot be started: {error}");
        }
        Self { sender, metrics }
    }

    /// Puts a picture at the end; the answer comes through the channel.
    pub(crate) fn add(
        &self,
        picture: Picture,
    ) -> std::result::Result<oneshot::Receiver<Answer>, NotTaken> {
        let (reply, answer) = oneshot::channel();
        match self.sender.try_send(Job { picture, reply }) {
            Ok(()) => {
                self.metrics.waiting.inc();
                Ok(answer)
            }
            Err(TrySendError::Full(_)) => {
                self.metrics.refused.inc();
                Err(NotTaken::Full)
            }
            Err(TrySendError::Disconnected(_)) => Err(NotTaken::Failed),
        }
    }
}

struct Worker {
    model: Weak<Model>,
    receiver: Receiver<Job>,
    metrics: ModelMetrics,
    most: usize,
    delay: Duration,
}

impl Worker {
    fn work(self) {
        // What arrives while a batch is computed makes up the next one. Only if nothing did, so
        // that the next picture comes alone, it waits for company.
        while let Ok(first) = self.receiver.recv() {
            let mut jobs = vec![first];
            let until = Instant::now() + self.delay;
            while jobs.len() < self.most {
                match self.receiver.try_recv() {
                    Ok(job) => jobs.push(job),
                    Err(_) if jobs.len() > 1 => break,
                    Err(_) => match self
                        .receiver
                        .recv_timeout(until.saturating_duration_since(Instant::now()))
                    {
                        Ok(job) => jobs.push(job),
                        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                    },
                }
            }
            self.metrics.waiting.dec_by(jobs.len() as i64);
            // Those whose clients have gone need no answer.
            jobs.retain(|job| !job.reply.is_closed());
            let Some(model) = self.model.upgrade() else { return };
            if !jobs.is_empty() {
                self.classify(&model, jobs);
            }
        }
    }

    fn classify(&self, model: &Model, jobs: Vec<Job>) {
        let loaded = model.current();
        let size = loaded.classifier.preprocessing().size as usize;
        let inputs: Vec<Input<'_>> = jobs
            .iter()
            .map(|job| match &job.picture {
                Picture::File(bytes) => Input::Bytes(bytes),
                Picture::Pixels(pixels) => Input::Prepared(pixels),
            })
            .collect();
        let start = Instant::now();
        let answers = catch_unwind(AssertUnwindSafe(|| loaded.classifier.predict_many(&inputs)));
        drop(inputs);
        self.metrics.batches.observe(jobs.len() as f64);
        self.metrics.seconds.observe(start.elapsed().as_secs_f64());
        match answers {
            Ok(answers) => {
                for (job, prediction) in jobs.into_iter().zip(answers) {
                    self.metrics.pictures.inc();
                    // Nobody may be waiting any more.
                    let _ = job.reply.send(Answer { prediction, version: loaded.version });
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
