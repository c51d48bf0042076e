//! Who may do what: tokens of the service, whose a request's token is, and how often whoever asks may ask. What is shown to whom is for
//! the handlers.

use std::io::Read;

use crate::app::App;
use crate::app::rates::{Asked, Standing, TooOften};
use crate::index::tokens::Kept;
use crate::index::{Index, IndexError};
use crate::timestamp::Timestamp;
use crate::token::{Grant, Scope, Token, TokenId};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("there is no such token")]
    NotFound,
    #[error("no random bytes could be had")]
    Random(#[source] std::io::Error),
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Somebody with a token of the service that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub token: TokenId,
    pub scopes: Vec<Scope>,
}

impl Caller {
    /// Whether the caller may do what takes this scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// Who asks for something of which there is so much a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// By which visitors are told apart: made of an address, or of a token.
    pub mark: String,
    pub allowance: Allowance,
}

/// Whether limits are for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    Limited,
    /// Who manages everybody's clips is trusted with making them.
    Unlimited,
}

impl Asker {
    /// A visitor without a token of the service.
    pub fn visitor(mark: String) -> Asker {
        Asker {
            mark,
            allowance: Allowance::Limited,
        }
    }
}

impl From<&Caller> for Asker {
    /// Whoever has a token is known by it, wherever they are.
    fn from(caller: &Caller) -> Asker {
        Asker {
            mark: format!("token:{}", caller.token),
            allowance: if caller.may(Scope::ClipManage) {
                Allowance::Unlimited
            } else {
                Allowance::Limited
            },
        }
    }
}

/// Counts one more of what somebody asks for; `None` where there is no limit for them.
///
/// # Errors
/// When there were too many within a minute.
pub fn count(app: &App, asker: &Asker, asked: Asked) -> Result<Option<Standing>, TooOften> {
    count_several(app, asker, asked, 1)
}

/// The same for several at once: all of them are counted, or none.
///
/// # Errors
/// When there were too many within a minute, or would be.
pub fn count_several(
    app: &App,
    asker: &Asker,
    asked: Asked,
    number: u32,
) -> Result<Option<Standing>, TooOften> {
    let counted = match asker.allowance {
        Allowance::Limited => app.rates.take_several(asked, &asker.mark, number),
        Allowance::Unlimited => Ok(None),
    };
    if counted.is_err() {
        metrics::counter!("meme_maker_rate_limited_total", "policy" => asked.as_str()).increment(1);
    }
    counted
}

/// Whose token this is; none for what is no token of the service, is unknown, or was revoked. The index is asked each time, so that a
/// revocation counts at once, whoever made it.
///
/// # Errors
/// When the index cannot be read.
pub async fn caller(app: &App, text: &str) -> Result<Option<Caller>, IndexError> {
    let Ok(token) = text.parse::<Token>() else {
        return Ok(None);
    };
    let Some(kept) = app.index.token(token.id.clone()).await? else {
        return Ok(None);
    };
    if !token.is(&kept.stored) || kept.revoked_at.is_some() {
        return Ok(None);
    }
    if let Some(minute) = app.uses.news(&kept.id, app.now()) {
        let (index, id) = (app.index.clone(), kept.id.clone());
        // Beside the request, which does not wait for the disk.
        app.errands.run(async move {
            if let Err(error) = index.note_use(id, minute).await {
                tracing::debug!(error = %error, "the use of a token was not noted");
            }
        });
    }
    Ok(Some(Caller {
        token: kept.id,
        scopes: kept.scopes,
    }))
}

/// Makes a token and keeps what is needed to know it again. It can be read out this once.
///
/// # Errors
/// When there is no randomness, or the index does not take it.
pub async fn create(
    index: &Index,
    now: Timestamp,
    grant: Grant,
) -> Result<(Token, Kept), AccessError> {
    let mut random = [0_u8; 40];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(AccessError::Random)?;
    let (mut id, mut key) = ([0_u8; 8], [0_u8; 32]);
    id.copy_from_slice(&random[..8]);
    key.copy_from_slice(&random[8..]);
    let token = Token::new(TokenId::new(id), key);
    let kept = Kept {
        id: token.id.clone(),
        name: grant.name,
        scopes: grant.scopes,
        stored: token.stored(),
        created_at: now,
        used_at: None,
        revoked_at: None,
    };
    index.keep_token(kept.clone()).await?;
    tracing::info!(token = %kept.id, "token created");
    Ok((token, kept))
}

/// Takes a token's power at once, for good. Twice is as good as once.
///
/// # Errors
/// When there is none, or the index does not take it.
pub async fn revoke(index: &Index, now: Timestamp, id: TokenId) -> Result<(), AccessError> {
    if !index.revoke_token(now, id.clone()).await? {
        return Err(AccessError::NotFound);
    }
    tracing::info!(token = %id, "token revoked");
    Ok(())
}
