//! The trash on the disk: folders of published files that have been put aside, from where nothing is served.

use std::fs;
use std::io;
use std::time::SystemTime;

use super::{LocalStore, folders_before, remove_dir, size_of, sync_dir};
use crate::clip::ClipId;

impl LocalStore {
    /// Puts a clip's published files into the trash, in the place of what is there of an earlier time; none is fine.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_aside(&self, id: ClipId) -> io::Result<()> {
        let (from, to) = (self.clip_dir(id), self.trash.join(id.to_string()));
        if !from.try_exists()? {
            return Ok(());
        }
        remove_dir(&to)?;
        fs::rename(from, to)
    }

    /// Brings a clip's files back from the trash, for good. False when they are neither there nor, after an interruption, back already.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn bring_back(&self, id: ClipId) -> io::Result<bool> {
        let (from, to) = (self.trash.join(id.to_string()), self.clip_dir(id));
        if from.try_exists()? {
            remove_dir(&to)?;
            fs::rename(from, &to)?;
            sync_dir(&self.trash)?;
            sync_dir(&self.clips)?;
        }
        to.try_exists()
    }

    /// Removes a clip's files from the trash; missing is fine.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn empty(&self, id: ClipId) -> io::Result<()> {
        remove_dir(&self.trash.join(id.to_string()))
    }

    /// Whether something of a clip is in the trash.
    pub fn is_aside(&self, id: ClipId) -> bool {
        self.trash.join(id.to_string()).exists()
    }

    /// The clips whose folder in the trash has not changed since a moment.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn aside_before(&self, moment: SystemTime) -> io::Result<Vec<ClipId>> {
        folders_before(&self.trash, moment)
    }

    /// The jobs whose folders have not changed since a moment.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn working_before(&self, moment: SystemTime) -> io::Result<Vec<ClipId>> {
        let mut found = folders_before(&self.work, moment)?;
        found.extend(folders_before(&self.incoming, moment)?);
        Ok(found)
    }

    /// Bytes of what is in the trash of a clip.
    pub fn size_aside(&self, id: ClipId) -> u64 {
        size_of(&self.trash.join(id.to_string()))
    }

    /// Bytes in the folders of a job.
    pub fn size_of_work(&self, id: ClipId) -> u64 {
        let name = id.to_string();
        size_of(&self.work.join(&name)) + size_of(&self.incoming.join(&name))
    }
}
