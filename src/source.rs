//! Where video comes from: a recipe's source opened, with the one way by which it may be reached. It never decodes.

mod client;
pub mod fetch;
pub mod gate;
pub mod page;
pub mod playlist;
pub mod relay;
pub mod sniff;
pub mod spool;
pub mod upload;

use std::path::{Path, PathBuf};

use url::Url;

use crate::recipe::Source;
use gate::{Budget, Gate, Lease, Refusal};

/// A source ready to be read; what it was leased is void when this is dropped.
pub struct Opened {
    pub place: Place,
    lease: Option<Lease>,
}

/// Where the bytes are.
#[derive(Clone, Debug)]
pub enum Place {
    File(PathBuf),
    /// A link and the proxy that leads to it.
    Link {
        url: Url,
        proxy: String,
    },
}

/// Why a source cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("the file {0} cannot be read")]
    File(PathBuf, #[source] std::io::Error),
    #[error("the upload that this clip is made from is not here any more")]
    UploadGone,
    #[error("the upload that this clip is made from cannot be read")]
    Upload(#[source] std::io::Error),
}

impl SourceError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            SourceError::Refused(refusal) => refusal.code(),
            SourceError::File(..) => "source_unreachable",
            SourceError::UploadGone => "upload_gone",
            SourceError::Upload(_) => "io",
        }
    }

    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            SourceError::Refused(refusal) => refusal_hint(refusal),
            SourceError::File(..) => "Check the path and its permissions.",
            SourceError::UploadGone => "Upload the file again and make a new clip from it.",
            SourceError::Upload(_) => "Try again; the operator finds the cause in the log.",
        }
    }
}

/// The next step after a refusal of the gate.
pub fn refusal_hint(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Invalid => "Paste the full address of a video, starting with https://.",
        Refusal::Scheme => "Use a link that starts with http:// or https://.",
        Refusal::Credentials => "Use a link that needs no password.",
        Refusal::Port(_) => {
            "Use a link without a port; the operator can open one with egress.ports."
        }
        Refusal::Blocked => {
            "Use a public link; the operator can open a private place with egress.allow."
        }
        Refusal::Denied => "Use another link; the operator can open this place with egress.deny.",
        Refusal::Own => "Paste the link that the clip was made from.",
        Refusal::Downgrade | Refusal::Redirects => {
            "Open the link in a browser and paste the address it ends at."
        }
        Refusal::Unresolvable(_) | Refusal::Unreachable(_) => {
            "Check that the link still works, then try again."
        }
        Refusal::Bytes => "Choose a shorter stretch or a smaller version of the video.",
        Refusal::Connections | Refusal::Deadline => "Try again later; the server may be slow.",
    }
}

impl Opened {
    /// Bytes that have travelled so far.
    pub fn bytes(&self) -> u64 {
        self.lease.as_ref().map_or(0, Lease::bytes)
    }

    /// The gate's first refusal, which explains whatever error the reader made of it.
    pub fn refusal(&self) -> Option<Refusal> {
        self.lease.as_ref().and_then(Lease::refusal)
    }
}

/// Where things are that opening a source needs.
#[derive(Clone, Copy, Debug)]
pub struct Folders<'a> {
    /// Of all uploads.
    pub uploads: &'a Path,
    /// In which the job works.
    pub work: &'a Path,
}

/// Opens a source. A link is judged as far as it can be without resolving its name; the gate judges the rest on the way. `subject` is
/// whom refusals are about.
///
/// # Errors
/// When the policy refuses the link or the file is not there.
pub fn open(
    gate: &Gate,
    folders: Folders<'_>,
    source: &Source,
    budget: Budget,
    subject: Option<&str>,
) -> Result<Opened, SourceError> {
    match source {
        Source::Upload(id) => {
            // By a name of the job's own: a sidecar may see no other folder, and what it says about the file ends in the log.
            let path = folders.work.join("upload");
            match std::fs::hard_link(upload::file_of(folders.uploads, *id), &path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(SourceError::UploadGone);
                }
                // It was opened for this job before.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                linked => linked.map_err(SourceError::Upload)?,
            }
            Ok(Opened {
                place: Place::File(path),
                lease: None,
            })
        }
        Source::File(path) => {
            let path = std::fs::canonicalize(path)
                .map_err(|error| SourceError::File(path.clone(), error))?;
            std::fs::File::open(&path).map_err(|error| SourceError::File(path.clone(), error))?;
            Ok(Opened {
                place: Place::File(path),
                lease: None,
            })
        }
        Source::Url(url) => open_link(gate, url, budget, subject),
    }
}

/// Opens a link, as [`open`] does.
///
/// # Errors
/// When the policy refuses it.
pub fn open_link(
    gate: &Gate,
    url: &Url,
    budget: Budget,
    subject: Option<&str>,
) -> Result<Opened, SourceError> {
    gate.judge(url, subject)?;
    let lease = gate.lease_for(url, budget, subject);
    let place = Place::Link {
        url: url.clone(),
        proxy: lease.proxy_url(),
    };
    Ok(Opened {
        place,
        lease: Some(lease),
    })
}
