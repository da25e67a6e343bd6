use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    thread,
    time::Duration,
};

/// How often a waiting process checks again.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Holds the lock of a file once no other process does; none if `given_up` returned true first.
pub(crate) fn wait(path: &Path, given_up: impl Fn() -> bool) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if given_up() => return Ok(None),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    tracing::info!("another process is fetching the same file; waiting for it");
                    told = true;
                }
                thread::sleep(TICK);
            }
        }
    }
}
