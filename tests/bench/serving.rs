//! Ranges of a ready clip, read as fast as a few visitors can, from the service, from nginx on the same file, and through nginx as it
//! is deployed: the service decides, nginx sends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::figures::{median, quantile, sorted};
use crate::origin::Origin;
use crate::service::{Service, free_port};
use crate::table::Table;
use crate::wire::Wire;
use crate::{Ground, Outcome, cut};

const RANGE: u64 = 1_000_000;
const VISITORS: u64 = 4;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
/// As many as the service has by default.
const NGINX_WORKERS: usize = 2;

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let source = cut::source()?;
    let origin = Origin::start(Some(&source))?;
    let data = ground.dir.path().join("files");
    let service = Service::start(ground, &data, &[("SERVER__ACCEL", "/internal-clips/")])?;
    let recipe =
        json!({"url": origin.link("/f.mp4"), "start_time": 5, "end_time": 35, "mode": "fast"});
    let (clip, _) = service.make(&recipe)?;
    let path = clip["urls"]["file"]
        .as_str()
        .ok_or("the clip has no address")?;
    let file = published(&data)?;
    let ours = Target {
        address: service.address.clone(),
        path: path.to_owned(),
        file: file.clone(),
    };
    let nginx = Nginx::start(ground, &service, &file);
    let (direct, through) = match &nginx {
        Ok(nginx) => {
            let at = |port, path: &str| Target {
                address: format!("127.0.0.1:{port}"),
                path: path.to_owned(),
                file: file.clone(),
            };
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            (
                Some(at(nginx.static_port, &format!("/{name}"))),
                Some(at(nginx.site_port, path)),
            )
        }
        Err(_) => (None, None),
    };
    let mut speeds: [Vec<Speed>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let targets = [Some(&ours), direct.as_ref(), through.as_ref()];
        for (target, speeds) in targets.into_iter().zip(&mut speeds) {
            if let Some(target) = target {
                speeds.push(read(target)?);
            }
        }
    }
    let [ours, direct, through] = speeds.map(|speeds| Speed::middle(&speeds));
    table.tell("1 MB ranges of a clip, by ourselves", ours.to_string());
    if let Err(error) = &nginx {
        table.not_taken("1 MB ranges by nginx, same file", &[], &error.to_string());
        return Ok(());
    }
    table.tell("the same by nginx on the same file", direct.to_string());
    table.tell(
        "ranges a second against nginx's",
        format!("{:.2} x", ours.rate / direct.rate),
    );
    table.tell(
        "the same through nginx with X-Accel-Redirect",
        through.to_string(),
    );
    table.tell(
        "that against nginx alone",
        format!("{:.2} x", through.rate / direct.rate),
    );
    Ok(())
}

struct Target {
    address: String,
    path: String,
    /// What has to come out.
    file: PathBuf,
}

#[derive(Clone, Copy)]
struct Speed {
    /// Ranges a second.
    rate: f64,
    /// In ms.
    p99: f64,
}

impl Speed {
    fn middle(speeds: &[Speed]) -> Speed {
        Speed {
            rate: median(speeds.iter().map(|speed| speed.rate)),
            p99: median(speeds.iter().map(|speed| speed.p99)),
        }
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let megabytes = self.rate * RANGE as f64 / 1e6;
        write!(
            to,
            "{:.0}/s, {megabytes:.0} MB/s, p99 {:.1} ms, {VISITORS} visitors, median of {ROUNDS}",
            self.rate, self.p99
        )
    }
}

/// Every visitor keeps a connection and asks for one range after the other, each somewhere else in the file.
fn read(target: &Target) -> Outcome<Speed> {
    let whole = std::fs::read(&target.file)?;
    let places = (whole.len() as u64)
        .checked_sub(RANGE)
        .filter(|places| *places > 0)
        .ok_or("the clip is too small")?;
    let began = Instant::now();
    let times = std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..VISITORS)
            .map(|visitor| {
                let whole = &whole;
                scope.spawn(move || -> Outcome<Vec<f64>> {
                    let mut wire = Wire::connect(&target.address)?;
                    let mut times = Vec::new();
                    let mut place = visitor * 7_919_777;
                    while began.elapsed() < ROUND {
                        place = (place * 31 + 1_299_709) % places;
                        let asked = Instant::now();
                        let answer = wire.exchange(target.request(place).as_bytes())?;
                        times.push(asked.elapsed().as_secs_f64() * 1000.0);
                        let wanted = &whole[place as usize..][..RANGE as usize];
                        // Comparing all of each would measure the comparison.
                        let right = match times.len() {
                            1 => answer.body == wanted,
                            _ => answer.body.len() == wanted.len(),
                        };
                        if answer.status != 206 || !right {
                            return Err(
                                format!("the wrong bytes came, status {}", answer.status).into()
                            );
                        }
                    }
                    Ok(times)
                })
            })
            .collect();
        visitors
            .into_iter()
            .map(|visitor| visitor.join().map_err(|_| "a visitor broke")?)
            .collect::<Outcome<Vec<Vec<f64>>>>()
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let times = sorted(times.into_iter().flatten());
    Ok(Speed {
        rate: times.len() as f64 / seconds,
        p99: quantile(&times, 0.99),
    })
}

impl Target {
    fn request(&self, place: u64) -> String {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nRange: bytes={place}-{}\r\n\r\n",
            self.path,
            self.address,
            place + RANGE - 1
        )
    }
}

/// The only clip of a store.
fn published(data: &Path) -> Outcome<PathBuf> {
    for folder in std::fs::read_dir(data.join("storage/clips"))? {
        for file in std::fs::read_dir(folder?.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "mp4") {
                return Ok(path);
            }
        }
    }
    Err("no clip was published".into())
}

/// Where nginx is; it often is not on the path of people.
pub fn nginx() -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"])
        .map(|dir| format!("{dir}/nginx"))
        .find(|path| Path::new(path).is_file())
}

/// An nginx of our own: one port for the bare file, one that asks the service first.
struct Nginx {
    child: Child,
    static_port: u16,
    site_port: u16,
}

impl Nginx {
    fn start(ground: &Ground, service: &Service, file: &Path) -> Outcome<Nginx> {
        let program = nginx().ok_or("nginx is not installed")?;
        let dir = ground.dir.path().join("nginx");
        std::fs::create_dir(&dir)?;
        let (static_port, site_port) = (free_port()?, free_port()?);
        let folder = file.parent().ok_or("the file has no folder")?;
        // Workers that give up root could not enter the data folder.
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let config = format!(
            "{user}
            daemon off; pid {dir}/pid; error_log {dir}/error.log; worker_processes {NGINX_WORKERS};
            events {{ worker_connections 256; }}
            http {{
                access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type video/mp4;
                client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
                uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
                upstream service {{ server {address}; keepalive 16; }}
                server {{ listen 127.0.0.1:{static_port}; root {folder}; }}
                server {{
                    listen 127.0.0.1:{site_port};
                    location / {{
                        proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\";
                        proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
                    }}
                    location ^~ /internal-clips/ {{ internal; alias {clips}/; }}
                }}
            }}",
            dir = dir.display(),
            folder = folder.display(),
            clips = service.data.join("storage/clips").display(),
            address = service.address,
        );
        let path = dir.join("nginx.conf");
        std::fs::write(&path, config)?;
        let child = Command::new(program)
            .arg("-e")
            .arg(dir.join("error.log"))
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut nginx = Nginx {
            child,
            static_port,
            site_port,
        };
        let began = Instant::now();
        while Wire::connect(&format!("127.0.0.1:{site_port}")).is_err() {
            if nginx.child.try_wait()?.is_some() || began.elapsed() > Duration::from_secs(10) {
                let log = std::fs::read_to_string(dir.join("error.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                return Err(format!("nginx did not start: {last}").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // In good order, so that the master takes its workers along.
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let told = pid.is_some_and(|pid| {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok()
        });
        if !told {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
