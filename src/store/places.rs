//! Where everything of one service lies. Pure: it names paths and never looks at them.

use std::path::{Path, PathBuf};

use crate::clip::ClipId;
use crate::config::Settings;

/// The paths of one service.
#[derive(Clone, Debug)]
pub struct Places {
    pub data: PathBuf,
    pub storage: PathBuf,
    pub uploads: PathBuf,
    pub secret: PathBuf,
}

impl Places {
    /// Those that the settings name.
    pub fn of(settings: &Settings) -> Places {
        Places {
            data: settings.server.data_dir.clone(),
            storage: settings.storage_dir(),
            uploads: settings.uploads_dir(),
            secret: settings.secret_file(),
        }
    }

    /// The index.
    pub fn index(&self) -> PathBuf {
        self.data.join("index.db")
    }

    /// What whoever works on the data alone holds locked.
    pub fn lock(&self) -> PathBuf {
        self.data.join("lock")
    }

    /// The folders of published clips.
    pub fn clips(&self) -> PathBuf {
        self.storage.join("clips")
    }

    /// One clip's published folder.
    pub fn clip(&self, id: ClipId) -> PathBuf {
        self.clips().join(id.to_string())
    }

    /// The ledger's entries.
    pub fn ledger(&self) -> PathBuf {
        self.data.join("ledger").join("clips")
    }

    /// One clip's entry in the ledger.
    pub fn entry(&self, id: ClipId) -> PathBuf {
        self.ledger().join(format!("{id}.json"))
    }

    /// The folders of jobs.
    pub fn work(&self) -> PathBuf {
        self.data.join("work")
    }

    /// Where what nobody knows is kept until somebody has looked at it. Not `lost+found`: that is the file system's own, and root's.
    pub fn lost(&self) -> PathBuf {
        self.data.join("set-aside")
    }

    /// Whether published bytes lie inside the data folder.
    pub fn storage_is_inside(&self) -> bool {
        self.storage.starts_with(&self.data)
    }

    /// A path as it is told: below the data folder where it lies there.
    pub fn told(&self, path: &Path) -> String {
        let inside = path.strip_prefix(&self.data).unwrap_or(path);
        inside.display().to_string()
    }
}
