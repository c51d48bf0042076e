//! What the headers of an upload's requests say: each rule has its own code.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};

use super::VERSION;
use crate::bytes::Bytes;
use crate::http::error::Problem;
use crate::upload::Metadata;
use crate::upload::checksum::{ALGORITHMS, Checksum, ChecksumError};
use crate::uploads::UploadsError;
use crate::uploads::append::Addition;

/// The media type of a piece.
const PIECE: &str = "application/offset+octet-stream";

fn bad(code: &'static str, detail: &str, hint: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail, hint)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // What is not even text is no less wrong than any other wrong value.
    headers
        .get(name)
        .map(|value| value.to_str().unwrap_or("\u{fffd}").trim())
}

/// Forms of web pages are told what to do instead.
pub(super) fn no_multipart(headers: &HeaderMap) -> Result<(), Problem> {
    if media_type(headers).starts_with("multipart/") {
        return Err(bad(
            "upload_multipart",
            "Files are not taken as forms.",
            "Upload by tus 1.0: POST with Upload-Length, then PATCH the bytes to the Location; tus-js-client does it.",
        ));
    }
    Ok(())
}

fn media_type(headers: &HeaderMap) -> String {
    let kind = text(headers, "content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.to_ascii_lowercase()
}

/// Only the version we speak.
pub(super) fn version(headers: &HeaderMap) -> Result<(), Problem> {
    if text(headers, "tus-resumable") == Some(VERSION) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "upload_version",
        "This version of the upload protocol is not spoken here.",
        "Send the header Tus-Resumable: 1.0.0.",
    ))
}

/// How long the file will be; a number that is too large is that, however it is written.
pub(super) fn length(headers: &HeaderMap, most: Bytes) -> Result<u64, Problem> {
    let Some(length) = text(headers, "upload-length") else {
        return Err(bad(
            "upload_length",
            "The length of the upload is missing.",
            "Send Upload-Length with the bytes of the whole file; it cannot be told later.",
        ));
    };
    let wrong = || {
        bad(
            "upload_length",
            "The length of the upload is not a whole number.",
            "Send Upload-Length with the bytes of the whole file.",
        )
    };
    let too_large = || Problem::from(UploadsError::TooLarge(most));
    match number(length) {
        Some(length) if length <= most.0 => Ok(length),
        Some(_) => Err(too_large()),
        None if length
            .parse::<f64>()
            .is_ok_and(|length| length > most.0 as f64) =>
        {
            Err(too_large())
        }
        None => Err(wrong()),
    }
}

/// Digits and nothing else: `+5` is no number of this protocol.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

pub(super) fn metadata(headers: &HeaderMap) -> Result<Metadata, Problem> {
    Metadata::parse(text(headers, "upload-metadata").unwrap_or_default()).map_err(|_| {
        bad(
            "upload_metadata",
            "Upload-Metadata is not a list of names with Base64 values, at most 4096 characters long.",
            "Write it like: filename aG9saWRheS5tcDQ=,filetype dmlkZW8vbXA0",
        )
    })
}

/// The bytes that come with the request that begins an upload, if any do.
pub(super) fn first_addition(headers: &HeaderMap) -> Result<Option<Addition>, Problem> {
    let empty = body_length(headers) == Some(0)
        || (body_length(headers).is_none() && !headers.contains_key(header::TRANSFER_ENCODING));
    if empty {
        return Ok(None);
    }
    piece(headers)?;
    Ok(Some(Addition {
        offset: 0,
        length: body_length(headers),
        checksum: checksum(headers)?,
    }))
}

/// What a PATCH adds and where.
pub(super) fn addition(headers: &HeaderMap) -> Result<Addition, Problem> {
    piece(headers)?;
    let offset = text(headers, "upload-offset").and_then(number);
    Ok(Addition {
        offset: offset.ok_or_else(|| {
            bad(
                "upload_offset",
                "Upload-Offset is missing or not a whole number.",
                "Ask with HEAD where to go on and send that number.",
            )
        })?,
        length: body_length(headers),
        checksum: checksum(headers)?,
    })
}

fn piece(headers: &HeaderMap) -> Result<(), Problem> {
    if media_type(headers) != PIECE {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            "The body has to be a piece of the file.",
            format!("Send the header Content-Type: {PIECE}."),
        ));
    }
    let encoding = text(headers, "content-encoding").unwrap_or("identity");
    if !encoding.eq_ignore_ascii_case("identity") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_encoding",
            "Compressed bodies are not taken.",
            "Send the bytes as they are.",
        ));
    }
    Ok(())
}

fn body_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, "content-length").and_then(number)
}

fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, Problem> {
    let Some(told) = text(headers, "upload-checksum") else {
        return Ok(None);
    };
    Checksum::parse(told)
        .map(Some)
        .map_err(|error| match error {
            ChecksumError::Algorithm => bad(
                "upload_checksum",
                "This checksum algorithm is not known here.",
                &format!("Use one of {ALGORITHMS}."),
            ),
            ChecksumError::Value => bad(
                "upload_checksum",
                "The checksum is not the Base64 of a hash of its algorithm.",
                "Write it like: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn lengths_are_whole_numbers_within_the_limit() {
        let most = Bytes(1000);
        for (given, told) in [
            ("0", Ok(0)),
            ("1000", Ok(1000)),
            ("0010", Ok(10)),
            ("1001", Err(413)),
            ("1000000000000000000000000000000", Err(413)),
            ("1e30", Err(413)),
            ("-1", Err(400)),
            ("+5", Err(400)),
            ("5.0", Err(400)),
            ("0x10", Err(400)),
            ("five", Err(400)),
            ("", Err(400)),
            ("NaN", Err(400)),
        ] {
            let length = length(&headers(&[("upload-length", given)]), most);
            let length = length.map_err(|problem| problem.status.as_u16());
            assert_eq!(length, told, "{given}");
        }
        let deferred = length(&headers(&[("upload-defer-length", "1")]), most);
        assert_eq!(deferred.unwrap_err().code, "upload_length");
    }
}
