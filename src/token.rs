//! Tokens of the service: what each may do, and how it is written. Pure: who made one and whether it still counts is for the index.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Make clips where that takes a token; look at sources; upload.
    #[serde(rename = "clip:create")]
    ClipCreate,
    /// Change, cancel, retry and remove anybody's clips.
    #[serde(rename = "clip:manage")]
    ClipManage,
    /// List and read clips where that takes a token.
    #[serde(rename = "file:read")]
    FileRead,
    /// See how the service is.
    #[serde(rename = "ops:read")]
    OpsRead,
    /// Run what the keeper runs.
    #[serde(rename = "ops:run")]
    OpsRun,
    /// All of it, and tokens.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 6] = [
        Scope::ClipCreate,
        Scope::ClipManage,
        Scope::FileRead,
        Scope::OpsRead,
        Scope::OpsRun,
        Scope::Admin,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::ClipCreate => "clip:create",
            Scope::ClipManage => "clip:manage",
            Scope::FileRead => "file:read",
            Scope::OpsRead => "ops:read",
            Scope::OpsRun => "ops:run",
            Scope::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Scope, String> {
        Scope::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| {
                let words = Scope::ALL.map(Scope::as_str).join(", ");
                format!("there is no scope {text}; the scopes are {words}")
            })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What tokens are told apart by; no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct TokenId(String);

impl TokenId {
    /// From eight random bytes.
    pub fn new(bytes: [u8; 8]) -> TokenId {
        TokenId(hex(&bytes))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = ();

    fn from_str(text: &str) -> Result<TokenId, ()> {
        let plain = text.len() == 16
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| TokenId(text.to_owned())).ok_or(())
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole token, as it is shown once and sent in requests: `mm_<id>_<43 characters>`.
pub struct Token {
    pub id: TokenId,
    key: [u8; 32],
}

/// SHA-256 of a token's secret half, in hex: what is stored of it. The secret is 32 random bytes, so that a slow hash would add nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored(pub String);

impl Token {
    /// From random bytes.
    pub fn new(id: TokenId, key: [u8; 32]) -> Token {
        Token { id, key }
    }

    /// What is stored of it.
    pub fn stored(&self) -> Stored {
        Stored(hex(&Sha256::digest(self.key)))
    }

    /// Whether it is the one that was stored; takes as long for every wrong one.
    pub fn is(&self, stored: &Stored) -> bool {
        self.stored().0.as_bytes().ct_eq(stored.0.as_bytes()).into()
    }

    /// The only place that writes the secret out.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, URL_SAFE_NO_PAD.encode(self.key))
    }
}

const PREFIX: &str = "mm_";

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Token, ()> {
        let (id, key) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(())?;
        let key = URL_SAFE_NO_PAD.decode(key).map_err(|_| ())?;
        Ok(Token {
            id: id.parse()?,
            key: key.try_into().map_err(|_| ())?,
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let token = Token::new(TokenId::new([1; 8]), [2; 32]);
        let text = token.reveal();
        let again: Token = text.parse().unwrap();
        assert_eq!(again.id, token.id);
        assert!(again.is(&token.stored()));
        assert!(!Token::new(TokenId::new([1; 8]), [3; 32]).is(&token.stored()));
        assert!(!format!("{token:?}").contains("AgIC"));
        for wrong in [
            "",
            "mm_",
            &text[1..],
            &text[..text.len() - 1],
            &text.to_uppercase(),
            &format!("{text}A"),
        ] {
            assert!(wrong.parse::<Token>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
            assert_eq!(serde_json::json!(scope), scope.as_str());
        }
        assert!("clip".parse::<Scope>().unwrap_err().contains("ops:run"));
    }
}
