//! Checksums that an uploader sends with a piece (tus 1.0, checksum extension): SHA-1 and SHA-256. They find damage on the way; nothing
//! here is about trust.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The algorithms, as `Tus-Checksum-Algorithm` lists them.
pub const ALGORITHMS: &str = "sha1,sha256";

/// What a piece is said to hash to, and its hash as far as it has come.
#[derive(Clone)]
pub struct Checksum {
    told: Vec<u8>,
    running: Running,
}

#[derive(Clone)]
enum Running {
    Sha1(Sha1),
    Sha256(Sha256),
}

/// Why a checksum cannot be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    #[error("this checksum algorithm is not known")]
    Algorithm,
    #[error("the checksum is not the Base64 of a hash of that algorithm")]
    Value,
}

impl Checksum {
    /// Reads `Upload-Checksum`: the algorithm, a space, the hash in Base64.
    ///
    /// # Errors
    /// When the algorithm is unknown or the hash cannot be one of it.
    pub fn parse(text: &str) -> Result<Checksum, ChecksumError> {
        let (algorithm, value) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let (running, length) = match algorithm {
            "sha1" => (Running::Sha1(Sha1::new()), 20),
            "sha256" => (Running::Sha256(Sha256::new()), 32),
            _ => return Err(ChecksumError::Algorithm),
        };
        let told = STANDARD
            .decode(value.trim())
            .map_err(|_| ChecksumError::Value)?;
        if told.len() != length {
            return Err(ChecksumError::Value);
        }
        Ok(Checksum { told, running })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.running {
            Running::Sha1(hash) => hash.update(bytes),
            Running::Sha256(hash) => hash.update(bytes),
        }
    }

    /// Whether all bytes taken hash to what was told.
    pub fn holds(self) -> bool {
        match self.running {
            Running::Sha1(hash) => hash.finalize()[..] == self.told[..],
            Running::Sha256(hash) => hash.finalize()[..] == self.told[..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_holds_for_its_own_bytes_only() {
        for text in [
            "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
            "sha256 uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=",
        ] {
            let checksum = Checksum::parse(text).unwrap();
            let mut right = checksum.clone();
            right.update(b"hello ");
            right.update(b"world");
            assert!(right.holds(), "{text}");
            let mut wrong = checksum.clone();
            wrong.update(b"hello world!");
            assert!(!wrong.holds(), "{text}");
            assert!(!checksum.holds(), "{text}");
        }
    }

    #[test]
    fn what_is_no_checksum_is_refused() {
        for (text, error) in [
            ("", ChecksumError::Algorithm),
            ("md5 XrY7u+Ae7tCTyyK7j1rNww==", ChecksumError::Algorithm),
            (
                "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
                ChecksumError::Algorithm,
            ),
            ("sha1", ChecksumError::Value),
            ("sha1 !", ChecksumError::Value),
            ("sha1 eA==", ChecksumError::Value),
            ("sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", ChecksumError::Value),
        ] {
            assert_eq!(Checksum::parse(text).err(), Some(error), "{text}");
        }
    }
}
