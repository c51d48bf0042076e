//! Somebody far away who asks the site: requests with bounded answers, and what the certificate is. It judges nothing.

use std::error::Error;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::tls::TlsInfo;
use reqwest::{Certificate, Client, Method, Response, Url};
use rustls::CertificateError;

use crate::cli::outward;
use crate::worker::chain;

/// More of an answer is not looked at.
const MOST: usize = 1 << 20;

/// One site, asked again and again.
pub(super) struct Caller {
    client: Client,
    pub(super) site: Url,
    token: Option<String>,
}

/// An answer, as much of it as counts.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// The certificate does not count.
    Certificate(CertificateError),
    /// Something else, in words.
    Other(String),
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Silence::Certificate(error) => write!(f, "the certificate does not count: {error}"),
            Silence::Other(words) => f.write_str(words),
        }
    }
}

impl Answer {
    /// A header as text; empty when there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(super) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of a problem, if it is one.
    pub(super) fn code(&self) -> String {
        let code = self
            .json()
            .and_then(|problem| problem["code"].as_str().map(str::to_owned));
        code.unwrap_or_default()
    }

    /// The status and what a problem says.
    pub(super) fn told(&self) -> String {
        let detail = self
            .json()
            .and_then(|problem| problem["detail"].as_str().map(str::to_owned));
        match detail {
            Some(detail) => format!("{}, {detail}", self.status),
            None => self.status.to_string(),
        }
    }
}

impl Caller {
    /// # Errors
    /// When an authority's certificate cannot be used.
    pub(super) fn new(
        site: Url,
        addresses: &[std::net::IpAddr],
        authorities: Vec<Certificate>,
        token: Option<String>,
    ) -> Result<Caller, reqwest::Error> {
        let client = outward::client(&site, addresses, authorities)?
            .tls_info(true)
            .build()?;
        Ok(Caller {
            client,
            site,
            token,
        })
    }

    /// The same without a token.
    pub(super) fn stranger(&self) -> Caller {
        Caller {
            client: self.client.clone(),
            site: self.site.clone(),
            token: None,
        }
    }

    /// An address of the site.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn at(&self, path: &str) -> Result<Url, Silence> {
        self.site
            .join(path)
            .map_err(|error| Silence::Other(format!("{path}: {error}")))
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, Silence> {
        let asked = async {
            let mut answer = self.open(method, url, headers, body).await?;
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let mut body = Vec::new();
            while body.len() < MOST
                && let Some(piece) = answer.chunk().await.map_err(silence)?
            {
                body.extend_from_slice(&piece);
            }
            Ok(Answer {
                status,
                headers,
                body,
            })
        };
        match tokio::time::timeout(outward::DEADLINE, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Silence::Other(format!(
                "no answer within {} s",
                outward::DEADLINE.as_secs()
            ))),
        }
    }

    pub(super) async fn get(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Answer, Silence> {
        self.ask(Method::GET, &self.at(path)?, headers, Vec::new())
            .await
    }

    /// The head of an answer, and how long its first bytes take; none when they do not come in time.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn first_bytes(
        &self,
        path: &str,
        within: Duration,
    ) -> Result<(u16, Option<Duration>), Silence> {
        let url = self.at(path)?;
        let headers = [("Accept", "text/event-stream"), ("Accept-Encoding", "gzip")];
        let began = Instant::now();
        // A proxy that holds the body back may hold the head back with it.
        let opened = self.open(Method::GET, &url, &headers, Vec::new());
        let Ok(opened) = tokio::time::timeout(within, opened).await else {
            return Ok((200, None));
        };
        let mut opened = opened?;
        let status = opened.status().as_u16();
        let left = within.saturating_sub(began.elapsed());
        match tokio::time::timeout(left, opened.chunk()).await {
            Ok(Ok(Some(_))) => Ok((status, Some(began.elapsed()))),
            Ok(Ok(None)) | Err(_) => Ok((status, None)),
            Ok(Err(error)) => Err(silence(error)),
        }
    }

    /// When the site's certificate ends, in seconds since 1970; none without TLS.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn certificate_ends(&self) -> Result<Option<i64>, Silence> {
        let answer = self.open(Method::GET, &self.site, &[], Vec::new()).await?;
        let told = answer.extensions().get::<TlsInfo>();
        let ends = told.and_then(TlsInfo::peer_certificate).and_then(|told| {
            let (_, certificate) = x509_parser::parse_x509_certificate(told).ok()?;
            Some(certificate.validity().not_after.timestamp())
        });
        Ok(ends)
    }

    async fn open(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
    ) -> Result<Response, Silence> {
        let mut request = self.client.request(method, url.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // The token is for this site and no other.
        if let Some(token) = &self.token
            && url.origin() == self.site.origin()
        {
            request = request.bearer_auth(token);
        }
        if !body.is_empty() {
            request = request.body(body);
        }
        request.send().await.map_err(silence)
    }
}

/// The reason below all the layers.
fn silence(error: reqwest::Error) -> Silence {
    match certificate(&error) {
        Some(why) => Silence::Certificate(why),
        None => Silence::Other(chain(&error.without_url())),
    }
}

/// What TLS said of the certificate, however deep: an I/O error shows what it wraps to those only who ask it itself.
fn certificate(error: &(dyn Error + 'static)) -> Option<CertificateError> {
    if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref::<rustls::Error>() {
        return Some(why.clone());
    }
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    match wrapped {
        Some(inner) => certificate(inner),
        None => error.source().and_then(certificate),
    }
}
