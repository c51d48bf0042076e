//! The static binary, booted on a free port with the settings it ships with and a data folder on the measured disk; killed without
//! warning in the end.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::wire::Wire;
use crate::{Ground, Outcome};

const PATIENCE: Duration = Duration::from_secs(120);

pub struct Service {
    child: Child,
    pub address: String,
    pub data: PathBuf,
    /// From just before the process was made until liveness was answered.
    pub ready_after: Duration,
}

impl Service {
    /// Boots on a data folder, which need not exist, and waits for the first 200.
    pub fn start(ground: &Ground, data: &Path, settings: &[(&str, &str)]) -> Outcome<Service> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let log = File::create(ground.dir.path().join("service.log"))?;
        let mut command = Command::new(&ground.binary);
        command
            .args(["serve", "--bind", &address, "--data-dir"])
            .arg(data)
            // The settings of whoever runs the bench stay out of it.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("MEME_MAKER__EGRESS__ALLOW", "127.0.0.0/8")
            .env("MEME_MAKER__MONITOR__FLOOR", "1 MB")
            // The load comes from one visitor.
            .env("MEME_MAKER__LIMITS__CLIPS_PER_MINUTE", "0")
            .env("MEME_MAKER__LIMITS__CLIPS_PER_VISITOR", "0")
            .env("MEME_MAKER__LIMITS__PROBES_PER_MINUTE", "0")
            .env("MEME_MAKER__LIMITS__UPLOADS_PER_MINUTE", "0")
            .envs(
                settings
                    .iter()
                    .map(|(key, value)| (format!("MEME_MAKER__{key}"), value)),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let request = format!("GET /api/health/live HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let began = Instant::now();
        let mut service = Service {
            child: command.spawn()?,
            address,
            data: data.to_owned(),
            ready_after: Duration::ZERO,
        };
        loop {
            let status = Wire::connect(&service.address)
                .and_then(|mut wire| Ok(wire.exchange(request.as_bytes())?.status));
            service.ready_after = began.elapsed();
            if matches!(status, Ok(200)) {
                return Ok(service);
            }
            if let Some(status) = service.child.try_wait()? {
                let log = std::fs::read_to_string(ground.dir.path().join("service.log"))?;
                let last = log.lines().last().unwrap_or_default();
                return Err(format!("the service did not start ({status}): {last}").into());
            }
            if service.ready_after > PATIENCE {
                return Err("the service does not answer".into());
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Any GET; the status.
    pub fn get(&self, path: &str) -> Outcome<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        Ok(Wire::connect(&self.address)?
            .exchange(request.as_bytes())?
            .status)
    }

    /// Makes a clip; the settled clip, and how long it took from the request to the answer that it is ready.
    pub fn make(&self, recipe: &Value) -> Outcome<(Value, Duration)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let began = Instant::now();
        let mut clip: Value = agent
            .post(format!("http://{}/api/clips", self.address))
            .header("prefer", "wait=60")
            .send_json(recipe)?
            .body_mut()
            .read_json()?;
        while began.elapsed() < PATIENCE {
            match clip["state"].as_str() {
                Some("ready") => return Ok((clip, began.elapsed())),
                Some("queued" | "fetching" | "cutting" | "storing") => {}
                _ => return Err(format!("no clip was made: {clip}").into()),
            }
            std::thread::sleep(Duration::from_millis(20));
            let own = clip["urls"]["self"].as_str().unwrap_or_default();
            clip = agent
                .get(format!("http://{}{own}", self.address))
                .call()?
                .body_mut()
                .read_json()?;
        }
        Err("the clip was not ready in time".into())
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.kill();
    }
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
