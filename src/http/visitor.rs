//! Who asks: the visitor's address as far as it can be trusted, and the token they hold.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest};

use crate::access::{Asker, Caller};
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

/// Who asks: whoever has a token that counts here, else the visitor.
pub fn asker(app: &App, request: &HttpRequest) -> Asker {
    match request.extensions().get::<Caller>() {
        Some(caller) => Asker::from(caller),
        None => Asker::visitor(mark(app, request)),
    }
}

/// The mark by which a visitor is told from others; the address cannot be read from it.
pub fn mark(app: &App, request: &HttpRequest) -> String {
    app.secret.visitor(address(&app.settings, request))
}

/// The visitor's address: the peer's, or the last one in X-Forwarded-For that is not itself a trusted proxy. What stands before it was
/// written by the visitor, and so was everything before something that is no address.
pub fn address(settings: &Settings, request: &HttpRequest) -> IpAddr {
    let peer = request
        .peer_addr()
        .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip().to_canonical());
    if !from_proxy(settings, Some(peer)) {
        return peer;
    }
    let lines: Vec<_> = request
        .headers()
        .get_all("x-forwarded-for")
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let hops = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    let hops: Vec<&str> = hops.filter(|hop| !hop.is_empty()).collect();
    let mut known = peer;
    for hop in hops.into_iter().rev() {
        let Some(address) = hop_address(hop) else {
            return known;
        };
        known = address;
        if !from_proxy(settings, Some(address)) {
            break;
        }
    }
    known
}

/// An address, as some proxies write it with its port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let address = bare
        .parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    address.ok().map(|address| address.to_canonical())
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

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (forwarded, address) in [
            ("198.51.100.7:4711", "198.51.100.7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            (" 198.51.100.7 , ,", "198.51.100.7"),
            ("198.51.100.7, ::ffff:127.0.0.1", "198.51.100.7"),
            ("1.2.3.4, \u{fffd}, 198.51.100.7", "198.51.100.7"),
            // Of a visitor whom the proxy did not name, the proxy is all that is known.
            ("1.2.3.4, unknown", "127.0.0.1"),
            ("1.2.3.4, unknown, 127.0.0.9", "127.0.0.9"),
            ("1.2.3.4, 198.51.100.7.", "127.0.0.1"),
            ("", "127.0.0.1"),
        ] {
            assert_eq!(seen("127.0.0.1", Some(forwarded)), address, "{forwarded}");
        }
    }

    #[test]
    fn lines_of_the_header_are_one_chain_whatever_bytes_are_in_it() {
        use actix_web::http::header::{HeaderName, HeaderValue};
        let name = HeaderName::from_static("x-forwarded-for");
        let request = TestRequest::default()
            .peer_addr("127.0.0.1:1".parse().unwrap())
            .append_header((name.clone(), HeaderValue::from_static("1.2.3.4")))
            .append_header((
                name,
                HeaderValue::from_bytes(b"\xff\xfe, 198.51.100.7").unwrap(),
            ));
        let address = address(&Settings::default(), &request.to_http_request());
        assert_eq!(address.to_string(), "198.51.100.7");
    }
}
