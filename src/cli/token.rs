//! `token`: makes, lists and revokes tokens of the service, while it runs or not.

use std::io::Read;

use super::{Exit, Place, Trouble, block_on, print};
use crate::app::clock::Clock;
use crate::index::Index;
use crate::index::tokens::Kept;
use crate::repair::index_lost;
use crate::serve::StartError;
use crate::store::places::Places;
use crate::token::{Scope, Token as Whole, TokenId};

/// Flags of `token`.
#[derive(Debug, clap::Args)]
pub(super) struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a token and show it, this once
    Create(Create),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it may be used for: clip:create, clip:manage, file:read, ops:read, ops:run or admin; may be given several times
    #[arg(
        long = "scope",
        value_name = "S",
        required = true,
        value_delimiter = ','
    )]
    scopes: Vec<Scope>,
    /// What you call it
    #[arg(long, default_value = "", value_name = "TEXT")]
    name: String,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(token: Token) -> Result<Exit, Trouble> {
    match token.action {
        Action::Create(create) => make(create),
    }
}

fn make(create: Create) -> Result<Exit, Trouble> {
    let settings = create.place.settings()?;
    // An empty index would be taken for the lost one.
    if index_lost(&Places::of(&settings))? {
        return Err(StartError::IndexLost(settings.server.data_dir).into());
    }
    let mut scopes = create.scopes;
    scopes.sort_unstable();
    scopes.dedup();
    let mut random = [0_u8; 40];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(|error| Trouble::io("no random bytes could be had", &error))?;
    let (mut id, mut key) = ([0_u8; 8], [0_u8; 32]);
    id.copy_from_slice(&random[..8]);
    key.copy_from_slice(&random[8..]);
    let token = Whole::new(TokenId::new(id), key);
    block_on(async {
        let path = settings.server.data_dir.join("index.db");
        let index = Index::open(&path, 1).map_err(StartError::from)?;
        let kept = Kept {
            id: token.id.clone(),
            name: create.name,
            scopes,
            stored: token.stored(),
            created_at: Clock::default().now(),
            used_at: None,
            revoked_at: None,
        };
        index.keep_token(kept).await.map_err(StartError::from)?;
        index.close();
        print(&token.reveal());
        Ok(Exit::Done)
    })?
}
