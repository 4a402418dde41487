//! Where a request goes, and the rules on where a credential may go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// Scheme, host and port (RFC 6454): what a credential is bound to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of a URL; none where it is not one of HTTP.
    pub(super) fn of(url: &Url) -> Option<Self> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
        Some(Self { scheme: url.scheme().to_owned(), host, port: url.port_or_known_default()? })
    }

    /// Whether requests go without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.scheme == "http"
    }

    /// Whether host and port are the same.
    pub(super) fn same_place(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }

    /// As in an image reference: the port is left out where it is the scheme's own.
    pub(super) fn authority(&self) -> String {
        match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// The host without the port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Whether the host is written as an address that only this machine or its network knows.
    fn is_private_address(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) => is_private(address),
            Err(_) => is_loopback_host(bare),
        }
    }
}

/// Why a URL that a registry named is not followed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not a URL.
    #[error("it is not a valid URL")]
    NotAUrl,
    /// Something else than HTTP.
    #[error("its scheme is neither https nor http")]
    Scheme,
    /// A name or password within.
    #[error("it holds user information")]
    UserInfo,
    /// From TLS to none.
    #[error("it would go on without TLS")]
    Downgrade,
    /// An address that a public registry has no reason to name.
    #[error("it names the private address {0}; if that is meant, name it with --trusted-host")]
    PrivateAddress(String),
    /// Not on the operator's list.
    #[error("{0} is not among those of --trusted-realm")]
    NotTrusted(String),
}

/// Checks a URL that a server at `from` named: a token realm, a redirect's target or an upload's location.
///
/// # Errors
/// It is no URL of HTTP, holds user information, gives up TLS, or names a private address that is neither the server's
/// own nor in `trusted`.
pub(super) fn check_named<'a>(url: &Url, from: &Origin, mut trusted: impl Iterator<Item = &'a String>) -> Result<Origin, Refusal> {
    let to = Origin::of(url).ok_or(Refusal::Scheme)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::UserInfo);
    }
    if to.is_plain() && !from.is_plain() {
        return Err(Refusal::Downgrade);
    }
    let listed = |name: &String| *name == to.host || *name == to.authority() || *name == format!("{}:{}", to.host, to.port);
    if to.is_private_address() && !to.same_place(from) && !trusted.any(listed) {
        return Err(Refusal::PrivateAddress(to.authority()));
    }
    Ok(to)
}

/// Whether a registry's name means this machine.
pub(super) fn is_loopback_name(registry: &str) -> bool {
    let host = bare_host(registry);
    match host.parse::<IpAddr>() {
        Ok(address) => folded(address).is_loopback(),
        Err(_) => is_loopback_host(host),
    }
}

/// Whether a registry's name means this machine, is an address of a private network (RFC 1918) or a name of the local link
/// (RFC 6762): those that kaniko speaks to without TLS where none is offered.
pub(super) fn is_local_name(registry: &str) -> bool {
    let host = bare_host(registry);
    is_loopback_name(registry)
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_private())
        || host.to_ascii_lowercase().ends_with(".local")
}

fn bare_host(registry: &str) -> &str {
    match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if registry.matches(':').count() > 1 => registry,
        None => registry.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback_host(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// IPv4 addresses in IPv6 clothes are what they stand for.
fn folded(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            // Mapped (RFC 4291), the well-known NAT64 prefix (RFC 6052) and 6to4 (RFC 3056).
            [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => IpAddr::V4(v4(a, b)),
            [0, 0, 0, 0, 0, 0, a, b] if a != 0 => IpAddr::V4(v4(a, b)),
            _ => address,
        },
        IpAddr::V4(_) => address,
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

fn is_private(address: IpAddr) -> bool {
    match folded(address) {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || a == 0
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    let first = v6.segments().first().copied().unwrap_or_default();
    v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, from: &str) -> Result<String, Refusal> {
        let from = Origin::of(&from.parse().unwrap()).unwrap();
        check_named(&url.parse().map_err(|_| Refusal::NotAUrl)?, &from, [].iter()).map(|origin| origin.authority())
    }

    /// Row 31 of the adversarial list.
    #[test]
    fn private_addresses_are_refused_in_every_spelling() {
        for bad in [
            "https://127.0.0.1/x",
            "https://2130706433/x",
            "https://0x7f.1/x",
            "https://10.1.2.3/x",
            "https://192.168.0.1:5000/x",
            "https://169.254.169.254/latest",
            "https://[::ffff:169.254.169.254]/x",
            "https://[::1]/x",
            "https://[fd00::1]/x",
            "https://[fe80::1]/x",
            "https://[64:ff9b::a9fe:a9fe]/x",
            "https://0.0.0.0/x",
            "https://100.100.100.200/x",
            "https://localhost/x",
            "https://a.localhost./x",
        ] {
            assert!(matches!(check(bad, "https://r.io"), Err(Refusal::PrivateAddress(_))), "{bad}");
        }
        assert_eq!(check("https://127.0.0.1:5000/x", "https://127.0.0.1:5000"), Ok("127.0.0.1:5000".to_owned()));
        assert!(check("https://127.0.0.1:5001/x", "https://127.0.0.1:5000").is_err());
        assert_eq!(check("https://auth.docker.io/token", "https://registry-1.docker.io"), Ok("auth.docker.io".to_owned()));
    }

    /// Rows 31 and 33 of the adversarial list.
    #[test]
    fn tls_is_not_given_up_and_user_information_is_refused() {
        assert_eq!(check("http://auth.io/x", "https://r.io"), Err(Refusal::Downgrade));
        assert!(check("http://auth.io/x", "http://r.io").is_ok());
        assert_eq!(check("https://a:b@auth.io/x", "https://r.io"), Err(Refusal::UserInfo));
        assert_eq!(check("ftp://auth.io/x", "https://r.io"), Err(Refusal::Scheme));
    }

    #[test]
    fn loopback_names() {
        for good in ["localhost", "localhost:5000", "127.0.0.1:5", "127.9.9.9", "[::1]:5000", "a.localhost"] {
            assert!(is_loopback_name(good), "{good}");
        }
        for bad in ["localhost.io", "r.io", "10.0.0.1:5000", "docker.io"] {
            assert!(!is_loopback_name(bad), "{bad}");
        }
        for good in ["localhost:5000", "10.0.0.1:5000", "172.16.0.1", "192.168.1.1:80", "[::1]", "r.local", "a.b.Local:5000"] {
            assert!(is_local_name(good), "{good}");
        }
        for bad in ["8.8.8.8", "172.32.0.1", "169.254.169.254", "10.0.0.1.io", "[fd00::1]:5000", "r.io", "local", "r.local.io", "rlocal"] {
            assert!(!is_local_name(bad), "{bad}");
        }
    }
}
