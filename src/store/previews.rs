//! Previews on the local disk: `previews/<source id>/`, each part whole or not there, the least recently used going first when there
//! are too many bytes. What is here can be made again at any time; nothing is synced.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::{make_dir, remove_dir};
use crate::sighting::SourceId;

/// The folder of previews.
#[derive(Clone, Debug)]
pub struct Previews {
    root: PathBuf,
    making: PathBuf,
    /// What all took when they were last counted; none when that has changed since.
    counted: Arc<Mutex<Option<u64>>>,
}

/// A part that there is no room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surplus {
    pub id: SourceId,
    /// The part, by the name of its files.
    pub part: String,
    pub bytes: u64,
}

/// What can be kept of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A link's bytes, or the beginning of what it leads to, where the other parts need them, and how to count in them.
    Copy,
    Filmstrip,
    Waveform,
    Preview,
    /// What the encoder makes of it, for estimates.
    Texture,
}

impl Part {
    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Part::Copy => "copy",
            Part::Filmstrip => "filmstrip",
            Part::Waveform => "waveform",
            Part::Preview => "preview",
            Part::Texture => "texture",
        }
    }

    /// Names of its files; the first is the one that is served.
    pub const fn files(self) -> &'static [&'static str] {
        match self {
            Part::Copy => &["copy.bin", "copy.json"],
            Part::Filmstrip => &["filmstrip.jpg", "filmstrip.vtt"],
            Part::Waveform => &["waveform.json"],
            Part::Preview => &["preview.mp4"],
            Part::Texture => &["texture.json"],
        }
    }
}

/// Files of one part: they go together.
struct Entry {
    id: SourceId,
    part: String,
    paths: Vec<PathBuf>,
    bytes: u64,
    used: SystemTime,
}

impl From<Entry> for Surplus {
    fn from(entry: Entry) -> Surplus {
        Surplus {
            id: entry.id,
            part: entry.part,
            bytes: entry.bytes,
        }
    }
}

impl Previews {
    /// Opens the folder in the data directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(data: &Path) -> io::Result<Previews> {
        let root = data.join("previews");
        let making = root.join(".making");
        make_dir(&making)?;
        Ok(Previews {
            root,
            making,
            counted: Arc::default(),
        })
    }

    /// Removes whatever earlier runs left half-made. Only for the start, when nothing is made.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn sweep(&self) -> io::Result<()> {
        remove_dir(&self.making)?;
        make_dir(&self.making)
    }

    /// An empty folder in which one part is made.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn work_dir(&self) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().tempdir_in(&self.making)
    }

    /// The files of a part, if all of it is here; counts as a use.
    pub fn find(&self, id: SourceId, part: Part) -> Option<Vec<PathBuf>> {
        let now = FileTimes::new().set_accessed(SystemTime::now());
        let found = part.files().iter().map(|name| {
            let path = self.dir(id).join(name);
            let file = File::open(&path).ok()?;
            // Where the disk does not take it, the order of going is less just.
            let _ = file.set_times(now);
            Some(path)
        });
        found.collect()
    }

    /// Moves the finished files of a part where they are found, in the order of [`Part::files`].
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&self, id: SourceId, part: Part, made: &[PathBuf]) -> io::Result<()> {
        let dir = self.dir(id);
        make_dir(&dir)?;
        // The one that is served comes last: with it the part is here.
        let moved = made
            .iter()
            .zip(part.files())
            .rev()
            .try_for_each(|(from, name)| fs::rename(from, dir.join(name)));
        self.forget_count();
        moved
    }

    /// Removes parts until no more than `most` bytes are left, the least recently used first; returns how many bytes went.
    ///
    /// # Errors
    /// When the folder cannot be read or something of it stays.
    pub fn shrink(&self, most: u64) -> io::Result<u64> {
        let gone = self.shrink_by_part(most)?;
        Ok(gone.iter().map(|part| part.bytes).sum())
    }

    /// The same, told by part.
    ///
    /// # Errors
    /// When the folder cannot be read or something of it stays.
    pub fn shrink_by_part(&self, most: u64) -> io::Result<Vec<Surplus>> {
        let entries = self.over(most)?;
        let removed = entries
            .iter()
            .flat_map(|entry| &entry.paths)
            .try_for_each(|path| remove_file(path));
        if !entries.is_empty() {
            self.forget_count();
        }
        removed?;
        Ok(entries.into_iter().map(Surplus::from).collect())
    }

    /// What would go for that, and stays.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn surplus(&self, most: u64) -> io::Result<Vec<Surplus>> {
        Ok(self.over(most)?.into_iter().map(Surplus::from).collect())
    }

    fn over(&self, most: u64) -> io::Result<Vec<Entry>> {
        let mut entries = self.entries()?;
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        entries.sort_by_key(|entry| entry.used);
        entries.retain(|entry| {
            let over = bytes > most;
            if over {
                bytes -= entry.bytes;
            }
            over
        });
        Ok(entries)
    }

    /// Bytes of all parts.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn bytes(&self) -> io::Result<u64> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = *counted {
            return Ok(bytes);
        }
        let bytes = self.entries()?.iter().map(|entry| entry.bytes).sum();
        *counted = Some(bytes);
        Ok(bytes)
    }

    fn forget_count(&self) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Removes everything of sources that `known` does not name; returns how many there were.
    ///
    /// # Errors
    /// When the folder cannot be read or something of it stays.
    pub fn retain(&self, known: &[SourceId]) -> io::Result<usize> {
        Ok(self.retain_by_source(known)?.len())
    }

    /// The same, told by source with its bytes.
    ///
    /// # Errors
    /// When the folder cannot be read or something of it stays.
    pub fn retain_by_source(&self, known: &[SourceId]) -> io::Result<Vec<(SourceId, u64)>> {
        let strays = self.strays(known)?;
        let removed = strays
            .iter()
            .try_for_each(|(id, _)| remove_dir(&self.dir(*id)));
        if !strays.is_empty() {
            self.forget_count();
        }
        removed.map(|()| strays)
    }

    /// What would go for that, and stays.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn strays(&self, known: &[SourceId]) -> io::Result<Vec<(SourceId, u64)>> {
        let known: HashSet<&SourceId> = known.iter().collect();
        let folders = self.folders()?.into_iter();
        Ok(folders
            .filter(|(id, _)| !known.contains(id))
            .map(|(id, dir)| (id, super::size_of(&dir)))
            .collect())
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries: HashMap<(SourceId, String), Entry> = HashMap::new();
        for (id, dir) in self.folders()? {
            for file in fs::read_dir(&dir)? {
                let path = file?.path();
                let meta = match fs::metadata(&path) {
                    Ok(meta) => meta,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                let used = meta.accessed().or_else(|_| meta.modified())?;
                let stem = path.file_stem().unwrap_or_default();
                let part = stem.to_string_lossy().into_owned();
                let entry = entries.entry((id, part.clone())).or_insert(Entry {
                    id,
                    part,
                    paths: Vec::new(),
                    bytes: 0,
                    used,
                });
                entry.paths.push(path);
                entry.bytes += meta.len();
                entry.used = entry.used.max(used);
            }
        }
        Ok(entries.into_values().collect())
    }

    fn folders(&self) -> io::Result<Vec<(SourceId, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                found.push((id, entry.path()));
            }
        }
        Ok(found)
    }

    fn dir(&self, id: SourceId) -> PathBuf {
        self.root.join(id.to_string())
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn put(previews: &Previews, id: SourceId, part: Part, bytes: usize) {
        let dir = previews.work_dir().unwrap();
        let made: Vec<PathBuf> = part
            .files()
            .iter()
            .map(|name| dir.path().join(name))
            .collect();
        for path in &made {
            fs::write(path, vec![0; bytes]).unwrap();
        }
        previews.keep(id, part, &made).unwrap();
    }

    fn used(previews: &Previews, id: SourceId, part: Part, ago: u64) {
        let when = SystemTime::now() - Duration::from_secs(ago);
        for name in part.files() {
            let file = File::open(previews.dir(id).join(name)).unwrap();
            file.set_times(FileTimes::new().set_accessed(when)).unwrap();
        }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_whole() {
        let data = tempfile::tempdir().unwrap();
        let previews = Previews::open(data.path()).unwrap();
        let [one, two] = [(); 2].map(|()| SourceId(uuid::Uuid::now_v7()));
        put(&previews, one, Part::Filmstrip, 100);
        put(&previews, one, Part::Waveform, 100);
        put(&previews, two, Part::Preview, 100);
        used(&previews, one, Part::Waveform, 30);
        used(&previews, one, Part::Filmstrip, 20);
        used(&previews, two, Part::Preview, 10);
        assert_eq!(previews.bytes().unwrap(), 400);
        assert_eq!(previews.shrink(400).unwrap(), 0);
        // Asking for it is using it.
        assert!(previews.find(one, Part::Waveform).is_some());
        assert_eq!(previews.shrink(250).unwrap(), 200);
        assert!(previews.find(one, Part::Filmstrip).is_none());
        assert!(previews.find(one, Part::Waveform).is_some());
        assert!(previews.find(two, Part::Preview).is_some());
        assert_eq!(previews.retain(&[two]).unwrap(), 1);
        assert!(previews.find(one, Part::Waveform).is_none());
        assert_eq!(previews.shrink(0).unwrap(), 100);
        assert_eq!(previews.bytes().unwrap(), 0);
    }

    #[test]
    fn what_was_half_made_is_gone_after_a_start() {
        let data = tempfile::tempdir().unwrap();
        let previews = Previews::open(data.path()).unwrap();
        let left = previews.work_dir().unwrap().keep();
        fs::write(left.join("half"), "x").unwrap();
        // Somebody else may open it while things are made.
        Previews::open(data.path()).unwrap();
        assert!(left.exists());
        previews.sweep().unwrap();
        assert!(!left.exists());
        assert!(previews.work_dir().is_ok());
    }
}
