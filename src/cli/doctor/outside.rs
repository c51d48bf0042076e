//! `doctor --url`: the site as the public sees it, each finding with its mend: how it is reached, and who answers.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Certificate, Method, Url};
use rustls::CertificateError;

use super::Finding;
use super::caller::{Caller, Silence};
use super::traffic::{begin_upload, events, link_card, links, named, newest, ranges, upload};
use crate::app::clock::Clock;
use crate::cli::{Exit, Trouble, outward};

/// What is asked from outside.
#[derive(Debug, clap::Args)]
pub(super) struct Outside {
    /// Check the public side of a site instead, like https://clips.example.org
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<Url>,
    /// The clip whose page and file are looked at, instead of the newest
    #[arg(long, value_name = "ID", requires = "url")]
    clip: Option<String>,
    /// An authority (PEM) to trust beside the system's
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<std::path::PathBuf>,
    /// A token of the service, where auth.create is "token"
    #[arg(long, value_name = "TOKEN", requires = "url")]
    token: Option<String>,
    /// Where plain http is answered, when not on port 80
    #[arg(long, value_name = "PORT", requires = "url")]
    http_port: Option<u16>,
}

const NAMES: [&str; 11] = [
    "connect", "tls", "redirect", "health", "metrics", "headers", "links", "ranges", "card",
    "events", "upload",
];
/// Certificates of Let's Encrypt are renewed 30 days before they end; with less left, renewing does not work.
const DAYS_LEFT: i64 = 14;
/// Time for one address to answer.
const REACHED: Duration = Duration::from_secs(5);

/// All findings, in the order in which they build on each other.
///
/// # Errors
/// When the flags cannot be used.
pub(super) async fn examine(outside: &Outside, url: &Url) -> Result<Vec<Finding>, Trouble> {
    let site = site(url)?;
    let authorities = match &outside.ca {
        Some(file) => authorities(file)?,
        None => Vec::new(),
    };
    let mut findings = Vec::new();
    let addresses = match outward::addresses(&site).await {
        Ok(addresses) if !addresses.is_empty() => addresses,
        Ok(_) => return Ok(nowhere("the name leads nowhere".to_owned())),
        Err(error) => return Ok(nowhere(error)),
    };
    let shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    findings.push(Finding::well("dns", shown.join(", ")));
    let caller = Caller::new(site.clone(), &addresses, authorities, outside.token.clone())
        .map_err(|error| usage("--ca", &error.to_string()))?;

    let reached = reach(&caller, &addresses, &mut findings).await;
    let rest = |findings: &mut Vec<Finding>, why: &str| {
        let told: Vec<&str> = findings.iter().map(|finding| finding.name).collect();
        let left = NAMES.iter().filter(|name| !told.contains(name));
        let left: Vec<Finding> = left.map(|name| Finding::unchecked(name, why)).collect();
        findings.extend(left);
    };
    if !reached {
        rest(&mut findings, "mend the above first");
        return Ok(findings);
    }
    findings.push(redirect(&caller, outside.http_port).await);
    let health = health(&caller).await;
    let ours = health.ok != Some(false);
    findings.push(health);
    if !ours {
        rest(&mut findings, "the service does not answer");
        return Ok(findings);
    }
    findings.push(metrics(&caller).await);
    findings.push(headers(&caller).await);
    let clip = match &outside.clip {
        Some(id) => named(&caller, id).await,
        None => newest(&caller, "?state=ready&limit=1").await,
    };
    let begun = begin_upload(&caller).await;
    let told = match (&clip, &begun) {
        (Ok(clip), _) => clip["urls"]["page"].as_str(),
        (Err(_), Ok(location)) => Some(location.as_str()),
        (Err(_), Err(_)) => None,
    };
    findings.push(match told {
        Some(told) => links(&caller, told),
        None => Finding::unchecked("links", "no clip and no upload to see one in"),
    });
    match &clip {
        Ok(clip) => {
            findings.push(ranges(&caller.stranger(), clip).await);
            findings.push(link_card(&caller.stranger(), clip).await);
        }
        Err(why) => {
            for name in ["ranges", "card"] {
                findings.push(Finding::unchecked(name, why));
            }
        }
    }
    findings.push(events(&caller).await);
    findings.push(match begun {
        Ok(location) => upload(&caller, &location).await,
        Err(finding) => finding,
    });
    Ok(findings)
}

fn site(url: &Url) -> Result<Url, Trouble> {
    let plain = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !plain {
        return Err(usage(
            "--url",
            "it takes one like https://clips.example.org",
        ));
    }
    let mut site = url.clone();
    site.set_path("/");
    site.set_query(None);
    site.set_fragment(None);
    Ok(site)
}

fn authorities(file: &std::path::Path) -> Result<Vec<Certificate>, Trouble> {
    let pem = std::fs::read(file)
        .map_err(|error| Trouble::io(&format!("{} cannot be read", file.display()), &error))?;
    Certificate::from_pem_bundle(&pem).map_err(|error| usage("--ca", &error.to_string()))
}

fn usage(flag: &str, why: &str) -> Trouble {
    Trouble {
        exit: Exit::Usage,
        code: "flag_invalid".to_owned(),
        sentence: format!("{flag} cannot be used: {why}."),
        hint: "See meme-maker doctor --help.".to_owned(),
    }
}

fn nowhere(why: String) -> Vec<Finding> {
    let mut findings = vec![Finding::wrong(
        "dns",
        why,
        "Add an A record (and AAAA, if the machine has IPv6) for the name that leads to this machine.",
    )];
    let rest = NAMES
        .iter()
        .map(|name| Finding::unchecked(name, "the name leads nowhere"));
    findings.extend(rest);
    findings
}

/// Whether the site is reached, and by a certificate that counts.
async fn reach(caller: &Caller, addresses: &[IpAddr], findings: &mut Vec<Finding>) -> bool {
    let secure = caller.site.scheme() == "https";
    let ends = match caller.certificate_ends().await {
        Ok(ends) => ends,
        Err(Silence::Certificate(why)) => {
            findings.push(Finding::well("connect", "answered".to_owned()));
            findings.push(Finding::wrong("tls", why.to_string(), mend(&why)));
            return false;
        }
        Err(Silence::Other(why)) => {
            let port = caller.site.port_or_known_default().unwrap_or(443);
            findings.push(Finding::wrong(
                "connect",
                why,
                format!(
                    "See whether nginx runs (systemctl status nginx) and listens on port {port}, and open that port in the \
                     machine's and the provider's firewall."
                ),
            ));
            return false;
        }
    };
    findings.push(everywhere(caller, addresses).await);
    let name = caller.site.host_str().unwrap_or_default();
    let now = Clock::default().now().0 / 1000;
    let days = ends.map(|ends| (ends - now) / 86_400);
    findings.push(match days {
        _ if !secure => Finding::wrong(
            "tls",
            "the site is asked without encryption".to_owned(),
            format!("Encrypt it with certbot --nginx -d {name}, then ask for https://{name}."),
        ),
        Some(days) if days < DAYS_LEFT => Finding::wrong(
            "tls",
            format!("trusted, but the certificate ends in {days} days"),
            "Renewing does not work: see systemctl list-timers certbot.timer and run certbot renew --dry-run.",
        ),
        Some(days) => Finding::well("tls", format!("trusted for {name}, {days} days left")),
        None => Finding::well("tls", format!("trusted for {name}")),
    });
    true
}

/// Whether each address of the name answers: a visitor takes the one that is nearest, and it may be the only one there is no server at.
async fn everywhere(caller: &Caller, addresses: &[IpAddr]) -> Finding {
    const NAME: &str = "connect";
    let port = caller.site.port_or_known_default().unwrap_or(443);
    let mut silent = Vec::new();
    for address in addresses {
        let reached = tokio::net::TcpStream::connect((*address, port));
        match tokio::time::timeout(REACHED, reached).await {
            Ok(Ok(_)) => {}
            // This machine has no way there, which says nothing about the site.
            Ok(Err(error))
                if matches!(
                    error.kind(),
                    ErrorKind::NetworkUnreachable
                        | ErrorKind::HostUnreachable
                        | ErrorKind::AddrNotAvailable
                ) => {}
            Ok(Err(_)) | Err(_) => silent.push(address.to_string()),
        }
    }
    if silent.is_empty() {
        return Finding::well(NAME, "answered".to_owned());
    }
    Finding::wrong(
        NAME,
        format!("nobody answers at {} on port {port}", silent.join(", ")),
        "Let nginx listen there too (listen [::]:443 ssl; for IPv6) and open the firewall for it, or take its A or AAAA record away.",
    )
}

/// What cures a certificate that does not count.
fn mend(why: &CertificateError) -> &'static str {
    if matches!(
        why,
        CertificateError::Expired | CertificateError::ExpiredContext { .. }
    ) {
        "Renew it: certbot renew, then systemctl reload nginx; see systemctl list-timers certbot.timer for why it was not."
    } else if matches!(
        why,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
    ) {
        "Set the clock right: timedatectl set-ntp true."
    } else if matches!(
        why,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    ) {
        "Get one for this very name: certbot --nginx -d NAME."
    } else {
        "Serve the whole chain (ssl_certificate .../fullchain.pem) of an authority that browsers know; for one of your own name it \
         with --ca."
    }
}

async fn redirect(caller: &Caller, port: Option<u16>) -> Finding {
    const NAME: &str = "redirect";
    if caller.site.scheme() != "https" {
        return Finding::unchecked(NAME, "there is no https to lead to");
    }
    let port = match (port, caller.site.port()) {
        (Some(port), _) => port,
        (None, None) => 80,
        (None, Some(_)) => {
            return Finding::unchecked(
                NAME,
                "the site has a port of its own; name that of http with --http-port",
            );
        }
    };
    let mut plain = caller.site.clone();
    // These two only fail for addresses that have no host.
    let _ = plain.set_scheme("http");
    let _ = plain.set_port(Some(port));
    let answer = match caller.ask(Method::GET, &plain, &[], Vec::new()).await {
        Ok(answer) => answer,
        Err(error) => {
            return Finding::wrong(
                NAME,
                format!("port {port}: {error}"),
                "Open port 80 too: people who type the name come that way, and certbot renews by it.",
            );
        }
    };
    let location = answer.header("location").to_owned();
    let led = Url::parse(&location).is_ok_and(|url| url.origin() == caller.site.origin());
    match answer.status {
        301 | 302 | 307 | 308 if led => {
            Finding::well(NAME, format!("{} to {location}", answer.status))
        }
        status => Finding::wrong(
            NAME,
            format!("http answers {status} {location}")
                .trim_end()
                .to_owned(),
            "Let port 80 redirect: certbot --nginx --redirect -d NAME, or return 301 https://$host$request_uri;",
        ),
    }
}

async fn health(caller: &Caller) -> Finding {
    const NAME: &str = "health";
    let answer = match caller.get("api/health", &[]).await {
        Ok(answer) => answer,
        Err(error) => return Finding::wrong(NAME, error.to_string(), "Read nginx's error log."),
    };
    let told = answer.json();
    let status = told.as_ref().and_then(|told| told["status"].as_str());
    let version = told.as_ref().and_then(|told| told["version"].as_str());
    match (answer.status, status, version) {
        (200, Some(status), Some(version)) => {
            Finding::well(NAME, format!("{status}, version {version}"))
        }
        (_, Some(status), Some(version)) => {
            let checks = told.as_ref().and_then(|told| told["checks"].as_array());
            let failing: Vec<&str> = checks
                .into_iter()
                .flatten()
                .filter(|check| check["status"] == "failing")
                .filter_map(|check| check["name"].as_str())
                .collect();
            // It answers, so the proxy is in order.
            Finding {
                hint:
                    "On the machine, run meme-maker doctor and read journalctl -u meme-maker -n 50."
                        .to_owned(),
                ..Finding::well(
                    NAME,
                    format!("{status} ({}), version {version}", failing.join(", ")),
                )
            }
        }
        (502..=504, ..) => Finding::wrong(
            NAME,
            format!("the proxy answers {}, the service does not", answer.status),
            "Start it: systemctl start meme-maker; and see that the proxy asks the address of server.bind.",
        ),
        (status, ..) => Finding::wrong(
            NAME,
            format!("{status}, and not by this service"),
            "Another site answers under this name: set server_name, link the site into sites-enabled and reload nginx.",
        ),
    }
}

async fn metrics(caller: &Caller) -> Finding {
    const NAME: &str = "metrics";
    // A token would open them, as it should.
    let caller = caller.stranger();
    for path in ["metrics", "metrics/"] {
        match caller.get(path, &[]).await {
            Ok(answer) if answer.status == 200 || answer.text().contains("meme_maker_") => {
                return Finding::wrong(
                    NAME,
                    format!("/{path} is open to everybody"),
                    "Close it in the site: location ^~ /metrics { return 404; } and let the proxy set X-Forwarded-For.",
                );
            }
            Ok(_) => {}
            Err(error) => return Finding::unchecked(NAME, &error.to_string()),
        }
    }
    Finding::well(NAME, "closed".to_owned())
}

async fn headers(caller: &Caller) -> Finding {
    const NAME: &str = "headers";
    const MEND: &str = "The service sends them itself: take add_header and proxy_hide_header out of the proxy's locations.";
    let answer = match caller.get("", &[]).await {
        Ok(answer) => answer,
        Err(error) => return Finding::unchecked(NAME, &error.to_string()),
    };
    for (name, wanted) in [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "frame-ancestors 'none'"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
    ] {
        if answer.headers.get_all(name).iter().count() > 1 {
            return Finding::wrong(NAME, format!("{name} comes twice"), MEND);
        }
        let found = answer.header(name);
        if !found.contains(wanted) {
            let found = if found.is_empty() { "missing" } else { found };
            return Finding::wrong(NAME, format!("{name}: {found}"), MEND);
        }
    }
    let hint = if answer.header("strict-transport-security").is_empty() {
        "Once https is there to stay, add_header Strict-Transport-Security \"max-age=31536000\" always; in the server block keeps \
         browsers on it."
    } else {
        ""
    };
    Finding {
        hint: hint.to_owned(),
        ..Finding::well(
            NAME,
            "sniffing, framing and referrers are restricted".to_owned(),
        )
    }
}
