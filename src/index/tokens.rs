//! Tokens of the service in the index: their hashes, never themselves.

use rusqlite::{OptionalExtension, params};

use super::clips::{json, unjson};
use super::events::{self, Entry, Kind};
use super::{Index, IndexError};
use crate::timestamp::Timestamp;
use crate::token::{Scope, Stored, TokenId};

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub id: TokenId,
    /// What its maker calls it.
    pub name: String,
    pub scopes: Vec<Scope>,
    pub stored: Stored,
    pub created_at: Timestamp,
    /// To the minute.
    pub used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl Index {
    /// Keeps a new token.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn keep_token(&self, token: Kept) -> Result<(), IndexError> {
        self.write(move |connection| {
            connection.execute(
                "INSERT INTO tokens (id, name, scopes, hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    token.id.as_str(),
                    token.name,
                    json(&token.scopes)?,
                    token.stored.0,
                    token.created_at.0
                ],
            )?;
            let entry = Entry {
                kind: Kind::TokenCreated,
                subject: token.id.as_str(),
                data: serde_json::json!({"name": token.name, "scopes": token.scopes}),
                duration_ms: None,
                error: None,
            };
            events::append(connection, token.created_at, &entry).map(drop)
        })
        .await
    }

    /// A token by its id, revoked or not.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn token(&self, id: TokenId) -> Result<Option<Kept>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT name, scopes, hash, created_at, used_at, revoked_at FROM tokens WHERE id = ?1",
            )?;
            let found = query.query_row([id.as_str()], |row| {
                Ok((row.get::<_, String>(1)?, Kept {
                    id: id.clone(),
                    name: row.get(0)?,
                    scopes: Vec::new(),
                    stored: Stored(row.get(2)?),
                    created_at: Timestamp(row.get(3)?),
                    used_at: row.get::<_, Option<i64>>(4)?.map(Timestamp),
                    revoked_at: row.get::<_, Option<i64>>(5)?.map(Timestamp),
                }))
            });
            let Some((scopes, kept)) = found.optional()? else {
                return Ok(None);
            };
            Ok(Some(Kept {
                scopes: unjson(&scopes)?,
                ..kept
            }))
        })
        .await
    }
}
