//! Our own requests, which know no way out but the gate. What one answers goes into memory, bounded, or into a file, decrypted on the
//! way when it has to be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use aes::Aes128;
use cbc::cipher::{Block, BlockModeDecrypt, KeyIvInit};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode, Url};

use super::client::{Client, Silence};
use super::page::Stream;
use super::playlist::Part;
use super::spool::content_range;

/// Asks for things on behalf of one source.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    /// What servers of a page's stream want to be sent.
    stream: Option<Arc<Stream>>,
}

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("a part of this playlist is behind neither http nor https")]
    Scheme,
    #[error("the server answered with {0}")]
    Status(StatusCode),
    #[error("the answer is larger than it may be")]
    TooLarge,
    #[error("the answer broke off")]
    BrokeOff,
    #[error("a part could not be decrypted")]
    Cipher,
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    #[error("the bytes could not be written")]
    Io(#[from] io::Error),
}

impl From<reqwest::Error> for FetchError {
    /// Without the address, which may hold a secret.
    fn from(error: reqwest::Error) -> FetchError {
        FetchError::Request(error.without_url())
    }
}

impl FetchError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            FetchError::Scheme => "url_scheme",
            FetchError::Status(_) | FetchError::BrokeOff => "source_unreachable",
            FetchError::Request(error) if error.is_timeout() => "source_timeout",
            FetchError::Request(_) => "source_unreachable",
            FetchError::TooLarge => "source_too_large",
            FetchError::Cipher => "source_damaged",
            FetchError::Io(_) => "io",
        }
    }

    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            FetchError::Status(_) | FetchError::BrokeOff | FetchError::Request(_) => {
                "Check that the link still works, then try again."
            }
            FetchError::Scheme => "Use a link whose parts start with http:// or https://.",
            FetchError::TooLarge => "Use a smaller version of the video.",
            FetchError::Cipher => "Use another copy of the video.",
            FetchError::Io(_) => "Check the data directory with `meme-maker doctor`.",
        }
    }
}

/// A server that is silent for so long will stay so.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// Key and vector of a piece (AES-128, CBC).
pub type Secret = ([u8; 16], [u8; 16]);

impl Fetcher {
    /// A client behind `proxy`.
    ///
    /// # Errors
    /// When the proxy's address cannot be used.
    pub fn new(proxy: &str) -> Result<Fetcher, FetchError> {
        let client = Client::through(proxy, Silence::AtMost(SILENCE))?;
        Ok(Fetcher {
            client,
            stream: None,
        })
    }

    /// The same with what the servers of a page's stream want to be sent.
    #[must_use]
    pub fn on_behalf_of(self, stream: &Stream) -> Fetcher {
        Fetcher {
            stream: Some(Arc::new(stream.clone())),
            ..self
        }
    }

    /// Asks for a link, or a range of it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(
        &self,
        url: &Url,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Response, FetchError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Scheme);
        }
        let range =
            range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let answer = self
            .client
            .get_with(url, range.as_deref(), |url| self.headers(url));
        Ok(answer.await?)
    }

    /// What the server at an address wants to be sent.
    fn headers(&self, url: &Url) -> HeaderMap {
        let wanted = self
            .stream
            .iter()
            .flat_map(|stream| stream.headers_for(url));
        wanted
            .filter_map(|(name, value)| {
                let name = name.parse::<HeaderName>().ok()?;
                Some((name, value.parse::<HeaderValue>().ok()?))
            })
            .collect()
    }

    /// A part in memory: at most `most` bytes of it.
    ///
    /// # Errors
    /// When it is refused, larger, or breaks off.
    pub async fn bytes(&self, part: &Part, most: u64) -> Result<(Vec<u8>, Url), FetchError> {
        let answer = self.ask(&part.url, part.range.clone()).await?;
        let from = answer.url().clone();
        let bytes = rest(Vec::new(), answer, part, most).await?;
        Ok((bytes, from))
    }

    /// Writes a part behind what `file` holds already and decrypts it on the way; with `most`, only the beginning of it.
    ///
    /// # Errors
    /// When it is refused, breaks off, or cannot be decrypted or written.
    pub async fn append(
        &self,
        part: &Part,
        secret: Option<Secret>,
        most: Option<u64>,
        file: &mut Sink,
    ) -> Result<(), FetchError> {
        let wanted = match (&part.range, most) {
            (Some(range), Some(most)) => {
                Some(range.start..range.end.min(range.start.saturating_add(most)))
            }
            (Some(range), None) => Some(range.clone()),
            (None, Some(most)) => Some(0..most),
            (None, None) => None,
        };
        let expected = part
            .range
            .as_ref()
            .and(wanted.as_ref())
            .map(|range| range.end - range.start);
        let mut answer = checked(self.ask(&part.url, wanted).await?, part)?;
        let mut left = expected.or(most).unwrap_or(u64::MAX);
        let mut piece = Piece::new(secret);
        let mut came = 0_u64;
        while let Some(bytes) = answer.chunk().await? {
            let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= taken as u64;
            came += taken as u64;
            file.write(piece.open(&bytes[..taken])).await?;
            if left == 0 {
                break;
            }
        }
        if expected.is_some_and(|expected| came < expected) {
            return Err(FetchError::BrokeOff);
        }
        if most.is_none() {
            file.write(piece.finish()?).await?;
        }
        Ok(())
    }
}

/// The rest of an answer behind what was read of it already.
///
/// # Errors
/// As [`Fetcher::bytes`].
pub async fn rest(
    mut read: Vec<u8>,
    answer: Response,
    part: &Part,
    most: u64,
) -> Result<Vec<u8>, FetchError> {
    let mut answer = checked(answer, part)?;
    while let Some(bytes) = answer.chunk().await? {
        if (read.len() + bytes.len()) as u64 > most {
            return Err(FetchError::TooLarge);
        }
        read.extend_from_slice(&bytes);
    }
    if part
        .range
        .as_ref()
        .is_some_and(|range| read.len() as u64 != range.end - range.start)
    {
        return Err(FetchError::BrokeOff);
    }
    Ok(read)
}

/// Refuses an answer that is not what was asked for: a range of a file must come as that range, else other bytes would be taken for it.
fn checked(answer: Response, part: &Part) -> Result<Response, FetchError> {
    let status = answer.status();
    let fits = match &part.range {
        Some(range) => {
            let told = answer.headers().get(CONTENT_RANGE);
            let told = told.and_then(|told| content_range(told.to_str().ok()?));
            status == StatusCode::PARTIAL_CONTENT
                && told.is_some_and(|(told, _)| told.start == range.start && told.end <= range.end)
        }
        None => status.is_success(),
    };
    if fits {
        Ok(answer)
    } else if status.is_success() {
        Err(FetchError::BrokeOff)
    } else {
        Err(FetchError::Status(status))
    }
}

/// What the server calls its answer, without parameters.
pub fn content_type(answer: &Response) -> String {
    let kind = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub struct Sink {
    file: Arc<File>,
    at: u64,
}

impl Sink {
    /// An empty file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &std::path::Path) -> io::Result<Sink> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Sink {
            file: Arc::new(file),
            at: 0,
        })
    }

    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.at
    }

    async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (file, at) = (Arc::clone(&self.file), self.at);
        self.at += bytes.len() as u64;
        tokio::task::spawn_blocking(move || file.write_all_at(&bytes, at))
            .await
            .map_err(io::Error::other)?
    }
}

/// A piece on its way through the cipher, if it has one.
struct Piece {
    cipher: Option<cbc::Decryptor<Aes128>>,
    /// Encrypted bytes that make no block yet.
    pending: Vec<u8>,
    /// The last block: what of it is padding is known only when nothing follows.
    held: Vec<u8>,
}

const BLOCK: usize = 16;

impl Piece {
    fn new(secret: Option<Secret>) -> Piece {
        Piece {
            cipher: secret.map(|(key, iv)| cbc::Decryptor::new(&key.into(), &iv.into())),
            pending: Vec::new(),
            held: Vec::new(),
        }
    }

    fn open(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(cipher) = &mut self.cipher else {
            return bytes.to_vec();
        };
        self.pending.extend_from_slice(bytes);
        let whole = self.pending.len() / BLOCK * BLOCK;
        let mut plain = std::mem::take(&mut self.held);
        let from = plain.len();
        plain.extend(self.pending.drain(..whole));
        for block in plain[from..].chunks_exact_mut(BLOCK) {
            if let Ok(block) = <&mut Block<cbc::Decryptor<Aes128>>>::try_from(block) {
                cipher.decrypt_block(block);
            }
        }
        self.held = plain.split_off(plain.len().saturating_sub(BLOCK));
        plain
    }

    /// The last block without its padding (RFC 5652, clause 6.3).
    fn finish(mut self) -> Result<Vec<u8>, FetchError> {
        if self.cipher.is_none() {
            return Ok(Vec::new());
        }
        let padding = self.held.last().map_or(0, |last| usize::from(*last));
        let padded = self.pending.is_empty()
            && (1..=BLOCK).contains(&padding)
            && self.held.len() == BLOCK
            && self.held[BLOCK - padding..]
                .iter()
                .all(|byte| usize::from(*byte) == padding);
        if !padded {
            return Err(FetchError::Cipher);
        }
        self.held.truncate(BLOCK - padding);
        Ok(self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len() / 2)
            .map(|place| u8::from_str_radix(&text[2 * place..2 * place + 2], 16).unwrap())
            .collect()
    }

    /// NIST SP 800-38A, F.2.1, with a block of padding behind.
    const KEY: &str = "2b7e151628aed2a6abf7158809cf4f3c";
    const IV: &str = "000102030405060708090a0b0c0d0e0f";
    const CODED: &str = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
                         73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7";
    const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

    fn secret() -> Option<Secret> {
        Some((
            unhex(KEY).try_into().unwrap(),
            unhex(IV).try_into().unwrap(),
        ))
    }

    #[test]
    fn pieces_are_decrypted_however_they_arrive() {
        let coded = unhex(CODED);
        for step in [1, 7, 16, 17, 64] {
            let mut piece = Piece::new(secret());
            let mut plain = Vec::new();
            for bytes in coded.chunks(step) {
                plain.extend(piece.open(bytes));
            }
            // Its last block is held back, and is no padding.
            assert_eq!(plain, unhex(PLAIN)[..48], "{step}");
            assert!(matches!(piece.finish(), Err(FetchError::Cipher)));
        }
    }

    #[test]
    fn padding_goes_and_must_be_right() {
        use cbc::cipher::BlockModeEncrypt;
        for length in [0, 1, 15, 16, 17, 100] {
            let plain: Vec<u8> = (0..length).collect();
            let (key, iv) = secret().unwrap();
            let padding = BLOCK - plain.len() % BLOCK;
            let mut coded = plain.clone();
            coded.extend(std::iter::repeat_n(padding as u8, padding));
            let mut cipher = cbc::Encryptor::<Aes128>::new(&key.into(), &iv.into());
            for block in coded.chunks_exact_mut(BLOCK) {
                cipher.encrypt_block(block.try_into().unwrap());
            }
            let mut piece = Piece::new(secret());
            let mut opened = piece.open(&coded);
            opened.extend(piece.finish().unwrap());
            assert_eq!(opened, plain);
            let mut piece = Piece::new(secret());
            piece.open(&coded[..coded.len() - 1]);
            assert!(piece.finish().is_err());
        }
        assert_eq!(Piece::new(None).open(b"as it is"), b"as it is");
    }
}
