//! The archive of a backup: one tar whose entries are listed with their SHA-256 in manifests inside it, so that it is read, checked and
//! unpacked from one end to the other. It knows names and bytes, and nothing of what they mean.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::clip::ClipId;
use crate::timestamp::Timestamp;

/// The form of the archive; another one is refused.
pub const FORMAT: u32 = 1;

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("this is no backup of meme-maker, or not all of it")]
    NotWhole,
    #[error("the backup is damaged at {0}")]
    Damaged(String),
    #[error("the backup holds {0}, which no backup of ours does")]
    Stranger(String),
    #[error("the backup has form {0}, which this version does not know")]
    Format(u32),
    #[error("the backup cannot be read")]
    Io(#[from] io::Error),
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Secret,
    Index,
    Ledger,
    /// A clip's file, whatever it is called where it is served from.
    Film(ClipId),
    Poster(ClipId),
}

const MANIFEST: &str = "manifest.json";
/// The SHA-256 of the manifest, and the end.
const SEAL: &str = "manifest.sha256";

impl Name {
    fn text(self) -> String {
        match self {
            Name::Secret => "secret.key".to_owned(),
            Name::Index => "index.db".to_owned(),
            Name::Ledger => "ledger.jsonl".to_owned(),
            Name::Film(id) => format!("clips/{id}/clip"),
            Name::Poster(id) => format!("clips/{id}/poster.jpg"),
        }
    }

    /// Only names that we write.
    fn parse(text: &str) -> Option<Name> {
        match text {
            "secret.key" => return Some(Name::Secret),
            "index.db" => return Some(Name::Index),
            "ledger.jsonl" => return Some(Name::Ledger),
            _ => {}
        }
        let (id, file) = text.strip_prefix("clips/")?.split_once('/')?;
        let id = id.parse().ok()?;
        match file {
            "clip" => Some(Name::Film(id)),
            "poster.jpg" => Some(Name::Poster(id)),
            _ => None,
        }
    }
}

fn part_name(number: u32) -> String {
    format!("manifest/{number:06}.json")
}

/// One entry as a manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    name: String,
    bytes: u64,
    sha256: String,
}

/// What the archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub format: u32,
    /// Of the program that made it.
    pub version: String,
    /// Of the index inside.
    pub schema: usize,
    pub made_at: Timestamp,
    /// Clips in the index inside.
    pub clips: u64,
    /// Clips' files inside.
    pub files: u64,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    #[serde(flatten)]
    about: About,
    entries: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
struct Part {
    entries: Vec<Listed>,
}

/// So many entries are listed by one manifest, so that no list grows with the number of clips.
const LISTED: usize = 4096;
/// No manifest of ours is longer.
const MOST_MANIFEST: u64 = 4_000_000;
const BUFFER: usize = 128 * 1024;
const BLOCK: u64 = 512;

/// An archive that is being written.
pub struct Writer {
    file: File,
    made_at: Timestamp,
    entries: Vec<Listed>,
    parts: u32,
}

impl Writer {
    /// Begins an archive in an empty file.
    pub fn begin(file: File, made_at: Timestamp) -> Writer {
        Writer {
            file,
            made_at,
            entries: Vec::new(),
            parts: 0,
        }
    }

    /// Adds an entry of a known length.
    ///
    /// # Errors
    /// When it cannot be read or written, or is shorter.
    pub fn add(&mut self, name: Name, bytes: u64, from: &mut dyn Read) -> io::Result<()> {
        self.write_entry(&name.text(), bytes, from)?;
        self.list_full_part()
    }

    /// Adds an entry whose length is known when it is written: its head is put right afterwards.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn add_streamed<E: From<io::Error>>(
        &mut self,
        name: Name,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = name.text();
        let start = self.file.stream_position()?;
        self.file.write_all(&[0; BLOCK as usize])?;
        let (bytes, sha256) = {
            let mut into = Hashing {
                inner: io::BufWriter::with_capacity(BUFFER, &self.file),
                hasher: Sha256::new(),
                bytes: 0,
            };
            fill(&mut into)?;
            into.flush()?;
            (into.bytes, hex(into.hasher))
        };
        self.pad(bytes)?;
        let end = self.file.stream_position()?;
        self.file.seek(SeekFrom::Start(start))?;
        let header = self.header(&name, bytes)?;
        self.file.write_all(header.as_bytes())?;
        self.file.seek(SeekFrom::Start(end))?;
        self.entries.push(Listed {
            name,
            bytes,
            sha256,
        });
        Ok(self.list_full_part()?)
    }

    /// Ends it with the manifest; the file, which is not synced yet.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn finish(mut self, about: About) -> io::Result<File> {
        let manifest = Manifest {
            about,
            entries: std::mem::take(&mut self.entries),
        };
        let text = serde_json::to_vec_pretty(&manifest)?;
        self.write_entry(MANIFEST, text.len() as u64, &mut text.as_slice())?;
        let seal = hex(Sha256::new_with_prefix(&text));
        self.write_entry(SEAL, seal.len() as u64, &mut seal.as_bytes())?;
        self.file.write_all(&[0; 2 * BLOCK as usize])?;
        Ok(self.file)
    }

    fn list_full_part(&mut self) -> io::Result<()> {
        if self.entries.len() < LISTED {
            return Ok(());
        }
        let part = Part {
            entries: std::mem::take(&mut self.entries),
        };
        let text = serde_json::to_vec(&part)?;
        self.parts += 1;
        self.write_entry(
            &part_name(self.parts),
            text.len() as u64,
            &mut text.as_slice(),
        )
    }

    fn write_entry(&mut self, name: &str, bytes: u64, from: &mut dyn Read) -> io::Result<()> {
        let header = self.header(name, bytes)?;
        self.file.write_all(header.as_bytes())?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0_u8; BUFFER];
        let mut left = bytes;
        while left > 0 {
            let most = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = from.read(&mut buffer[..most])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            hasher.update(&buffer[..count]);
            self.file.write_all(&buffer[..count])?;
            left -= count as u64;
        }
        self.pad(bytes)?;
        self.entries.push(Listed {
            name: name.to_owned(),
            bytes,
            sha256: hex(hasher),
        });
        Ok(())
    }

    fn pad(&mut self, bytes: u64) -> io::Result<()> {
        let rest = bytes.next_multiple_of(BLOCK) - bytes;
        self.file
            .write_all(&[0; BLOCK as usize][..usize::try_from(rest).unwrap_or(0)])
    }

    fn header(&self, name: &str, bytes: u64) -> io::Result<Header> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_path(name)?;
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(self.made_at.0 / 1000).unwrap_or(0));
        header.set_cksum();
        Ok(header)
    }
}

/// Counts and hashes what passes.
struct Hashing<T> {
    inner: T,
    hasher: Sha256,
    bytes: u64,
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

fn hex(hasher: Sha256) -> String {
    let bytes = hasher.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads an archive to its end, calling `each` with every entry, and holds all of it against its manifests. What `each` was given counts
/// only when this has ended well.
///
/// # Errors
/// When it is damaged, cut off, or holds anything but what we write; and those of `each`.
pub fn read<E: From<ArchiveError>>(
    file: impl Read,
    mut each: impl FnMut(Name, u64, &mut dyn Read) -> Result<(), E>,
) -> Result<About, E> {
    let mut archive = tar::Archive::new(BufReader::with_capacity(BUFFER, file));
    // Raw: links, long names and extensions are entries like others then, and we write none.
    let entries = archive.entries().map_err(ArchiveError::Io)?.raw(true);
    let mut seen: Vec<Listed> = Vec::new();
    let mut parts = 0;
    let mut has_index = false;
    let mut about: Option<(About, String)> = None;
    let mut sealed = false;
    for entry in entries {
        let entry = entry.map_err(broken)?;
        let path = entry.path_bytes();
        let text = String::from_utf8_lossy(&path).into_owned();
        drop(path);
        let plain = entry.header().entry_type() == EntryType::Regular;
        let over = about.is_some() != (text == SEAL) || sealed;
        if !plain || over || seen.len() > LISTED {
            return Err(ArchiveError::Stranger(text).into());
        }
        let bytes = entry.header().entry_size().map_err(broken)?;
        let mut content = Hashing {
            inner: entry,
            hasher: Sha256::new(),
            bytes: 0,
        };
        if text == MANIFEST {
            let manifest: Manifest = listing(&mut content, bytes, &text)?;
            if manifest.about.format != FORMAT {
                return Err(ArchiveError::Format(manifest.about.format).into());
            }
            compare(&manifest.entries, &seen)?;
            about = Some((manifest.about, hex(content.hasher)));
            continue;
        }
        if let Some((_, hash)) = &about {
            let mut seal = String::new();
            content
                .take(MOST_MANIFEST)
                .read_to_string(&mut seal)
                .map_err(broken)?;
            if seal != *hash {
                return Err(ArchiveError::Damaged(MANIFEST.to_owned()).into());
            }
            sealed = true;
            continue;
        }
        if text == part_name(parts + 1) {
            let part: Part = listing(&mut content, bytes, &text)?;
            compare(&part.entries, &seen)?;
            seen.clear();
            parts += 1;
        } else {
            let name = Name::parse(&text).ok_or_else(|| ArchiveError::Stranger(text.clone()))?;
            if name == Name::Index && std::mem::replace(&mut has_index, true) {
                return Err(ArchiveError::Stranger(text).into());
            }
            each(name, bytes, &mut content)?;
            // What was not wanted is hashed all the same.
            io::copy(&mut content, &mut io::sink()).map_err(broken)?;
        }
        if content.bytes != bytes {
            return Err(ArchiveError::NotWhole.into());
        }
        seen.push(Listed {
            name: text,
            bytes,
            sha256: hex(content.hasher),
        });
    }
    match about {
        Some((about, _)) if has_index && sealed => Ok(about),
        _ => Err(ArchiveError::NotWhole.into()),
    }
}

fn listing<T: serde::de::DeserializeOwned>(
    content: &mut impl Read,
    bytes: u64,
    name: &str,
) -> Result<T, ArchiveError> {
    if bytes > MOST_MANIFEST {
        return Err(ArchiveError::Stranger(name.to_owned()));
    }
    let mut text = Vec::new();
    content.read_to_end(&mut text).map_err(broken)?;
    serde_json::from_slice(&text).map_err(|_| ArchiveError::Damaged(name.to_owned()))
}

/// Every entry is listed as it came, in its order.
fn compare(listed: &[Listed], seen: &[Listed]) -> Result<(), ArchiveError> {
    let pairs = listed.iter().zip(seen);
    for (listed, seen) in pairs {
        if listed != seen {
            return Err(ArchiveError::Damaged(seen.name.clone()));
        }
    }
    if listed.len() != seen.len() {
        return Err(ArchiveError::NotWhole);
    }
    Ok(())
}

/// The reader of tars says with plain errors that something is no tar.
fn broken(error: io::Error) -> ArchiveError {
    match error.raw_os_error() {
        Some(_) => ArchiveError::Io(error),
        None => ArchiveError::NotWhole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ClipId {
        format!("0192f0c1-2345-7abc-8def-0000{number:08x}")
            .parse()
            .unwrap()
    }

    fn about() -> About {
        About {
            format: FORMAT,
            version: "1".to_owned(),
            schema: 6,
            made_at: Timestamp(1_795_230_000_000),
            clips: 1,
            files: 1,
        }
    }

    fn made(films: u32) -> Vec<u8> {
        let mut writer = Writer::begin(tempfile::tempfile().unwrap(), Timestamp(0));
        writer.add(Name::Secret, 3, &mut b"key".as_slice()).unwrap();
        for number in 0..films {
            let text = format!("film {number}");
            writer
                .add(
                    Name::Film(id(number)),
                    text.len() as u64,
                    &mut text.as_bytes(),
                )
                .unwrap();
        }
        writer
            .add_streamed(Name::Ledger, |into| into.write_all(&[b'x'; 700]))
            .unwrap();
        writer
            .add(Name::Index, 5, &mut b"index".as_slice())
            .unwrap();
        let mut file = writer.finish(about()).unwrap();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn back(bytes: &[u8]) -> Result<Vec<(Name, Vec<u8>)>, ArchiveError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut found = Vec::new();
        let told = read(&file, |name, _, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            found.push((name, bytes));
            Ok::<_, ArchiveError>(())
        })?;
        assert_eq!(told, about());
        Ok(found)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let found = back(&made(2)).unwrap();
        assert_eq!(found.len(), 5);
        assert_eq!(found[0], (Name::Secret, b"key".to_vec()));
        assert_eq!(found[2], (Name::Film(id(1)), b"film 1".to_vec()));
        assert_eq!(found[3].1.len(), 700);
        assert_eq!(found[4], (Name::Index, b"index".to_vec()));
    }

    #[test]
    fn many_entries_are_listed_in_parts() {
        let many = LISTED as u32 * 2 + 10;
        let bytes = made(many);
        assert_eq!(back(&bytes).unwrap().len(), many as usize + 3);
        let part = bytes
            .windows(20)
            .filter(|window| window.starts_with(b"manifest/00000"))
            .count();
        assert_eq!(part, 4, "two entries, each listed by the next manifest");
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let bytes = made(1);
        let mut noticed = 0;
        for place in 0..bytes.len() - 2 * BLOCK as usize {
            let mut other = bytes.clone();
            other[place] ^= 1;
            // Padding and a head's own odds and ends say nothing.
            match back(&other) {
                Ok(found) => assert_eq!(found, back(&bytes).unwrap(), "{place}"),
                Err(_) => noticed += 1,
            }
        }
        assert!(noticed > 2000, "{noticed}");
    }

    #[test]
    fn an_archive_that_is_cut_off_anywhere_is_not_whole() {
        let bytes = made(1);
        let last = bytes.len() - 2 * BLOCK as usize;
        for length in (0..last).step_by(97) {
            assert!(back(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn strangers_are_refused() {
        let with = |kind: EntryType, name: &str| {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            // Not through set_path, which refuses what a stranger would write.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
            let mut bytes = builder.into_inner().unwrap();
            bytes.truncate(BLOCK as usize);
            bytes.extend(made(0));
            bytes
        };
        for (kind, name) in [
            (EntryType::Regular, "../../etc/cron.d/x"),
            (EntryType::Regular, "/etc/passwd"),
            (EntryType::Regular, "clips/../../x/clip"),
            (
                EntryType::Regular,
                "clips/0192F0C1-2345-7abc-8def-000000000000/clip",
            ),
            (
                EntryType::Regular,
                "clips/0192f0c1-2345-7abc-8def-000000000000/x.mp4",
            ),
            (EntryType::Regular, "index.db-wal"),
            (EntryType::Symlink, "secret.key"),
            (EntryType::Link, "secret.key"),
            (EntryType::Directory, "clips/"),
            (EntryType::GNULongName, "secret.key"),
            (EntryType::XHeader, "secret.key"),
            (EntryType::GNUSparse, "secret.key"),
            (EntryType::Char, "secret.key"),
        ] {
            assert!(
                matches!(back(&with(kind, name)), Err(ArchiveError::Stranger(_))),
                "{kind:?} {name}"
            );
        }
        // A name of ours that no manifest lists.
        assert!(back(&with(EntryType::Regular, "secret.key")).is_err());
    }
}
