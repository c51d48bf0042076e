//! Tokens of the service: what each may do, and how it is written. Pure: who made one and whether it still counts is for the index.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::title;

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
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Scope, GrantError> {
        Scope::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or(GrantError::Scope)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a new token is to be called and may be used for; valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub name: String,
    /// Each once, in their order.
    pub scopes: Vec<Scope>,
}

/// Why there is no such token to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error(
        "there is no such scope; the scopes are clip:create, clip:manage, file:read, ops:read, ops:run and admin"
    )]
    Scope,
    #[error("a token without a scope is good for nothing")]
    NoScopes,
    #[error("a token's name has at most {NAME_CHARS} characters on one line")]
    Name,
}

const NAME_CHARS: usize = 100;

impl Grant {
    /// From what somebody wrote.
    ///
    /// # Errors
    /// When the name cannot be shown on one line, or there is no scope.
    pub fn new(name: &str, mut scopes: Vec<Scope>) -> Result<Grant, GrantError> {
        let name = name.trim();
        if name.chars().count() > NAME_CHARS || name.chars().any(char::is_control) {
            return Err(GrantError::Name);
        }
        // Lists of tokens are read by people who decide which to revoke.
        let name = title::clean(name).unwrap_or_default();
        if scopes.is_empty() {
            return Err(GrantError::NoScopes);
        }
        scopes.sort_unstable();
        scopes.dedup();
        Ok(Grant { name, scopes })
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
        let told = "clip".parse::<Scope>().unwrap_err().to_string();
        for scope in Scope::ALL {
            assert!(told.contains(scope.as_str()), "{scope}");
        }
    }

    #[test]
    fn a_grant_has_a_name_for_one_line_and_each_scope_once() {
        let twice = vec![Scope::Admin, Scope::ClipCreate, Scope::Admin];
        let grant = Grant::new(" the phone ", twice.clone()).unwrap();
        assert_eq!(grant.name, "the phone");
        let turned = Grant::new("a\u{202e}b", twice.clone()).unwrap();
        assert_eq!(turned.name, "ab");
        assert_eq!(grant.scopes, [Scope::ClipCreate, Scope::Admin]);
        assert_eq!(Grant::new("x", Vec::new()), Err(GrantError::NoScopes));
        for name in ["a\nb", "a\u{1b}[31m", &"x".repeat(101)] {
            assert_eq!(Grant::new(name, twice.clone()), Err(GrantError::Name));
        }
        assert!(Grant::new(&"é".repeat(100), twice).is_ok());
    }
}
