//! The settings: one typed tree, four layers (defaults < file < environment < flags), frozen after start. It reads the file and
//! the environment once and never touches the data directory.

pub mod sections;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::recipe::Presets;
use crate::recipe::preset::PresetError;
pub use sections::{
    Auth, Backup, Create, Egress, Engine, Index, Keeper, Limits, Log, LogFormat, Monitor,
    Retention, Server, Sources, Storage, StorageKind,
};

/// Everything that can be set. Each section is a table of the TOML file; `deploy/config.toml` explains every key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub server: Server,
    pub storage: Storage,
    pub index: Index,
    pub limits: Limits,
    pub engine: Engine,
    pub sources: Sources,
    pub egress: Egress,
    pub auth: Auth,
    pub retention: Retention,
    pub keeper: Keeper,
    pub monitor: Monitor,
    pub backup: Backup,
    pub log: Log,
    pub presets: Presets,
}

/// The last layer: what the command line says.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub bind: Option<SocketAddr>,
    pub data_dir: Option<PathBuf>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration cannot be read: {0}")]
    Read(#[from] config::ConfigError),
    #[error("`{key}` is not a setting{}", nearest_text(.nearest))]
    Unknown {
        key: String,
        nearest: Option<String>,
    },
    #[error("`{key}` cannot be {value}; {hint}")]
    Value {
        key: &'static str,
        value: String,
        hint: &'static str,
    },
    #[error(transparent)]
    Preset(#[from] PresetError),
}

fn nearest_text(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|key| format!("; did you mean `{key}`?"))
        .unwrap_or_default()
}

/// The three variables that deployments of the predecessor set, and what they mean here.
const SEEDS: [(&str, &str); 3] = [
    ("STORAGE_TYPE", "storage.type"),
    ("LOCAL_STORAGE_PATH", "storage.path"),
    ("BASE_URL", "server.base_url"),
];

/// Settings that are lists: separated by commas in the environment.
const LISTS: [&str; 7] = [
    "server.trusted_proxies",
    "engine.readable",
    "engine.fonts",
    "egress.allow",
    "egress.deny",
    "egress.ports",
    "egress.nameservers",
];

const PREFIX: &str = "MEME_MAKER";

impl Settings {
    /// Reads the four layers. `environment` is passed in so that tests need not change the process.
    ///
    /// # Errors
    /// On an unreadable file, an unknown key, or a value out of range, with the key named.
    pub fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, ConfigError> {
        let defaults = Settings::default();
        let mut builder = config::Config::builder();
        if let Some(file) = &flags.config {
            builder = builder
                .add_source(config::File::from(file.as_path()).format(config::FileFormat::Toml));
        }
        let mut seeds = Vec::new();
        let mut variables = std::collections::HashMap::new();
        for (name, value) in environment {
            if let Some((_, key)) = SEEDS.iter().find(|(seed, _)| *seed == name) {
                seeds.push((*key, value));
            } else if name.starts_with(PREFIX) {
                variables.insert(name, value);
            }
        }
        for (key, value) in seeds {
            if !value.is_empty() {
                builder = builder.set_override(key, value)?;
            }
        }
        // Seeds are the weaker half of the environment layer: MEME_MAKER__ variables are collected apart and laid over them.
        let mut named = config::Environment::with_prefix(PREFIX)
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .source(Some(variables));
        for key in LISTS {
            named = named.with_list_parse_key(key);
        }
        let named = config::Config::builder().add_source(named).build()?;
        for (key, value) in leaves(&named.cache.try_deserialize::<serde_json::Value>()?) {
            // One number is taken for a number, whatever is wanted.
            let value = match value {
                list @ serde_json::Value::Array(_) => list,
                one if LISTS.contains(&key.as_str()) => serde_json::Value::Array(vec![one]),
                other => other,
            };
            builder = builder.set_override(key, to_config(value))?;
        }
        if let Some(bind) = flags.bind {
            builder = builder.set_override("server.bind", bind.to_string())?;
        }
        if let Some(data_dir) = &flags.data_dir {
            builder =
                builder.set_override("server.data_dir", data_dir.to_string_lossy().as_ref())?;
        }
        let merged = builder.build()?;
        let tree: serde_json::Value = merged.clone().try_deserialize()?;
        refuse_unknown(&tree, &defaults)?;
        let settings: Settings = merged.try_deserialize()?;
        settings.checked()
    }

    /// The directory of published files: `storage.path`, or `storage` inside the data directory.
    pub fn storage_dir(&self) -> PathBuf {
        self.or_in_data(&self.storage.path, "storage")
    }

    /// The file that holds the key from which delete tokens are derived.
    pub fn secret_file(&self) -> PathBuf {
        self.or_in_data(&self.auth.secret_file, "secret.key")
    }

    /// The tree for the log at start, with anything that could hold a password struck out.
    pub fn redacted(&self) -> String {
        let mut copy = self.clone();
        if let Ok(mut url) = url::Url::parse(&copy.server.base_url)
            && (url.password().is_some() || !url.username().is_empty())
        {
            let _ = url.set_username("***");
            let _ = url.set_password(None);
            copy.server.base_url = url.into();
        }
        if !copy.monitor.webhook_secret.is_empty() {
            copy.monitor.webhook_secret = "***".to_owned();
        }
        // Some services put their secret into the path.
        if let Ok(url) = url::Url::parse(&copy.monitor.webhook_url) {
            copy.monitor.webhook_url = url.origin().ascii_serialization();
        }
        serde_json::to_string(&copy).unwrap_or_default()
    }

    /// The directory of scheduled backups: `backup.dir`, or `backups` inside the data directory.
    pub fn backup_dir(&self) -> PathBuf {
        self.or_in_data(&self.backup.dir, "backups")
    }

    /// The directory of uploads.
    pub fn uploads_dir(&self) -> PathBuf {
        self.server.data_dir.join("uploads")
    }

    fn or_in_data(&self, path: &Path, name: &str) -> PathBuf {
        if path.as_os_str().is_empty() {
            self.server.data_dir.join(name)
        } else {
            path.to_owned()
        }
    }

    fn checked(mut self) -> Result<Settings, ConfigError> {
        let wrong = |key, value: &dyn std::fmt::Display, hint| {
            Err(ConfigError::Value {
                key,
                value: value.to_string(),
                hint,
            })
        };
        /// Of a value that may hold a secret.
        const UNTOLD: &str = "what it is set to";
        if !self.server.base_url.is_empty() {
            let usable = url::Url::parse(&self.server.base_url)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !usable {
                return wrong(
                    "server.base_url",
                    &UNTOLD,
                    "give the address people use, like https://clips.example.org",
                );
            }
            self.server.base_url = self.server.base_url.trim_end_matches('/').to_owned();
        }
        let accel = &self.server.accel;
        let enclosed = accel.starts_with('/') && accel.ends_with('/');
        if !accel.is_empty() && !enclosed {
            return wrong(
                "server.accel",
                accel,
                "start and end it with a slash, like /internal-clips/",
            );
        }
        // An empty variable is an empty list.
        self.egress.allow.retain(|entry| !entry.is_empty());
        self.egress.deny.retain(|entry| !entry.is_empty());
        let readable = &mut self.engine.readable;
        readable.retain(|path| !path.as_os_str().is_empty());
        if let Some(path) = readable.iter().find(|path| !path.is_absolute()) {
            return wrong(
                "engine.readable",
                &path.display(),
                "give whole paths, like /opt/ffmpeg",
            );
        }
        let fonts = &mut self.engine.fonts;
        fonts.retain(|path| !path.as_os_str().is_empty());
        if let Some(path) = fonts.iter().find(|path| !path.is_absolute()) {
            return wrong(
                "engine.fonts",
                &path.display(),
                "give whole paths, like /opt/fonts",
            );
        }
        if self.limits.max_clip_seconds == 0 || self.limits.max_clip_seconds > 86_400 {
            return wrong(
                "limits.max_clip_seconds",
                &self.limits.max_clip_seconds,
                "choose 1 to 86400",
            );
        }
        if self.limits.max_segments == 0 || self.limits.max_segments > 100 {
            return wrong(
                "limits.max_segments",
                &self.limits.max_segments,
                "choose 1 to 100",
            );
        }
        if self.engine.crf > 51 {
            return wrong(
                "engine.crf",
                &self.engine.crf,
                "choose 0 (largest) to 51 (worst)",
            );
        }
        const PRESETS: [&str; 8] = [
            "ultrafast",
            "superfast",
            "veryfast",
            "faster",
            "fast",
            "medium",
            "slow",
            "slower",
        ];
        for (key, preset) in [
            ("engine.preset", &self.engine.preset),
            ("engine.fit_preset", &self.engine.fit_preset),
        ] {
            if !PRESETS.contains(&preset.as_str()) {
                return wrong(
                    key,
                    preset,
                    "choose an x264 preset from ultrafast to slower",
                );
            }
        }
        const RUNTIMES: [&str; 4] = ["node", "quickjs", "bun", "deno"];
        let runtime = &self.sources.js_runtime;
        let known = match runtime.split_once(':') {
            Some((name, path)) => RUNTIMES.contains(&name) && path.starts_with('/'),
            None => runtime.is_empty() || RUNTIMES.contains(&runtime.as_str()),
        };
        if !known {
            return wrong(
                "sources.js_runtime",
                runtime,
                "choose node, quickjs, bun or deno, with its path like node:/usr/bin/node when it is not on PATH",
            );
        }
        if self.sources.page_seconds == 0 {
            return wrong("sources.page_seconds", &0, "choose at least 1");
        }
        for (key, count) in [
            ("sources.probes", self.sources.probes),
            ("sources.streams", self.sources.streams),
            (
                "sources.streams_per_visitor",
                self.sources.streams_per_visitor,
            ),
        ] {
            if !(1..=10_000).contains(&count) {
                return wrong(key, &count, "choose 1 to 10000");
            }
        }
        if self.sources.preview_seconds == 0 {
            return wrong("sources.preview_seconds", &0, "choose at least 1");
        }
        if !(1..=10_000).contains(&self.backup.keep) {
            return wrong("backup.keep", &self.backup.keep, "choose 1 to 10000");
        }
        let monitor = &self.monitor;
        if !(1..=100).contains(&monitor.high_percent) {
            return wrong(
                "monitor.high_percent",
                &monitor.high_percent,
                "choose 1 to 100",
            );
        }
        if monitor.low_percent >= monitor.high_percent {
            return wrong(
                "monitor.low_percent",
                &monitor.low_percent,
                "choose less than monitor.high_percent",
            );
        }
        if self.retention.pinned_percent > 100 {
            return wrong(
                "retention.pinned_percent",
                &self.retention.pinned_percent,
                "choose 0 to 100",
            );
        }
        let webhook = &monitor.webhook_url;
        let usable = url::Url::parse(webhook)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !webhook.is_empty() && !usable {
            return wrong(
                "monitor.webhook_url",
                &UNTOLD,
                "give the whole address, like https://alerts.example.org/hook",
            );
        }
        if self.monitor.interval_seconds == 0 {
            return wrong("monitor.interval_seconds", &0, "choose at least 1");
        }
        self.presets.checked()?;
        Ok(self)
    }
}

/// Refuses any key of `tree` that the defaults do not have, naming the nearest that they do.
fn refuse_unknown(tree: &serde_json::Value, defaults: &Settings) -> Result<(), ConfigError> {
    let known: Vec<String> = match serde_json::to_value(defaults) {
        Ok(value) => leaves(&value).into_iter().map(|(key, _)| key).collect(),
        Err(_) => Vec::new(),
    };
    for (key, _) in leaves(tree) {
        // The names of presets are the operator's; what is in them is checked with them.
        if !known.contains(&key) && !key.starts_with("presets.") {
            let nearest = known
                .iter()
                .map(|candidate| (strsim::jaro_winkler(&key, candidate), candidate))
                .filter(|(likeness, _)| *likeness > 0.75)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, candidate)| candidate.clone());
            return Err(ConfigError::Unknown { key, nearest });
        }
    }
    Ok(())
}

/// Every leaf of a tree with its dotted key; an empty table is a leaf of its own.
fn leaves(tree: &serde_json::Value) -> Vec<(String, serde_json::Value)> {
    fn walk(prefix: &str, tree: &serde_json::Value, found: &mut Vec<(String, serde_json::Value)>) {
        match tree {
            serde_json::Value::Object(map) => {
                for (name, value) in map {
                    let key = if prefix.is_empty() {
                        name.clone()
                    } else {
                        format!("{prefix}.{name}")
                    };
                    walk(&key, value, found);
                }
            }
            leaf => found.push((prefix.to_owned(), leaf.clone())),
        }
    }
    let mut found = Vec::new();
    walk("", tree, &mut found);
    found
}

fn to_config(value: serde_json::Value) -> config::Value {
    match value {
        serde_json::Value::Bool(value) => value.into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
        serde_json::Value::Array(items) => {
            items.into_iter().map(to_config).collect::<Vec<_>>().into()
        }
        serde_json::Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn load(
        toml: &str,
        environment: &[(&str, &str)],
        flags: Flags,
    ) -> Result<Settings, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let flags = Flags {
            config: Some(file.path().to_owned()),
            ..flags
        };
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Settings::load(&flags, environment)
    }

    #[test]
    fn each_layer_covers_the_one_below() {
        let toml = "[server]\nbind = \"127.0.0.1:1111\"\nbase_url = \"https://file.example\"\n[limits]\nqueue = 5";
        let settings = load(toml, &[], Flags::default()).unwrap();
        assert_eq!(settings.server.bind.port(), 1111);
        assert_eq!(settings.limits.queue, 5);
        assert_eq!(settings.limits.max_segments, 20);

        let environment = [
            ("MEME_MAKER__SERVER__BIND", "127.0.0.1:2222"),
            ("BASE_URL", "https://seed.example/"),
        ];
        let settings = load(toml, &environment, Flags::default()).unwrap();
        assert_eq!(settings.server.bind.port(), 2222);
        assert_eq!(settings.server.base_url, "https://seed.example");

        let flags = Flags {
            bind: Some("127.0.0.1:3333".parse().unwrap()),
            data_dir: Some("/srv/x".into()),
            ..Flags::default()
        };
        let settings = load(toml, &environment, flags).unwrap();
        assert_eq!(settings.server.bind.port(), 3333);
        assert_eq!(settings.storage_dir(), Path::new("/srv/x/storage"));
    }

    #[test]
    fn the_seed_variables_are_honoured() {
        let environment = [
            ("STORAGE_TYPE", "local"),
            ("LOCAL_STORAGE_PATH", "/srv/clips"),
            ("BASE_URL", "https://clips.example"),
        ];
        let settings = load("", &environment, Flags::default()).unwrap();
        assert_eq!(settings.storage_dir(), Path::new("/srv/clips"));
        assert_eq!(settings.server.base_url, "https://clips.example");
        assert!(load("", &[("STORAGE_TYPE", "tape")], Flags::default()).is_err());
    }

    #[test]
    fn lists_come_from_the_environment_too() {
        let environment = [
            ("MEME_MAKER__EGRESS__ALLOW", "127.0.0.0/8,*.lan"),
            ("MEME_MAKER__EGRESS__PORTS", "8080,8443"),
        ];
        let settings = load("", &environment, Flags::default()).unwrap();
        assert_eq!(settings.egress.allow, ["127.0.0.0/8", "*.lan"]);
        assert_eq!(settings.egress.ports, [8080, 8443]);
        let environment = [
            ("MEME_MAKER__EGRESS__PORTS", "8080"),
            ("MEME_MAKER__EGRESS__DENY", "1.1.1.1"),
            (
                "MEME_MAKER__EGRESS__NAMESERVERS",
                "9.9.9.9:53,[2620:fe::fe]:53",
            ),
        ];
        let settings = load("", &environment, Flags::default()).unwrap();
        assert_eq!(settings.egress.ports, [8080]);
        assert_eq!(settings.egress.deny, ["1.1.1.1"]);
        assert_eq!(settings.egress.nameservers.len(), 2);
        let settings = load("", &[("MEME_MAKER__EGRESS__ALLOW", "")], Flags::default()).unwrap();
        assert!(settings.egress.allow.is_empty());
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        for (toml, environment, nearest) in [
            ("[server]\nbnid = \"x\"", vec![], "server.bind"),
            ("[engine]\nffmepg = \"x\"", vec![], "engine.ffmpeg"),
            ("[limit]\nqueue = 1", vec![], "limits.queue"),
            (
                "",
                vec![("MEME_MAKER__RETENTION__HOUR", "3")],
                "retention.hours",
            ),
        ] {
            let error = load(toml, &environment, Flags::default())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(&format!("did you mean `{nearest}`")),
                "{error}"
            );
        }
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        for (toml, key) in [
            ("[server]\nbase_url = \"clips\"", "server.base_url"),
            ("[engine]\npreset = \"warp\"", "engine.preset"),
            ("[engine]\nfit_preset = \"warp\"", "engine.fit_preset"),
            ("[engine]\ncrf = 99", "engine.crf"),
            ("[limits]\nmax_clip_seconds = 0", "limits.max_clip_seconds"),
            ("[server]\naccel = \"clips\"", "server.accel"),
            ("[sources]\npage_seconds = 0", "sources.page_seconds"),
            ("[sources]\njs_runtime = \"--exec\"", "sources.js_runtime"),
            (
                "[sources]\njs_runtime = \"node:node\"",
                "sources.js_runtime",
            ),
            ("[engine]\nreadable = [\"lib\"]", "engine.readable"),
            ("[engine]\nfonts = [\"fonts\"]", "engine.fonts"),
            ("[monitor]\nhigh_percent = 0", "monitor.high_percent"),
            ("[monitor]\nlow_percent = 95", "monitor.low_percent"),
            (
                "[retention]\npinned_percent = 101",
                "retention.pinned_percent",
            ),
            ("[monitor]\nwebhook_url = \"hook\"", "monitor.webhook_url"),
        ] {
            let error = load(toml, &[], Flags::default()).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        assert!(load("[monitor]\nfloor = \"lots\"", &[], Flags::default()).is_err());
    }

    #[test]
    fn a_wrong_address_is_not_told_because_it_may_hold_a_secret() {
        for (toml, key) in [
            (
                "[monitor]\nwebhook_url = \"hooks.example/hunter2\"",
                "monitor.webhook_url",
            ),
            (
                "[monitor]\nwebhook_url = \"htps://hooks.example/hunter2\"",
                "monitor.webhook_url",
            ),
            (
                "[server]\nbase_url = \"htps://me:hunter2@clips.example\"",
                "server.base_url",
            ),
        ] {
            let error = load(toml, &[], Flags::default()).unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains(key) && told.contains("https://"), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn the_shipped_file_documents_every_key_with_its_default() {
        let shipped = include_str!("../deploy/config.toml");
        let settings = load(shipped, &[], Flags::default()).unwrap();
        assert_eq!(settings, Settings::default());
        let file: serde_json::Value = toml::from_str(shipped).unwrap();
        let mut documented: Vec<String> = leaves(&file).into_iter().map(|(key, _)| key).collect();
        let known = serde_json::to_value(Settings::default()).unwrap();
        let mut known: Vec<String> = leaves(&known).into_iter().map(|(key, _)| key).collect();
        documented.sort();
        known.sort();
        assert_eq!(documented, known);
    }

    #[test]
    fn the_dump_shows_no_password() {
        let mut settings = Settings::default();
        settings.server.base_url = "https://me:hunter2@clips.example".to_owned();
        settings.monitor.webhook_url = "https://hooks.example/hunter2?key=hunter2".to_owned();
        settings.monitor.webhook_secret = "hunter2".to_owned();
        assert!(!settings.redacted().contains("hunter2"));
        assert!(settings.redacted().contains("clips.example"));
    }
}
