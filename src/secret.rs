//! The key from which delete tokens and visitor marks are derived. Pure: loading it is the caller's work. Deriving instead of
//! storing means that the index holds no secret and that a repeated answer carries the same token.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clip::ClipId;

/// 32 random bytes.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// From the file's bytes; `None` unless there are exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Secret> {
        bytes.try_into().ok().map(Secret)
    }

    /// The delete token of a clip: 64 hex digits.
    pub fn delete_token(&self, id: ClipId) -> String {
        hex(&self.mac(b"delete", id.0.as_bytes()).finalize().into_bytes())
    }

    /// Whether `token` is the clip's; compared in constant time.
    pub fn opens(&self, id: ClipId, token: &str) -> bool {
        let Some(given) = unhex(token) else {
            return false;
        };
        self.mac(b"delete", id.0.as_bytes())
            .verify_slice(&given)
            .is_ok()
    }

    /// A mark that tells visitors apart without saying who they are.
    pub fn visitor(&self, address: std::net::IpAddr) -> String {
        let bytes = match address {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            // One household has a /64.
            std::net::IpAddr::V6(address) => address.octets()[..8].to_vec(),
        };
        hex(&self.mac(b"visitor", &bytes).finalize().into_bytes()[..8])
    }

    fn mac(&self, purpose: &[u8], message: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any key length");
        mac.update(purpose);
        mac.update(&[0]);
        mac.update(message);
        mac
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|place| u8::from_str_radix(&text[place..place + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_own_clip_only() {
        let secret = Secret::from_bytes(&[7; 32]).unwrap();
        let mine: ClipId = "0192f0c1-2345-7abc-8def-0123456789ab".parse().unwrap();
        let other: ClipId = "0192f0c1-2345-7abc-8def-0123456789ac".parse().unwrap();
        let token = secret.delete_token(mine);
        assert!(secret.opens(mine, &token));
        assert!(!secret.opens(other, &token));
        for wrong in ["", "x", &token[1..], &format!("{token}0"), &"é".repeat(32)] {
            assert!(!secret.opens(mine, wrong), "{wrong}");
        }
        assert!(!Secret::from_bytes(&[8; 32]).unwrap().opens(mine, &token));
    }

    #[test]
    fn visitors_are_told_apart_by_address_and_by_network_for_ipv6() {
        let secret = Secret::from_bytes(&[7; 32]).unwrap();
        let mark = |address: &str| secret.visitor(address.parse().unwrap());
        assert_ne!(mark("192.0.2.1"), mark("192.0.2.2"));
        assert_eq!(mark("2001:db8::1"), mark("2001:db8::ffff"));
        assert_ne!(mark("2001:db8::1"), mark("2001:db8:0:1::1"));
    }
}
