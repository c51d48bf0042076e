//! The client of our own fetches: through the gate alone, redirect by redirect. Each step is a request of its own with the lease's
//! credential, which the gate wants to see every time and which a client that follows by itself drops when the host changes.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Proxy, Response, Url};

/// A way to the network.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

/// How long a server may be silent between two pieces.
#[derive(Clone, Copy, Debug)]
pub enum Silence {
    /// At most so long.
    AtMost(Duration),
    /// Whoever reads keeps the time.
    Watched,
}

const MOST_REDIRECTS: usize = 5;

impl Client {
    /// A client that goes through this proxy.
    ///
    /// # Errors
    /// When the proxy's address cannot be used.
    pub fn through(proxy: &str, silence: Silence) -> Result<Client, reqwest::Error> {
        // The first to ask decides; that it was decided already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .proxy(Proxy::all(proxy)?)
            .user_agent(concat!("meme-maker/", env!("CARGO_PKG_VERSION")))
            // Where a link leads is nobody's business but its server's.
            .referer(false)
            .redirect(Policy::none())
            // Each request is judged by itself.
            .pool_max_idle_per_host(0);
        let builder = match silence {
            Silence::AtMost(time) => builder.read_timeout(time),
            Silence::Watched => builder,
        };
        Ok(Client(builder.build()?))
    }

    /// Asks for a file, or a range of it in the words of the header, as it is. The answer tells where it came from in the end.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, url: &Url, range: Option<&str>) -> Result<Response, reqwest::Error> {
        self.get_with(url, range, |_| HeaderMap::new()).await
    }

    /// The same with what else is to be sent to an address; every step asks anew.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get_with(
        &self,
        url: &Url,
        range: Option<&str>,
        headers: impl Fn(&Url) -> HeaderMap,
    ) -> Result<Response, reqwest::Error> {
        let mut url = url.clone();
        let mut left = MOST_REDIRECTS;
        loop {
            let mut request = self.0.get(url.clone()).headers(headers(&url));
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some(range) = range {
                request = request.header(RANGE, range);
            }
            let answer = request.send().await?;
            match next(&answer) {
                Some(further) if left > 0 => url = further,
                // Too many of them, or none that can be followed: the answer says so by its status.
                Some(_) | None => return Ok(answer),
            }
            left -= 1;
        }
    }
}

/// Where an answer leads, if it leads anywhere that may be followed.
fn next(answer: &Response) -> Option<Url> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    let url = answer.url().join(location).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    (matches!(url.scheme(), "http" | "https") && plain).then_some(url)
}
