//! Model files that are replaced while they are served.

use std::{sync::Arc, time::Duration};

use crate::{
    metrics::Metrics,
    models::{Model, Opener, Stamp, opened},
    options::ServeOptions,
};

/// How often files are looked at. A file that changes between two looks is still being written.
const EVERY: Duration = Duration::from_millis(500);

/// Watches the file of a model, and takes over what replaces it; until the server ends.
pub(crate) async fn watch(
    model: Arc<Model>,
    opened_as: Option<Stamp>,
    opener: Opener,
    options: ServeOptions,
    metrics: Metrics,
) {
    let name = model.source.name.clone();
    // The file that was read last, whether it was taken over or not.
    let mut known = opened_as;
    let mut before = known.clone();
    let mut missing = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let now = match Stamp::of(&model.source.path) {
            Ok(stamp) => stamp,
            Err(error) => {
                if !missing {
                    tracing::warn!(
                        "the file of the model '{name}' is gone ({error}): it is served as it was"
                    );
                }
                missing = true;
                continue;
            }
        };
        missing = false;
        let settled = before.as_ref() == Some(&now);
        before = Some(now.clone());
        if !settled || known.as_ref() == Some(&now) {
            continue;
        }
        known = Some(now);
        let (path, opener, options) =
            (model.source.path.clone(), Arc::clone(&opener), options.clone());
        let read = tokio::task::spawn_blocking(move || opened(&opener, &path, &options)).await;
        match read {
            Ok(Ok(classifier)) => {
                model.replace(classifier);
                metrics.reloaded(&name, true);
                tracing::info!("the model '{name}' was read again");
            }
            Ok(Err(error)) => {
                metrics.reloaded(&name, false);
                tracing::warn!(
                    "the new file of the model '{name}' is refused: {error}; it is served as it was"
                );
            }
            Err(error) => {
                metrics.reloaded(&name, false);
                tracing::error!("reading the model '{name}' again failed: {error}");
            }
        }
    }
}
