//! Tokens of the service in the index: their hashes, never themselves.

use rusqlite::{OptionalExtension, Row, params};

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
            let mut query =
                connection.prepare_cached(&format!("{SELECT} FROM tokens WHERE id = ?1"))?;
            let found = query.query_row([id.as_str()], |row| Ok(kept(row)));
            found.optional()?.transpose()
        })
        .await
    }

    /// All tokens, the oldest first, revoked ones too.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn tokens(&self) -> Result<Vec<Kept>, IndexError> {
        self.read(|connection| {
            let mut query = connection
                .prepare_cached(&format!("{SELECT} FROM tokens ORDER BY created_at, id"))?;
            let rows = query.query_map([], |row| Ok(kept(row)))?;
            rows.map(|row| row?).collect()
        })
        .await
    }

    /// Marks a token as revoked, once; whether there is such a token.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn revoke_token(&self, now: Timestamp, id: TokenId) -> Result<bool, IndexError> {
        self.write(move |connection| {
            let revoked = connection.execute(
                "UPDATE tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
                params![id.as_str(), now.0],
            )?;
            if revoked > 0 {
                let entry = Entry {
                    kind: Kind::TokenRevoked,
                    subject: id.as_str(),
                    data: serde_json::json!({}),
                    duration_ms: None,
                    error: None,
                };
                events::append(connection, now, &entry)?;
                return Ok(true);
            }
            let mut known = connection.prepare_cached("SELECT 1 FROM tokens WHERE id = ?1")?;
            Ok(known.exists([id.as_str()])?)
        })
        .await
    }

    /// Notes the minute in which a token was last used.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn note_use(&self, id: TokenId, minute: Timestamp) -> Result<(), IndexError> {
        self.write(move |connection| {
            let mut update = connection.prepare_cached(
                "UPDATE tokens SET used_at = ?2 WHERE id = ?1 AND (used_at IS NULL OR used_at < ?2)",
            )?;
            update.execute(params![id.as_str(), minute.0])?;
            Ok(())
        })
        .await
    }
}

const SELECT: &str = "SELECT id, name, scopes, hash, created_at, used_at, revoked_at";

fn kept(row: &Row<'_>) -> Result<Kept, IndexError> {
    let id: String = row.get(0)?;
    Ok(Kept {
        id: id
            .parse()
            .map_err(|()| IndexError::Corrupt(format!("the token {id}")))?,
        name: row.get(1)?,
        scopes: unjson(&row.get::<_, String>(2)?)?,
        stored: Stored(row.get(3)?),
        created_at: Timestamp(row.get(4)?),
        used_at: row.get::<_, Option<i64>>(5)?.map(Timestamp),
        revoked_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
    })
}
