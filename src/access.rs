//! Who may do what: whether a request's token counts, and for which scopes. What is shown to whom is for the handlers.

use crate::app::App;
use crate::index::IndexError;
use crate::token::{Scope, Token, TokenId};

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
    let counts = token.is(&kept.stored) && kept.revoked_at.is_none();
    Ok(counts.then_some(Caller {
        token: kept.id,
        scopes: kept.scopes,
    }))
}
