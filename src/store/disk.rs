//! What the file systems under our folders have left, asked of them directly: it costs microseconds and is never old.

use std::io;
use std::path::Path;

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub total: u64,
    pub free: u64,
    /// Files and folders that can still be made; none where the file system does not count them.
    pub files: Option<u64>,
}

/// What the file system that holds `path` has left for us.
///
/// # Errors
/// When there is no such path.
pub fn left(path: &Path) -> io::Result<Left> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(Left {
        total: disk.f_blocks.saturating_mul(disk.f_frsize),
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        files: (disk.f_files > 0).then_some(disk.f_favail),
    })
}

/// Whether an error says that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
