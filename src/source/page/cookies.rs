//! The operator's cookies file, lent to one run: the program writes its jar back, so it gets a copy that only it may read and that
//! is gone with the loan. Its content is never read into a message.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Netscape files of a whole browser are a few hundred kilobytes.
const MOST: u64 = 8 << 20;

/// A copy in a job's directory, removed when this is dropped.
#[derive(Debug)]
pub struct LentCookies {
    path: PathBuf,
}

impl LentCookies {
    /// Copies `file` into `dir`.
    ///
    /// # Errors
    /// When it cannot be read or is larger than a cookies file is, or the copy cannot be written.
    pub fn lend(file: &Path, dir: &Path) -> io::Result<LentCookies> {
        let text = read(file)?;
        let path = dir.join("cookies.txt");
        let mut copy = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        // From here on the copy is removed whatever happens.
        let lent = LentCookies { path };
        copy.write_all(&text)?;
        Ok(lent)
    }

    /// Where the copy is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LentCookies {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a lent cookies file could not be removed");
        }
    }
}

/// Counts the cookies of a file in Netscape's format.
///
/// # Errors
/// When it cannot be read or holds anything else, in words for the operator.
pub fn examine_cookies(file: &Path) -> Result<usize, String> {
    let text = read(file).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&text);
    // `#HttpOnly_` in front of a domain is no comment.
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .filter(|line| !line.starts_with('#') || line.starts_with("#HttpOnly_"));
    let mut count = 0;
    for line in lines {
        if line.split('\t').count() != 7 {
            return Err("it is not in Netscape's format (seven columns with tabs)".to_owned());
        }
        count += 1;
    }
    // The program looks for this line and refuses a file without it.
    let head = text.lines().next().unwrap_or_default();
    if head.starts_with("# Netscape HTTP Cookie File") || head.starts_with("# HTTP Cookie File") {
        Ok(count)
    } else {
        Err("its first line is not `# Netscape HTTP Cookie File`".to_owned())
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(file)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = Vec::new();
    file.take(MOST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(io::Error::other("it is too large for a cookies file"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const JAR: &str =
        "# Netscape HTTP Cookie File\n\n.example.org\tTRUE\t/\tTRUE\t0\tsid\tsecret\n";

    #[test]
    fn a_lent_file_is_for_its_job_alone_and_the_original_stays() {
        let dir = tempfile::tempdir().unwrap();
        let job = tempfile::tempdir().unwrap();
        let original = dir.path().join("jar");
        std::fs::write(&original, JAR).unwrap();
        let lent = LentCookies::lend(&original, job.path()).unwrap();
        let copy = lent.path().to_owned();
        let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&copy, "changed").unwrap();
        // A second loan must not follow what lies there.
        assert!(LentCookies::lend(&original, job.path()).is_err());
        drop(lent);
        assert!(!copy.exists());
        assert_eq!(std::fs::read_to_string(&original).unwrap(), JAR);
    }

    #[test]
    fn a_file_that_holds_no_cookies_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jar");
        for (text, count) in [
            (JAR.to_owned(), Some(1)),
            (
                format!("{JAR}#HttpOnly_.a.org\tTRUE\t/\tTRUE\t0\ta\tb\n"),
                Some(2),
            ),
            ("# Netscape HTTP Cookie File\n".to_owned(), Some(0)),
            ("[{\"name\": \"sid\"}]".to_owned(), None),
            ("# Netscape HTTP Cookie File\nsid=secret\n".to_owned(), None),
            (JAR.replace("# Netscape HTTP Cookie File", "# mine"), None),
            (String::new(), None),
        ] {
            std::fs::write(&path, &text).unwrap();
            let found = examine_cookies(&path);
            assert!(!format!("{found:?}").contains("secret"));
            assert_eq!(found.ok(), count, "{text}");
        }
        assert!(examine_cookies(&dir.path().join("none")).is_err());
        assert!(examine_cookies(dir.path()).is_err());
    }
}
