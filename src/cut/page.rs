//! Reading a page of a video site: the settings, the loan of the cookies file, the run of yt-dlp through the gate, and whose fault it was.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::CutError;
use crate::config::Sources;
use crate::media::sidecar::{self, SidecarError};
use crate::media::{Bench, MediaError};
use crate::source::page::{self, LentCookies, Live, Page, PageError, Wish};

/// What reads pages.
#[derive(Clone, Debug)]
pub struct Reader {
    /// None: pages are off.
    program: Option<PathBuf>,
    cookies: Option<PathBuf>,
    js_runtime: Option<String>,
    deadline: Duration,
}

impl Reader {
    /// From the settings.
    pub fn new(sources: &Sources) -> Reader {
        // The program runs in the job's directory, where a relative path means another one. A bare name is looked for on PATH.
        let named = |path: &PathBuf| match path.components().count() {
            0 => None,
            1 => Some(path.clone()),
            _ => std::path::absolute(path).ok(),
        };
        Reader {
            program: named(&sources.ytdlp_path),
            cookies: named(&sources.cookies_file),
            js_runtime: Some(sources.js_runtime.clone()).filter(|runtime| !runtime.is_empty()),
            deadline: Duration::from_secs(sources.page_seconds),
        }
    }

    /// The video on a page, with streams no taller than `height` where there is a choice.
    ///
    /// # Errors
    /// When pages are off, or the page has no video that can be had.
    pub async fn read(
        &self,
        bench: &Bench<'_>,
        url: &Url,
        proxy: &str,
        height: u32,
    ) -> Result<Page, CutError> {
        let program = self.program.as_ref().ok_or(PageError::Off)?;
        let lent = self
            .cookies
            .as_ref()
            .map(|file| LentCookies::lend(file, bench.dir))
            .transpose()
            .map_err(|error| {
                tracing::error!(%error, "sources.cookies_file cannot be used");
                PageError::Cookies
            })?;
        let wish = Wish {
            height,
            cookies: lent.as_ref().map(LentCookies::path),
            js_runtime: self.js_runtime.as_deref(),
        };
        let job = sidecar::Job {
            proxy: Some(proxy),
            ..bench.job(self.deadline)
        };
        let printed = sidecar::ytdlp(job, program, page::arguments(url, &wish)).await;
        let printed = printed.map_err(|error| match error {
            SidecarError::Missing { .. } => PageError::Off.into(),
            SidecarError::Deadline(_) => PageError::Timeout.into(),
            SidecarError::Stopped => CutError::Media(MediaError::Stopped),
            SidecarError::Exit { stderr, .. } => page::blame(&stderr).into(),
            SidecarError::Io(error) => MediaError::from(error).into(),
        })?;
        let page = page::read(&printed, &wish)?;
        match page.live {
            Live::Recorded => Ok(page),
            Live::Running => Err(PageError::Live.into()),
        }
    }
}
