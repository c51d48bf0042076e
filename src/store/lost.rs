//! What nobody knows any more, set aside and never deleted: it may be the only copy.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::lock::own_like_folder;
use super::places::Places;

/// Moves a file or a folder into `set-aside/<kind>` under a name of its own; where it is then. A store on another file system has a
/// folder of its own for that.
///
/// # Errors
/// When it cannot be moved; then it is where it was.
pub fn set_aside(places: &Places, kind: &str, path: &Path) -> io::Result<PathBuf> {
    match moved_into(&places.lost(), kind, path) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            moved_into(&places.storage.join(".set-aside"), kind, path)
        }
        moved => moved,
    }
}

fn moved_into(root: &Path, kind: &str, path: &Path) -> io::Result<PathBuf> {
    let folder = root.join(kind);
    if !folder.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        own_like_folder(root)?;
        own_like_folder(&folder)?;
    }
    let name = path.file_name().unwrap_or_default().to_owned();
    let mut to = folder.join(&name);
    let mut number = 1_u32;
    while to.symlink_metadata().is_ok() {
        let mut other = name.clone();
        other.push(format!(".{number}"));
        to = folder.join(other);
        number += 1;
    }
    fs::rename(path, &to)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_owned();
        let places = Places {
            storage: data.join("storage"),
            uploads: data.join("uploads"),
            secret: data.join("secret.key"),
            data,
        };
        for text in ["one", "two", "three"] {
            let path = places.data.join("x");
            fs::write(&path, text).unwrap();
            let to = set_aside(&places, "stray", &path).unwrap();
            assert_eq!(fs::read_to_string(to).unwrap(), text);
            assert!(!path.exists());
        }
        assert_eq!(
            fs::read_dir(places.lost().join("stray")).unwrap().count(),
            3
        );
    }
}
