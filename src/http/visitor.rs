//! Who asks: the visitor's address as far as it can be trusted, and the token they hold.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header;

use crate::app::App;
use crate::config::Settings;

/// Whether the peer is a proxy whose word is taken.
pub fn from_proxy(settings: &Settings, peer: Option<IpAddr>) -> bool {
    peer.is_some_and(|peer| {
        settings
            .server
            .trusted_proxies
            .iter()
            .any(|net| net.contains(&peer.to_canonical()))
    })
}

/// Whether a trusted proxy brought the request: it names whom for.
pub fn forwarded(settings: &Settings, request: &HttpRequest) -> bool {
    from_proxy(settings, request.peer_addr().map(|peer| peer.ip()))
        && request.headers().contains_key("x-forwarded-for")
}

/// The mark by which a visitor is told from others; the address cannot be read from it.
pub fn mark(app: &App, request: &HttpRequest) -> String {
    app.secret.visitor(address(&app.settings, request))
}

/// The visitor's address: the peer's, or the last one in X-Forwarded-For that is not itself a trusted proxy.
pub fn address(settings: &Settings, request: &HttpRequest) -> IpAddr {
    let peer = request
        .peer_addr()
        .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip().to_canonical());
    if !from_proxy(settings, Some(peer)) {
        return peer;
    }
    let chain = request
        .headers()
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok());
    let chain: Vec<IpAddr> = chain
        .flat_map(|value| value.split(','))
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .map(|address| address.to_canonical())
        .collect();
    let outer = chain
        .iter()
        .rev()
        .find(|address| !from_proxy(settings, Some(**address)));
    outer.or(chain.first()).copied().unwrap_or(peer)
}

/// The token in `Authorization: Bearer` or `X-Delete-Token`.
pub fn token(request: &HttpRequest) -> Option<&str> {
    let bearer = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let own = || {
        request
            .headers()
            .get("x-delete-token")
            .and_then(|value| value.to_str().ok())
    };
    bearer.or_else(own).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn seen(peer: &str, forwarded: Option<&str>) -> String {
        let mut request = TestRequest::default().peer_addr(format!("{peer}:1").parse().unwrap());
        if let Some(forwarded) = forwarded {
            request = request.insert_header(("x-forwarded-for", forwarded));
        }
        address(&Settings::default(), &request.to_http_request()).to_string()
    }

    #[test]
    fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
        assert_eq!(seen("203.0.113.9", Some("198.51.100.7")), "203.0.113.9");
        assert_eq!(seen("127.0.0.1", Some("198.51.100.7")), "198.51.100.7");
        assert_eq!(seen("127.0.0.1", None), "127.0.0.1");
    }

    #[test]
    fn what_the_visitor_claims_before_the_proxy_is_not_believed() {
        assert_eq!(
            seen("127.0.0.1", Some("1.2.3.4, 198.51.100.7")),
            "198.51.100.7"
        );
        assert_eq!(
            seen("127.0.0.1", Some("1.2.3.4, 198.51.100.7, 127.0.0.1")),
            "198.51.100.7"
        );
        assert_eq!(seen("127.0.0.1", Some("nonsense")), "127.0.0.1");
    }
}
