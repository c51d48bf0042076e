//! Owns the judgement on where the service may connect to: which addresses, names and ports.
//! Pure: it never resolves a name, opens a socket or reads a clock.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// What may be reached: the public internet on the web's ports and what the operator allowed, without this service itself and what the
/// operator denied.
#[derive(Clone, Debug)]
pub struct Policy {
    allowed: Places,
    denied: Places,
    own: Places,
    ports: Vec<u16>,
}

/// Networks and names.
#[derive(Clone, Debug, Default)]
struct Places {
    nets: Vec<IpNet>,
    names: Vec<NamePattern>,
}

/// Why a policy could not be made from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// An allow entry that is neither an address, a network nor a name.
    #[error("\"{0}\" is not an address, a CIDR, a host name or a *.host pattern")]
    Allow(String),
    /// The same among the denied.
    #[error("\"{0}\" is not an address, a CIDR, a host name or a *.host pattern")]
    Deny(String),
    /// Port 0 cannot be connected to.
    #[error("0 is not a port that can be allowed")]
    Port,
}

/// Why a connection was refused or cut: one sentence a person can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The target is not a URL that can be asked for.
    #[error("This is not a valid link: copy it again from the address bar.")]
    Invalid,
    /// Neither http nor https.
    #[error("Only http and https links can be fetched.")]
    Scheme,
    /// A user name or password in the link.
    #[error("Links with a user name or password are not accepted: remove the part before the @.")]
    Credentials,
    /// A port that is not open for egress.
    #[error("Links to port {0} are not accepted: use one on port 80 or 443.")]
    Port(u16),
    /// A private address or a name that stands for one.
    #[error("This link leads to a private or reserved address: use one on the public internet.")]
    Blocked,
    /// On the operator's list of what is not to be reached.
    #[error("This link leads to a place that is closed here: use another one.")]
    Denied,
    /// An address of this machine or the service's own name.
    #[error("This link leads back to this service: use the address the video came from.")]
    Own,
    /// From https to http.
    #[error("The source leads from https to plain http: use the link it should lead to.")]
    Downgrade,
    /// One redirect after the other.
    #[error(
        "The source leads from one address to the next without end: use the link it should end at."
    )]
    Redirects,
    /// The name has no address, or it could not be looked up.
    #[error("The host {0} could not be found: check the link for a typing mistake.")]
    Unresolvable(String),
    /// No judged address accepted a connection, or the host hung up without an answer.
    #[error("The host {0} does not answer: try again later.")]
    Unreachable(String),
    /// The lease's byte budget is spent.
    #[error(
        "The source sent more data than is allowed: choose a shorter range or a smaller source."
    )]
    Bytes,
    /// The lease's connection budget is spent.
    #[error("The source needs more connections than are allowed: choose a shorter range.")]
    Connections,
    /// The lease's time is over.
    #[error(
        "The source took too long to send its data: try again later or choose a shorter range."
    )]
    Deadline,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NamePattern {
    Exact(String),
    /// `*.host`, kept as `.host`: every name below it, not the host itself.
    Below(String),
}

/// IPv4 blocks that are not globally routable unicast. From the IANA IPv4 Special-Purpose Address
/// Registry (RFC 6890), where "globally reachable" is not true, plus multicast and class E.
const RESERVED_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network, RFC 791
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private use, RFC 1918
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // shared address space, RFC 6598
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback, RFC 1122
    (Ipv4Addr::new(168, 63, 129, 16), 32), // no reserved block, but Azure's host and its secrets on every machine there
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link local and cloud metadata, RFC 3927
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private use, RFC 1918
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments, RFC 6890
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation, RFC 5737
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relay anycast, deprecated by RFC 7526
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private use, RFC 1918
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarking, RFC 2544
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation, RFC 5737
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation, RFC 5737
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast, RFC 5771
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved and broadcast, RFC 1112 and RFC 919
];

/// The only block IANA has given out as global unicast, RFC 4291 section 2.4. Everything else (`::/8` with
/// its compatible and translated IPv4, `100::/64`, `5f00::/16`, ULA, link local, site local, multicast) is outside.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Blocks inside it that are not. From the IANA IPv6 Special-Purpose Address Registry (RFC 6890).
const RESERVED_V6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, ORCHID, RFC 2928
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation, RFC 3849
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: its relays are gone, what is left is the embedded IPv4, RFC 7526
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation, RFC 9637
];

/// NAT64's well-known prefix, RFC 6052: on an IPv6-only machine, DNS64 gives these for public IPv4 hosts.
/// The local-use prefix `64:ff9b:1::/48` (RFC 8215) is outside it and stays refused.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Names that stand for this machine or its network, themselves and below: RFC 6761 (localhost), RFC 6762 (local),
/// RFC 8375 (home.arpa), ICANN's 2024 reservation (internal), what routers hand out, and metadata servers of clouds. A name that is not here is
/// still judged by every address it resolves to.
const PRIVATE_NAMES: &[&str] = &[
    "localhost",
    "localdomain",
    "local",
    "internal",
    "home.arpa",
    "intranet",
    "lan",
    "corp",
    "home",
    "metadata.goog",
    "metadata.azure.com",
    "metadata.packet.net",
    "metadata.platformequinix.com",
];

/// Ports that need no permission.
const WEB_PORTS: [u16; 2] = [80, 443];

impl Policy {
    /// `allow` lists what may be reached although private, and on any port: a CIDR, an address, a host name, or
    /// `*.host` for every name below a host. `ports` are open beside 80 and 443.
    pub fn new(allow: &[String], ports: &[u16]) -> Result<Policy, PolicyError> {
        if ports.contains(&0) {
            return Err(PolicyError::Port);
        }
        Ok(Policy {
            allowed: Places::listed(allow).map_err(PolicyError::Allow)?,
            denied: Places::default(),
            own: Places::default(),
            ports: ports.to_vec(),
        })
    }

    /// The same policy without these places, whatever else allows them.
    pub fn denying(self, deny: &[String]) -> Result<Policy, PolicyError> {
        let denied = Places::listed(deny).map_err(PolicyError::Deny)?;
        Ok(Policy { denied, ..self })
    }

    /// The same policy for a service that people find at this address, which is closed to itself unless allowed.
    pub fn found_at(mut self, base: &Url) -> Policy {
        if let Some(host) = base.host_str() {
            self.own.admit(host);
        }
        self
    }

    /// All that can be said about a URL without resolving its host. `here` are the addresses of this machine.
    pub fn judge_url(&self, url: &Url, here: &[IpAddr]) -> Result<(), Refusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Credentials);
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Refusal::Invalid);
        };
        match host {
            Host::Ipv4(ip) => self.judge_address("", port, ip.into(), here),
            Host::Ipv6(ip) => self.judge_address("", port, ip.into(), here),
            // Longer than a name can be (RFC 1035, section 2.3.4).
            Host::Domain(name) if name.len() > 253 => Err(Refusal::Invalid),
            Host::Domain(name) => self.judge_name(name, port),
        }
    }

    /// Judges one address that `host` resolved to (or is). `here` are the addresses of this machine.
    ///
    /// An IPv4-mapped address (RFC 4291 section 2.5.5.2) is judged as the IPv4 address it is, since connecting to it is
    /// connecting to that address; in every other embedding the allow list is compared with the address as written. What is denied
    /// or ours is found in every embedding.
    pub fn judge_address(
        &self,
        host: &str,
        port: u16,
        ip: IpAddr,
        here: &[IpAddr],
    ) -> Result<(), Refusal> {
        let (name, ip) = (plain(host), ip.to_canonical());
        let inside = within_v6(ip);
        let meant = || std::iter::once(ip).chain(inside);
        if self.denied.name(&name) || meant().any(|ip| self.denied.address(ip)) {
            return Err(Refusal::Denied);
        }
        if self.allowed.name(&name) || self.allowed.address(ip) {
            return Ok(());
        }
        if self.own.name(&name) || meant().any(|ip| self.own.address(ip) || here.contains(&ip)) {
            // A private address stays one, whoever has it.
            return Err(if public(ip) {
                Refusal::Own
            } else {
                Refusal::Blocked
            });
        }
        if public(ip) {
            self.judge_port(port)
        } else {
            Err(Refusal::Blocked)
        }
    }

    fn judge_name(&self, name: &str, port: u16) -> Result<(), Refusal> {
        let name = plain(name);
        if name.is_empty() || name.ends_with('.') {
            return Err(Refusal::Blocked);
        }
        if self.denied.name(&name) {
            return Err(Refusal::Denied);
        }
        if self.allowed.name(&name) {
            return Ok(());
        }
        // A single label (`router`, `metadata`, a container's name) means something on this network only.
        let private = PRIVATE_NAMES
            .iter()
            .any(|zone| is_below(&name, zone) || name == *zone);
        if private || !name.contains('.') {
            return Err(Refusal::Blocked);
        }
        if self.own.name(&name) {
            return Err(Refusal::Own);
        }
        self.judge_port(port)
    }

    fn judge_port(&self, port: u16) -> Result<(), Refusal> {
        if WEB_PORTS.contains(&port) || self.ports.contains(&port) {
            Ok(())
        } else {
            Err(Refusal::Port(port))
        }
    }
}

impl Places {
    /// From a list of the configuration; the entry that is none of the patterns is given back.
    fn listed(entries: &[String]) -> Result<Places, String> {
        let mut places = Places::default();
        for entry in entries {
            places.admit(entry.trim()).ok_or_else(|| entry.clone())?;
        }
        Ok(places)
    }

    fn address(&self, ip: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(&ip))
    }

    fn name(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| match pattern {
            NamePattern::Exact(listed) => listed == name,
            NamePattern::Below(zone) => name.len() > zone.len() && name.ends_with(zone),
        })
    }

    fn admit(&mut self, entry: &str) -> Option<()> {
        if let Ok(net) = entry.parse::<IpNet>() {
            self.nets.push(net.trunc());
            return Some(());
        }
        if let Ok(ip) = entry
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
        {
            self.nets.push(ip.to_canonical().into());
            return Some(());
        }
        let (below, name) = match entry.strip_prefix("*.") {
            Some(zone) => (true, zone),
            None => (false, entry),
        };
        // The URL parser's own rules (case, IDNA), so that a listed name meets the name of a parsed link.
        let Ok(Host::Domain(name)) = Host::parse(name) else {
            return None;
        };
        let name = plain(&name);
        if name.is_empty() || name.contains('*') || name.split('.').any(str::is_empty) {
            return None;
        }
        self.names.push(if below {
            NamePattern::Below(format!(".{name}"))
        } else {
            NamePattern::Exact(name)
        });
        Some(())
    }
}

impl Refusal {
    /// The stable code of the API's error that this becomes.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Invalid => "url_invalid",
            Refusal::Scheme => "url_scheme",
            Refusal::Credentials => "url_credentials",
            Refusal::Port(_) => "url_port",
            Refusal::Blocked | Refusal::Denied | Refusal::Own => "url_blocked",
            Refusal::Downgrade => "url_downgrade",
            Refusal::Redirects => "source_redirects",
            Refusal::Unresolvable(_) | Refusal::Unreachable(_) => "source_unreachable",
            Refusal::Bytes => "source_too_large",
            Refusal::Connections => "source_too_many_requests",
            Refusal::Deadline => "source_timeout",
        }
    }

    /// Whether somebody was kept from going somewhere or from taking more than is allowed, and not just from a server that is away.
    pub fn is_judgement(&self) -> bool {
        match self {
            Refusal::Unresolvable(_) | Refusal::Unreachable(_) => false,
            Refusal::Invalid
            | Refusal::Scheme
            | Refusal::Credentials
            | Refusal::Port(_)
            | Refusal::Blocked
            | Refusal::Denied
            | Refusal::Own
            | Refusal::Downgrade
            | Refusal::Redirects
            | Refusal::Bytes
            | Refusal::Connections
            | Refusal::Deadline => true,
        }
    }
}

/// A name as it is compared: lower case, without the root's dot. A second trailing dot stays, and is refused.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn is_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone)
        .is_some_and(|rest| rest.ends_with('.'))
}

fn public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => public_v4(ip),
        IpAddr::V6(ip) => public_v6(ip),
    }
}

/// The IPv4 address to which a public IPv6 address leads all the same: by NAT64 or ISATAP. Every other embedding is refused as it is.
fn within_v6(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    (within(ip, NAT64) || isatap(ip)).then(|| embedded(ip).into())
}

fn public_v4(ip: Ipv4Addr) -> bool {
    !RESERVED_V4
        .iter()
        .any(|&(base, bits)| Ipv4Net::new(base, bits).is_ok_and(|net| net.contains(&ip)))
}

fn public_v6(ip: Ipv6Addr) -> bool {
    if within(ip, NAT64) {
        return public_v4(embedded(ip));
    }
    if !within(ip, GLOBAL_V6) || RESERVED_V6.iter().any(|&block| within(ip, block)) {
        return false;
    }
    !isatap(ip) || public_v4(embedded(ip))
}

/// RFC 5214 section 6.1: the interface id 0000:5efe or 0200:5efe is followed by an IPv4 address, to which a machine with an ISATAP
/// interface tunnels. The bit for groups may be set as well.
fn isatap(ip: Ipv6Addr) -> bool {
    let [.., universal, marker, _, _] = ip.segments();
    matches!(universal & !0x0100, 0x0000 | 0x0200) && marker == 0x5efe
}

/// The IPv4 address in the last four bytes.
fn embedded(ip: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = ip.octets();
    Ipv4Addr::new(a, b, c, d)
}

fn within(ip: Ipv6Addr, (base, bits): (Ipv6Addr, u8)) -> bool {
    Ipv6Net::new(base, bits).is_ok_and(|net| net.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], ports: &[u16]) -> Policy {
        Policy::new(
            &allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ports,
        )
        .unwrap()
    }

    fn judge(policy: &Policy, url: &str) -> Result<(), Refusal> {
        policy.judge_url(
            &Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}")),
            &[],
        )
    }

    fn address(policy: &Policy, ip: &str) -> Result<(), Refusal> {
        policy.judge_address("host.example.com", 443, ip.parse().unwrap(), &[])
    }

    #[test]
    fn public_links_pass() {
        let policy = policy(&[], &[]);
        for url in [
            "http://example.com/a.mp4",
            "https://example.com./a.mp4",
            "https://EXAMPLE.com:443/a?b=c",
            "https://example.com:80/",
            "http://b\u{fc}cher.example/",
            "https://93.184.215.14/a",
            "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/a",
            "http://localhost.example.com/",
            "http://thelocal.se/",
        ] {
            assert_eq!(judge(&policy, url), Ok(()), "{url}");
        }
    }

    #[test]
    fn other_schemes_are_refused() {
        for url in [
            "ftp://example.com/a",
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_INFO",
            "ldap://127.0.0.1/",
            "javascript:alert(1)",
            "data:text/plain,a",
            "pipe:0",
            "async:file:/etc/passwd",
            "concat:http://a.example|http://b.example",
            "rtmp://example.com/live",
            "udp://127.0.0.1:9",
            "tcp://127.0.0.1:22",
            "smb://10.0.0.1/x",
            "lavfi:testsrc",
            "http+unix://%2Frun%2Fd.sock/x",
        ] {
            assert_eq!(
                judge(&policy(&["127.0.0.0/8"], &[]), url),
                Err(Refusal::Scheme),
                "{url}"
            );
        }
    }

    #[test]
    fn credentials_are_refused() {
        for url in [
            "http://example.com@127.0.0.1/a",
            "http://u:p@example.com/",
            "https://:p@example.com/",
        ] {
            assert_eq!(
                judge(&policy(&[], &[]), url),
                Err(Refusal::Credentials),
                "{url}"
            );
        }
    }

    #[test]
    fn ports_are_refused_unless_listed() {
        for port in [0, 22, 25, 6379, 8080] {
            let url = format!("http://example.com:{port}/a");
            assert_eq!(
                judge(&policy(&["127.0.0.0/8"], &[]), &url),
                Err(Refusal::Port(port))
            );
            assert_eq!(
                judge(&policy(&[], &[]), &format!("http://93.184.215.14:{port}/")),
                Err(Refusal::Port(port))
            );
        }
        assert_eq!(
            judge(&policy(&[], &[8080]), "http://example.com:8080/a"),
            Ok(())
        );
        assert_eq!(
            judge(&policy(&[], &[8080]), "http://10.0.0.1:8080/a"),
            Err(Refusal::Blocked)
        );
    }

    #[test]
    fn private_hosts_are_refused_in_every_spelling() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "printer.local",
            "metadata.google.internal",
            "metadata.goog",
            "metadata.azure.com",
            "instance-data.ec2.internal",
            "host.docker.internal",
            "kubernetes.default.svc.cluster.local",
            "metadata",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "redis",
            "nas.home.arpa",
            "127.1",
            "127.0.1",
            "127.127.127.127",
            "127.255.255.254",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "00000177.0.0.1",
            "127.0.0.1.",
            "0.0.0.0",
            "0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[0000::1]",
            "[::10.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:10.0.0.1]",
            "[::ffff:169.254.169.254]",
            "[::ffff:0:127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1:a00:0:1::]",
            "[2002:7f00:1::]",
            "[2002:a00:1::1]",
            "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
            "[2001:db8::1]",
            "[2001:20::1]",
            "[3fff::1]",
            "[100::1]",
            "[5f00::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[2606:4700::5efe:10.0.0.1]",
            "[2606:4700::200:5efe:127.0.0.1]",
            "127\u{3002}0\u{3002}0\u{3002}1",
            "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
            "\u{24db}ocalhost",
        ] {
            let url = format!("http://{host}/a.mp4");
            assert_eq!(
                judge(&policy(&[], &[]), &url),
                Err(Refusal::Blocked),
                "{url}"
            );
        }
        for url in ["http://localhost../", "http://a..example.com../"] {
            let judged = Url::parse(url).map(|url| policy(&[], &[]).judge_url(&url, &[]));
            assert!(!matches!(judged, Ok(Ok(()))), "{url}");
        }
    }

    #[test]
    fn edges_of_the_reserved_blocks_are_exact() {
        let policy = policy(&[], &[]);
        for ip in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2000::1",
            "2001:200::1",
            "2001:db7:ffff::1",
            "2001:db9::1",
            "2003::1",
            "2606:4700::5efe:8.8.8.8",
            "3ffe:ffff::1",
            "3fff:1000::1",
        ] {
            assert_eq!(address(&policy, ip), Ok(()), "{ip}");
        }
        for ip in [
            "1fff:ffff::1",
            "4000::1",
            "2001:1ff:ffff::1",
            "::8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b::1:8.8.8.8",
        ] {
            assert_eq!(address(&policy, ip), Err(Refusal::Blocked), "{ip}");
        }
    }

    #[test]
    fn a_listed_target_may_be_private_and_on_any_port() {
        let policy = policy(
            &[
                "10.1.0.0/16",
                "127.0.0.1",
                "fd00::/8",
                "Minio.",
                "*.b\u{fc}cher.example",
            ],
            &[],
        );
        for url in [
            "http://10.1.2.3:9000/",
            "http://127.0.0.1:8080/",
            "http://127.1:8080/",
            "http://[::ffff:127.0.0.1]:8080/",
            "http://[fd00::1]:1/",
            "http://minio:9000/a",
            "http://MINIO./a",
            "http://a.b.xn--bcher-kva.example:1/",
        ] {
            assert_eq!(judge(&policy, url), Ok(()), "{url}");
        }
        for url in [
            "http://10.2.0.1/",
            "http://127.0.0.2/",
            "http://[64:ff9b::127.0.0.1]/",
            "http://[::127.0.0.1]/",
        ] {
            assert_eq!(judge(&policy, url), Err(Refusal::Blocked), "{url}");
        }
        assert_eq!(
            judge(&policy, "http://b\u{fc}cher.example:1/"),
            Err(Refusal::Port(1))
        );
        let loopback = IpAddr::from([127, 0, 0, 9]);
        assert_eq!(policy.judge_address("minio.", 9000, loopback, &[]), Ok(()));
        assert_eq!(
            policy.judge_address("mini", 9000, loopback, &[]),
            Err(Refusal::Blocked)
        );
        assert_eq!(
            policy.judge_address("xminio", 9000, [8, 8, 8, 8].into(), &[]),
            Err(Refusal::Port(9000))
        );
    }

    #[test]
    fn what_is_denied_wins_over_what_is_allowed() {
        let denying = |allow: &[&str], deny: &[&str]| {
            let deny: Vec<String> = deny.iter().map(ToString::to_string).collect();
            policy(allow, &[]).denying(&deny).unwrap()
        };
        let policy = denying(
            &["10.0.0.0/8", "*.lan", "nas.example"],
            &[
                "10.9.0.0/16",
                "secret.lan",
                "*.evil.example",
                "1.1.1.1",
                "2606:4700::/32",
            ],
        );
        for url in [
            "http://10.1.0.1/",
            "http://films.lan/",
            "http://nas.example:9000/",
            "http://evil.example/",
            "http://1.1.1.2/",
        ] {
            assert_eq!(judge(&policy, url), Ok(()), "{url}");
        }
        for url in [
            "http://10.9.0.1/",
            "http://[::ffff:10.9.0.1]/",
            "http://SECRET.lan./",
            "https://a.b.evil.example/",
            "http://1.1.1.1/",
            "http://16843009/",
            "http://[::ffff:1.1.1.1]/",
            "http://[64:ff9b::1.1.1.1]/",
            "http://[2606:4701::5efe:1.1.1.1]/",
            "http://[2606:4700::1]/",
        ] {
            assert_eq!(judge(&policy, url), Err(Refusal::Denied), "{url}");
        }
        // By name or by where the name leads.
        for (host, ip) in [
            ("nas.example", [10, 9, 0, 1]),
            ("x.evil.example", [8, 8, 8, 8]),
        ] {
            assert_eq!(
                policy.judge_address(host, 443, ip.into(), &[]),
                Err(Refusal::Denied)
            );
        }
    }

    #[test]
    fn the_service_does_not_fetch_from_itself_unless_allowed() {
        let here: Vec<IpAddr> = ["93.184.215.14", "2606:2800::1", "10.0.0.5", "127.0.0.1"]
            .map(|ip| ip.parse().unwrap())
            .to_vec();
        let base = Url::parse("https://Clips.Example.org:8443/").unwrap();
        let at_home = policy(&[], &[]).found_at(&base);
        let judge = |policy: &Policy, url: &str| policy.judge_url(&Url::parse(url).unwrap(), &here);
        for (url, judged) in [
            ("http://93.184.215.14/", Err(Refusal::Own)),
            ("http://[::ffff:93.184.215.14]/", Err(Refusal::Own)),
            ("http://[64:ff9b::93.184.215.14]/", Err(Refusal::Own)),
            ("http://[2606:2800::1]/", Err(Refusal::Own)),
            ("https://clips.example.org/", Err(Refusal::Own)),
            ("https://CLIPS.example.org./x", Err(Refusal::Own)),
            ("http://10.0.0.5/", Err(Refusal::Blocked)),
            ("http://127.0.0.1/", Err(Refusal::Blocked)),
            ("http://93.184.215.15/", Ok(())),
            ("https://www.clips.example.org/", Ok(())),
        ] {
            assert_eq!(judge(&at_home, url), judged, "{url}");
        }
        let address = Url::parse("http://93.184.215.99:8000").unwrap();
        let by_address = policy(&[], &[8000]).found_at(&address);
        assert_eq!(
            judge(&by_address, "http://93.184.215.99/"),
            Err(Refusal::Own)
        );
        let allowed = policy(&["93.184.215.14", "clips.example.org"], &[]).found_at(&base);
        for url in ["http://93.184.215.14:9/", "https://clips.example.org:9/"] {
            assert_eq!(judge(&allowed, url), Ok(()), "{url}");
        }
    }

    /// Chosen and judged by another implementation of the same registries: neighbours of every reserved block, and addresses from
    /// all over the rest.
    #[test]
    fn public_addresses_are_judged_right() {
        let listed = include_str!("../../../tests/data/public-addresses.txt");
        let policy = policy(&[], &[]);
        let mut count = 0;
        for ip in listed.lines().filter(|line| !line.starts_with('#')) {
            assert_eq!(address(&policy, ip), Ok(()), "{ip}");
            let literal = match ip.parse::<IpAddr>().unwrap() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            let url = format!("https://{literal}/a.mp4");
            assert_eq!(judge(&policy, &url), Ok(()), "{url}");
            count += 1;
        }
        assert!(count >= 200, "only {count}");
    }

    #[test]
    fn nonsense_in_the_deny_list_is_named() {
        let error = policy(&[], &[]).denying(&["a b".to_owned()]).unwrap_err();
        assert_eq!(error, PolicyError::Deny("a b".to_owned()));
    }

    #[test]
    fn nonsense_in_the_allow_list_is_named() {
        for entry in [
            "",
            "*",
            "*.",
            "*.*.com",
            "10.0.0.0/33",
            "example.com:80",
            "http://example.com",
            "a b",
            "a..b",
        ] {
            let error = Policy::new(&[entry.to_string()], &[]).unwrap_err();
            assert_eq!(error, PolicyError::Allow(entry.to_string()));
        }
        assert_eq!(Policy::new(&[], &[0]).unwrap_err(), PolicyError::Port);
    }
}
