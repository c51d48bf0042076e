//! The sections of the settings, each a table of the TOML file, with their defaults. What each key means is told in `deploy/config.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// Where and how the service answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    pub bind: SocketAddr,
    pub base_url: String,
    pub data_dir: PathBuf,
    pub accel: String,
    pub trusted_proxies: Vec<IpNet>,
    pub workers: usize,
    pub drain_seconds: u64,
}

/// Where published bytes live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    #[serde(rename = "type")]
    pub kind: StorageKind,
    pub path: PathBuf,
    pub max_bytes: Bytes,
    pub preview_bytes: Bytes,
    pub ballast_bytes: Bytes,
}

/// The kinds of store there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    #[default]
    Local,
}

/// The SQLite index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Index {
    pub readers: usize,
}

/// What one request, and all of them together, may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub max_clip_seconds: u32,
    pub max_segments: usize,
    pub live_seconds: u32,
    pub body: Bytes,
    pub upload_bytes: Bytes,
    pub uploads_per_visitor: u32,
    pub upload_bytes_per_visitor: Bytes,
    pub queue: u32,
    pub idempotency_hours: u32,
    pub clips_per_minute: u32,
    pub clips_per_visitor: u32,
    pub probes_per_minute: u32,
    pub uploads_per_minute: u32,
}

/// How clips are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    pub workers: usize,
    pub ffmpeg: PathBuf,
    pub ffprobe: PathBuf,
    pub threads: u32,
    pub preset: String,
    pub crf: u32,
    pub fit_preset: String,
    pub max_height: u32,
    pub max_pixels: u64,
    pub memory: Bytes,
    pub readable: Vec<PathBuf>,
    pub fonts: Vec<PathBuf>,
    pub probe_seconds: u64,
    pub fetch_seconds: u64,
    pub cut_seconds: u64,
    pub window_hours: u32,
    pub window_bytes: Bytes,
}

/// Where videos may come from, beside links to files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sources {
    /// Empty switches pages off.
    pub ytdlp_path: PathBuf,
    pub cookies_file: PathBuf,
    pub js_runtime: String,
    pub page_seconds: u64,
    pub probes: usize,
    pub fresh_seconds: u32,
    pub keep_hours: u32,
    pub streams: usize,
    pub streams_per_visitor: usize,
    pub fetch_bytes: Bytes,
    pub preview_seconds: u32,
}

/// What may be reached on the way to a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub ports: Vec<u16>,
    pub nameservers: Vec<SocketAddr>,
    pub max_bytes: Bytes,
    pub max_connections: u32,
    pub connect_seconds: u64,
}

/// Who may change what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    pub create: Create,
    pub secret_file: PathBuf,
}

/// Who may make clips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Create {
    #[default]
    Public,
    Token,
}

/// How long things are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    pub hours: u32,
    pub upload_hours: u32,
    pub history_days: u32,
    pub max_days: u32,
    pub pinned_percent: u32,
    pub trash_hours: u32,
    pub events_days: u32,
    pub health_checks_days: u32,
    pub samples_days: u32,
}

/// When the scheduled work runs: cron expressions with seconds, in UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keeper {
    pub sweep: String,
    pub expiry: String,
    pub evict: String,
}

/// What is watched and what is kept free.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Monitor {
    pub interval_seconds: u64,
    pub floor: Bytes,
    pub high_percent: u32,
    pub low_percent: u32,
    pub webhook_url: String,
    pub webhook_secret: String,
}

/// Copies of the index and the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    pub schedule: String,
    pub dir: PathBuf,
    pub keep: usize,
    pub clips: bool,
}

/// What is written to the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

/// One line for people or one JSON object for machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            bind: SocketAddr::from(([127, 0, 0, 1], 8000)),
            base_url: String::new(),
            data_dir: PathBuf::from("./data"),
            accel: String::new(),
            trusted_proxies: vec![
                IpNet::new_assert([127, 0, 0, 0].into(), 8),
                IpNet::new_assert(std::net::Ipv6Addr::LOCALHOST.into(), 128),
            ],
            workers: 2,
            drain_seconds: 30,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Storage {
            kind: StorageKind::Local,
            path: PathBuf::new(),
            max_bytes: Bytes(50_000_000_000),
            preview_bytes: Bytes(2_000_000_000),
            ballast_bytes: Bytes(64_000_000),
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Index { readers: 2 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_clip_seconds: 180,
            max_segments: 20,
            live_seconds: 0,
            body: Bytes(64_000),
            upload_bytes: Bytes(4_000_000_000),
            uploads_per_visitor: 10,
            upload_bytes_per_visitor: Bytes(8_000_000_000),
            queue: 200,
            idempotency_hours: 24,
            clips_per_minute: 20,
            clips_per_visitor: 20,
            probes_per_minute: 60,
            uploads_per_minute: 30,
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Engine {
            workers: 0,
            ffmpeg: PathBuf::from("ffmpeg"),
            ffprobe: PathBuf::from("ffprobe"),
            threads: 2,
            preset: "veryfast".to_owned(),
            crf: 18,
            fit_preset: "faster".to_owned(),
            max_height: 1080,
            max_pixels: 35_389_440,
            memory: Bytes(1_500_000_000),
            readable: Vec::new(),
            fonts: Vec::new(),
            probe_seconds: 30,
            fetch_seconds: 300,
            cut_seconds: 900,
            window_hours: 24,
            window_bytes: Bytes(2_000_000_000),
        }
    }
}

impl Default for Sources {
    fn default() -> Self {
        Sources {
            ytdlp_path: PathBuf::from("yt-dlp"),
            cookies_file: PathBuf::new(),
            js_runtime: String::new(),
            page_seconds: 60,
            probes: 2,
            fresh_seconds: 600,
            keep_hours: 24,
            streams: 64,
            streams_per_visitor: 8,
            fetch_bytes: Bytes(500_000_000),
            preview_seconds: 1800,
        }
    }
}

impl Default for Egress {
    fn default() -> Self {
        Egress {
            allow: Vec::new(),
            deny: Vec::new(),
            ports: Vec::new(),
            nameservers: Vec::new(),
            max_bytes: Bytes(4_000_000_000),
            max_connections: 500,
            connect_seconds: 10,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            hours: 24,
            upload_hours: 24,
            history_days: 30,
            max_days: 30,
            pinned_percent: 25,
            trash_hours: 24,
            events_days: 90,
            health_checks_days: 30,
            samples_days: 7,
        }
    }
}

impl Default for Keeper {
    fn default() -> Self {
        Keeper {
            sweep: "0 0 2 * * *".to_owned(),
            expiry: "0 */5 * * * *".to_owned(),
            evict: "30 * * * * *".to_owned(),
        }
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Monitor {
            interval_seconds: 30,
            floor: Bytes(2_000_000_000),
            high_percent: 90,
            low_percent: 80,
            webhook_url: String::new(),
            webhook_secret: String::new(),
        }
    }
}

impl Default for Backup {
    fn default() -> Self {
        Backup {
            schedule: String::new(),
            dir: PathBuf::new(),
            keep: 7,
            clips: false,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}
