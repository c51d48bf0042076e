//! The upload: a visitor's file, whole or still on its way in. Pure: no clock, no randomness, no I/O.

pub mod checksum;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::timestamp::Timestamp;
use crate::title;

/// An upload's id: a random UUID, because whoever knows it may use the file. It is shown to the uploader alone and never logged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UploadId(pub Uuid);

impl UploadId {
    /// Enough of the id to tell uploads apart in the log, too little to use one.
    pub fn mark(self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Only the mark: what is printed for debugging ends in logs.
impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadId({}…)", self.mark())
    }
}

impl FromStr for UploadId {
    type Err = uuid::Error;

    /// Only the hyphenated lower-case form, so that one upload has one address.
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        let id = Uuid::parse_str(text)?;
        if id.to_string() == text {
            Ok(UploadId(id))
        } else {
            // Any parse error says the same thing to the caller: no such upload.
            Uuid::parse_str("").map(UploadId)
        }
    }
}

/// An upload as the index knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    pub id: UploadId,
    /// Bytes that it will have.
    pub length: u64,
    /// Bytes from the start that are on the disk for good.
    pub received: u64,
    pub metadata: Metadata,
    /// When the last byte came or the last clip was done with it.
    pub used_at: Timestamp,
    /// A clip that waits or runs is made from it.
    pub needed: bool,
}

impl Upload {
    /// Every byte is there.
    pub fn is_complete(&self) -> bool {
        self.received >= self.length
    }

    /// Bytes still to come.
    pub fn missing(&self) -> u64 {
        self.length.saturating_sub(self.received)
    }
}

/// What the uploader says about the file: `Upload-Metadata` as it was sent, checked.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Metadata(String);

/// What was sent is no metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata is not a list of names with Base64 values")]
pub struct MetadataError;

/// Names of files can be private.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata({} bytes)", self.0.len())
    }
}

/// Padding is told to be required (RFC 4648 section 3.2), but clients leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const MOST_METADATA: usize = 4096;

impl Metadata {
    /// Reads the header: `name value, name value`, values in Base64 and optional, names ASCII and different (tus 1.0, Upload-Metadata).
    ///
    /// # Errors
    /// When it is anything else, or longer than 4 kB.
    pub fn parse(text: &str) -> Result<Metadata, MetadataError> {
        let text = text.trim();
        if text.len() > MOST_METADATA || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(MetadataError);
        }
        let mut names = Vec::new();
        for (name, value) in pairs(text) {
            if name.is_empty() || names.contains(&name) || BASE64.decode(value).is_err() {
                return Err(MetadataError);
            }
            names.push(name);
        }
        Ok(Metadata(text.to_owned()))
    }

    /// As it was sent; empty when nothing was.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A title made from the file's name.
    pub fn title(&self) -> String {
        let named = |wanted: &str| {
            let (_, value) = pairs(&self.0).find(|(name, _)| *name == wanted)?;
            let bytes = BASE64.decode(value).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let name = named("filename").or_else(|| named("name"));
        title::of_name(&name.unwrap_or_default())
    }
}

/// Names with their values, still in Base64.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let list = (!text.is_empty()).then(|| text.split(','));
    list.into_iter().flatten().map(|pair| {
        let pair = pair.trim();
        pair.split_once(' ')
            .map_or((pair, ""), |(name, value)| (name, value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_names_with_base64_values() {
        for text in [
            "",
            "filename eC5tcDQ=",
            "filename eC5tcDQ",
            "filename eC5tcDQ=,filetype dmlkZW8vbXA0",
            "filename eC5tcDQ=, is_confidential",
            "empty ",
        ] {
            assert_eq!(Metadata::parse(text).unwrap().as_str(), text.trim());
        }
        for text in [
            "filename x.mp4",
            "filename eC5tcDQ=,",
            ",",
            "filename eC5tcDQ=,filename eA==",
            "filename eC5tcDQ= eA==",
            "filename e\u{e9}",
            "filename eC5tcDQ=\r\nX: y",
            &format!("filename {}", "A".repeat(5000)),
        ] {
            assert_eq!(Metadata::parse(text), Err(MetadataError), "{text:?}");
        }
    }

    #[test]
    fn the_title_is_made_from_the_name() {
        for (text, title) in [
            ("filename eC5tcDQ=", "x"),
            ("name eC5tcDQ=", "x"),
            ("name YQ==,filename eC5tcDQ=", "x"),
            ("filetype dmlkZW8vbXA0", "clip"),
            ("filename", "clip"),
            ("filename //8uYQ==", "\u{fffd}\u{fffd}"),
            ("", "clip"),
        ] {
            assert_eq!(Metadata::parse(text).unwrap().title(), title, "{text}");
        }
    }

    #[test]
    fn debugging_shows_neither_id_nor_name() {
        let id: UploadId = "5f0c1a52-7c3e-4d8a-9d0b-0123456789ab".parse().unwrap();
        assert_eq!(format!("{id:?}"), "UploadId(5f0c1a52…)");
        let metadata = Metadata::parse("filename eC5tcDQ=").unwrap();
        assert!(!format!("{metadata:?}").contains("eC5tcDQ"));
    }
}
