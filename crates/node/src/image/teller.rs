//! Telling whoever asked what is being made, and sharing it with whoever makes the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::Instant,
};
use vulcan_api::ImageEvent;

use super::{digest::Digest, images::Events, store::lock};

/// How often progress is told, of one thing.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Tells what happens; to nobody, where nobody asked.
#[derive(Clone, Default)]
pub(super) struct Teller(Option<Events>);

impl Teller {
    pub(super) const fn new(events: Events) -> Self {
        Self(Some(events))
    }

    pub(super) async fn step(&self, text: impl Into<String>) {
        self.tell(ImageEvent::Step { text: text.into() }).await;
    }

    /// Whoever listens may be gone, which is no error.
    pub(super) async fn tell(&self, event: ImageEvent) {
        if let Some(events) = &self.0 {
            let _ = events.send(event).await;
        }
    }

    /// Returns what tells how far something is; never waits, and leaves out what nobody is quick enough to read.
    pub(super) fn progress(
        &self,
        what: String,
        bytes_total: Option<u64>,
    ) -> impl Fn(u64) + Send + Sync + 'static {
        let events = self.0.clone();
        let told_at = Mutex::new(None::<Instant>);
        move |bytes| {
            let Some(events) = &events else { return };
            let mut told_at = lock(&told_at);
            let now = Instant::now();
            let is_last = bytes_total == Some(bytes);
            if !is_last && told_at.is_some_and(|at| now.duration_since(at) < PROGRESS_EVERY) {
                return;
            }
            *told_at = Some(now);
            let _ = events.try_send(ImageEvent::Progress {
                what: what.clone(),
                bytes,
                bytes_total,
            });
        }
    }
}

/// Who is making which blob: a second one waits, and finds it made.
#[derive(Default)]
pub(super) struct Makers(Mutex<HashMap<Digest, Weak<AsyncMutex<()>>>>);

impl Makers {
    pub(super) async fn lock(&self, digest: &Digest) -> OwnedMutexGuard<()> {
        let maker = {
            let mut makers = lock(&self.0);
            makers.retain(|_, maker| maker.strong_count() > 0);
            let known = makers.get(digest).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let maker = Arc::default();
                makers.insert(digest.clone(), Arc::downgrade(&maker));
                maker
            })
        };
        maker.lock_owned().await
    }

    pub(super) fn is_making(&self, hex: &str) -> bool {
        let makers = lock(&self.0);
        makers
            .iter()
            .any(|(digest, maker)| digest.hex() == hex && maker.strong_count() > 0)
    }
}
