//! `token`: makes, lists and revokes tokens of the service, while it runs or not.

use super::{Exit, Place, Trouble, as_its_owner, block_on, print};
use crate::access::{self, AccessError};
use crate::app::clock::Clock;
use crate::config::Settings;
use crate::cut::sentence;
use crate::http::tokens::TokenJson;
use crate::index::Index;
use crate::index::tokens::Kept;
use crate::repair::index_lost;
use crate::serve::StartError;
use crate::store::places::Places;
use crate::token::{Grant, Scope, TokenId};

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
    /// List tokens, without their secrets
    List(List),
    /// Take a token's power, at once and for good
    Revoke(Revoke),
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
    /// Print one JSON object with id, scopes and token
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Print one JSON object a token
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// The token's id, as `token list` shows it; the 16 digits after mm_
    #[arg(value_name = "ID", value_parser = id)]
    id: TokenId,
    #[command(flatten)]
    place: Place,
}

fn id(text: &str) -> Result<TokenId, &'static str> {
    text.parse()
        .map_err(|()| "an id is 16 of the digits 0-9 and a-f; never give the whole token")
}

pub(super) fn run(token: Token) -> Result<Exit, Trouble> {
    match token.action {
        Action::Create(create) => make(create),
        Action::List(list) => show(list),
        Action::Revoke(revoke) => take(revoke),
    }
}

fn make(create: Create) -> Result<Exit, Trouble> {
    let grant = Grant::new(&create.name, create.scopes).map_err(|error| Trouble {
        exit: Exit::BadInput,
        code: "token_invalid".to_owned(),
        sentence: sentence(&error.to_string()),
        hint: "See meme-maker token create --help.".to_owned(),
    })?;
    let settings = create.place.settings()?;
    // An empty index would be taken for the lost one.
    if index_lost(&Places::of(&settings))? {
        return Err(StartError::IndexLost(settings.server.data_dir).into());
    }
    let (token, kept) = with_index(&settings, async |index| {
        access::create(index, Clock::default().now(), grant).await
    })?;
    if create.json {
        let shown = TokenJson::revealed(kept, token.reveal());
        print(&serde_json::to_string(&shown).unwrap_or_default());
    } else {
        print(&token.reveal());
    }
    Ok(Exit::Done)
}

fn show(list: List) -> Result<Exit, Trouble> {
    let settings = list.place.settings()?;
    make_sure_of_index(&settings)?;
    let tokens = with_index(&settings, async |index| Ok(index.tokens().await?))?;
    if !list.json && tokens.is_empty() {
        print("There are no tokens; make one with meme-maker token create --scope S.");
    }
    for kept in tokens {
        if list.json {
            print(&serde_json::to_string(&TokenJson::new(kept)).unwrap_or_default());
        } else {
            print(&line(&kept));
        }
    }
    Ok(Exit::Done)
}

fn line(kept: &Kept) -> String {
    let scopes: Vec<&str> = kept.scopes.iter().map(|scope| scope.as_str()).collect();
    let used = match (kept.revoked_at, kept.used_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) => format!("used {at}"),
        (None, None) => "never used".to_owned(),
    };
    let line = format!(
        "{}  {}  created {}  {used}  {}",
        kept.id,
        scopes.join(","),
        kept.created_at,
        kept.name
    );
    line.trim_end().to_owned()
}

fn take(revoke: Revoke) -> Result<Exit, Trouble> {
    let settings = revoke.place.settings()?;
    make_sure_of_index(&settings)?;
    let id = revoke.id.clone();
    with_index(&settings, async |index| {
        access::revoke(index, Clock::default().now(), revoke.id).await
    })?;
    print(&format!("{id} is revoked."));
    Ok(Exit::Done)
}

/// A wrong folder is told instead of being made a data folder.
fn make_sure_of_index(settings: &Settings) -> Result<(), Trouble> {
    let data = &settings.server.data_dir;
    if data.join("index.db").exists() {
        return Ok(());
    }
    Err(Trouble {
        exit: Exit::BadInput,
        code: "data_dir".to_owned(),
        sentence: format!("{} is not the data folder of a service.", data.display()),
        hint: "Name it with --data-dir or --config, as the service does.".to_owned(),
    })
}

/// Does one thing with the index and closes it in good order.
fn with_index<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Index) -> Result<T, AccessError>,
) -> Result<T, Trouble> {
    let data = &settings.server.data_dir;
    as_its_owner(data)?;
    block_on(async {
        let index = Index::open(&data.join("index.db"), 1).map_err(StartError::from)?;
        let done = work(&index).await;
        index.close();
        Ok(done?)
    })?
}

impl From<AccessError> for Trouble {
    fn from(error: AccessError) -> Trouble {
        match error {
            AccessError::NotFound => Trouble {
                exit: Exit::BadInput,
                code: "not_found".to_owned(),
                sentence: sentence(&error.to_string()),
                hint: "See meme-maker token list.".to_owned(),
            },
            AccessError::Random(error) => Trouble::io("no random bytes could be had", &error),
            AccessError::Index(error) => StartError::Index(error).into(),
        }
    }
}
