//! A published clip that is made again: the new file lies beside the old one, under a name of its own, until the index knows it; then the
//! old one goes. At no moment is there no whole file.

use std::fs;
use std::io;

use super::name::FileName;
use super::{LocalStore, POSTER, Publication, sync_dir};
use crate::clip::ClipId;

/// What a note that a clip is not settled ends with, in the folder of work.
pub const UNSETTLED: &str = ".unsettled";

/// A picture that waits for its film to be the one that is served.
fn waiting(film: &str) -> String {
    format!(".{film}.jpg")
}

impl LocalStore {
    /// A name for the version of a clip with this number, which no file beside it has.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn free_name(
        &self,
        id: ClipId,
        title: &str,
        version: u32,
        extension: &str,
    ) -> io::Result<FileName> {
        let mut number = version;
        loop {
            let name = FileName::numbered(title, number, extension);
            if !self.path(id, name.as_str()).try_exists()? {
                return Ok(name);
            }
            number = number.saturating_add(1);
        }
    }

    /// Lays a finished clip beside the published one, for good. The caller commits it to the index and settles the folder afterwards.
    /// Returns the bytes of what was laid down.
    ///
    /// # Errors
    /// When the disk refuses; what is published is as it was.
    pub fn publish_beside(&self, publication: &Publication<'_>) -> io::Result<u64> {
        let picture = waiting(publication.name.as_str());
        let staged = self.stage(publication, &picture)?;
        let target = self.clip_dir(publication.id);
        super::make_dir(&target)?;
        let mut bytes = 0;
        // The film last: without it, its picture is nothing.
        for name in [picture.as_str(), publication.name.as_str()] {
            let from = staged.join(name);
            match fs::metadata(&from) {
                Ok(meta) => bytes += meta.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            fs::rename(from, target.join(name))?;
        }
        sync_dir(&target)?;
        sync_dir(&self.clips)?;
        Ok(bytes)
    }

    /// Leaves of a clip's published folder the film that is served and its picture, if it has one.
    ///
    /// # Errors
    /// When the film is not there, and then nothing goes, or the disk refuses.
    pub fn settle(&self, id: ClipId, film: &str, picture: bool) -> io::Result<()> {
        let folder = self.clip_dir(id);
        self.place_picture(id, film, picture)?;
        for entry in fs::read_dir(&folder)? {
            let name = entry?.file_name();
            if name != film && !(picture && name == POSTER) {
                fs::remove_file(folder.join(name))?;
            }
        }
        sync_dir(&folder)?;
        match fs::remove_file(self.work.join(format!("{id}{UNSETTLED}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes the picture that waits for a film the clip's, if it has one; the films beside it stay.
    ///
    /// # Errors
    /// When the film is not there, or the disk refuses.
    pub fn place_picture(&self, id: ClipId, film: &str, picture: bool) -> io::Result<()> {
        let folder = self.clip_dir(id);
        fs::metadata(folder.join(film))?;
        if picture && self.picture_waits(id, film)? {
            fs::rename(folder.join(waiting(film)), folder.join(POSTER))?;
        }
        Ok(())
    }

    /// Whether a film's picture is not in its place yet.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn picture_waits(&self, id: ClipId, film: &str) -> io::Result<bool> {
        self.clip_dir(id).join(waiting(film)).try_exists()
    }

    /// Notes that a clip's folder is still to be settled. The note goes when it is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note_unsettled(&self, id: ClipId) -> io::Result<()> {
        fs::File::create(self.work.join(format!("{id}{UNSETTLED}"))).map(drop)
    }

    /// Takes back what was laid beside a published clip.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn take_back(&self, id: ClipId, film: &FileName) -> io::Result<()> {
        let folder = self.clip_dir(id);
        for name in [film.as_str(), &waiting(film.as_str())] {
            match fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The clips whose jobs have a folder, and those that are noted as not settled.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn unfinished(&self) -> io::Result<Vec<ClipId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.work)? {
            let name = entry?.file_name();
            let name = name.to_str().unwrap_or_default();
            let name = name.strip_suffix(UNSETTLED).unwrap_or(name);
            found.extend(name.parse::<ClipId>());
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_film_is_there_until_the_new_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&dir.path().join("storage"), dir.path()).unwrap();
        let id: ClipId = "0192f0c1-2345-7abc-8def-0123456789ab".parse().unwrap();
        let work = store.work_dir(id).unwrap();
        let put = |name: &FileName, film: &str| {
            fs::write(work.join("clip.mp4"), film).unwrap();
            fs::write(work.join("p.jpg"), format!("picture of {film}")).unwrap();
            let (clip, poster) = (work.join("clip.mp4"), work.join("p.jpg"));
            let publication = Publication {
                id,
                name,
                clip: &clip,
                poster: Some(&poster),
            };
            match film {
                "one" => store.publish(&publication).map(|()| 0),
                _ => store.publish_beside(&publication),
            }
        };
        let read = |name: &str| fs::read_to_string(store.path(id, name)).ok();
        put(&FileName::from_title("A", "mp4"), "one").unwrap();
        let second = store.free_name(id, "A", 2, "mp4").unwrap();
        assert_eq!(put(&second, "two").unwrap(), 3 + 14);
        assert_eq!(read("A.mp4").unwrap(), "one");
        assert_eq!(read(POSTER).unwrap(), "picture of one");
        // An interruption left it there; another try has a name of its own.
        let third = store.free_name(id, "A", 2, "mp4").unwrap();
        assert_eq!(third.as_str(), "A-3.mp4");
        put(&third, "three").unwrap();
        store.take_back(id, &third).unwrap();
        assert_eq!(read("A-3.mp4"), None);
        // Where the ledger could not be told, both films stay, with the picture of the one that counts; that is remembered.
        assert!(store.picture_waits(id, "A-2.mp4").unwrap());
        store.place_picture(id, "A-2.mp4", true).unwrap();
        assert!(!store.picture_waits(id, "A-2.mp4").unwrap());
        assert_eq!(read(POSTER).unwrap(), "picture of two");
        assert_eq!(read("A.mp4").unwrap(), "one");
        store.remove_work(id).unwrap();
        store.note_unsettled(id).unwrap();
        store.sweep().unwrap();
        assert_eq!(store.unfinished().unwrap(), [id]);
        store.settle(id, "A-2.mp4", true).unwrap();
        assert!(store.unfinished().unwrap().is_empty());
        assert_eq!(read("A-2.mp4").unwrap(), "two");
        assert_eq!(read(POSTER).unwrap(), "picture of two");
        assert_eq!(fs::read_dir(store.path(id, "")).unwrap().count(), 2);
        // Nothing goes where the film is not there.
        assert!(store.settle(id, "gone.mp4", true).is_err());
        assert_eq!(fs::read_dir(store.path(id, "")).unwrap().count(), 2);
        store.settle(id, "A-2.mp4", false).unwrap();
        assert_eq!(fs::read_dir(store.path(id, "")).unwrap().count(), 1);
    }
}
