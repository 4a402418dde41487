//! Sends HTTP requests to granted hosts.
//!
//! The name is compared with the grants, then resolved once, the addresses are looked at, and the connection goes to exactly these. So neither
//! a name that resolves to the cloud's metadata service nor one that changes between check and use gets anywhere. Where a proxy of the environment
//! stands between, the name is what is compared, and TLS proves who answers to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, Url, redirect};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

use crate::plugin::grant::{Ask, Grant};
use crate::plugin::state::{State, error};
use crate::plugin::v0_1::wit::http::{Host, Request, Response};
use crate::plugin::v0_1::wit::types::{Error, ErrorCode, Property};
use crate::progress::reasons;
use crate::trust;

/// Of an answer's body, in bytes.
const LARGEST: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
const METHODS: &[Method] = &[Method::GET, Method::HEAD, Method::POST, Method::PUT];
/// Headers that say how the request travels: the host's own business.
const RESERVED: &[&str] =
    &["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect", "keep-alive"];

/// How much of the address space a grant opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    /// A pattern: whoever controls a name below it must not reach into the network of the build.
    Public,
    /// One host by name: private networks as well, but not this machine and the cloud's metadata service.
    Network,
    /// One host without TLS, or by address: what the operator wrote is what was meant.
    Anywhere,
}

impl Host for State {
    fn send(&mut self, request: Request) -> Result<Response, Error> {
        let invalid = |message: &str| error(ErrorCode::Invalid, message);
        let url = Url::parse(&request.url).map_err(|_| invalid("that is no URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("a URL carries no credentials"));
        }
        let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
        let port = url.port_or_known_default().unwrap_or(0);
        let origin = url.origin().ascii_serialization();
        let grant = self.granted(Ask::Host { scheme, host, port }, &format!("send requests to {origin}"), || format!("host={origin}"))?;
        let reach = reach(&grant, &url);

        let method = METHODS
            .iter()
            .find(|method| method.as_str() == request.method)
            .ok_or_else(|| invalid("the method is GET, HEAD, POST or PUT"))?;
        if request.body.len() > LARGEST {
            return Err(error(ErrorCode::TooLarge, "a body is at most 1 MiB"));
        }
        let mut headers = reqwest::header::HeaderMap::new();
        for Property { name, value } in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a header has no such name"))?;
            let value = HeaderValue::from_str(value).map_err(|_| invalid("a header has no such value"))?;
            if RESERVED.contains(&name.as_str()) {
                return Err(invalid(&format!("the header {name} is the host's own")));
            }
            headers.append(name, value);
        }
        let patience = PATIENCE.min(Duration::from_millis(request.timeout_ms.into()));
        let runtime = Handle::try_current().map_err(|_| error(ErrorCode::Failed, "no requests can be sent here"))?;
        let exchange = Exchange { method: method.clone(), url, headers, body: request.body, reach };
        self.waiting(patience, |_, patience| {
            runtime.block_on(async {
                match tokio::time::timeout(patience, exchange.run()).await {
                    Ok(answer) => answer,
                    Err(_) => Err(error(ErrorCode::Unavailable, format!("{origin}: no answer within {} ms", patience.as_millis()))),
                }
            })
        })?
    }
}

struct Exchange {
    method: Method,
    url: Url,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
    reach: Reach,
}

impl Exchange {
    async fn run(self) -> Result<Response, Error> {
        let origin = self.url.origin().ascii_serialization();
        let unavailable = |why: &dyn std::fmt::Display| error(ErrorCode::Unavailable, format!("{origin}: {why}"));
        let tls = tls(self.url.scheme() == "https").map_err(|why| error(ErrorCode::Failed, why.to_string()))?;
        let mut client = Client::builder().redirect(redirect::Policy::none()).referer(false).tls_backend_preconfigured(tls);
        if !self.by_proxy() {
            let addresses = self.addresses().await?;
            client = client.no_proxy();
            if let Some(name) = self.url.domain() {
                client = client.resolve_to_addrs(name, &addresses);
            }
        }
        let client = client.build().map_err(|why| error(ErrorCode::Failed, reasons(&why)))?;
        let request = client.request(self.method, self.url).headers(self.headers).body(self.body);
        let mut answer = request.send().await.map_err(|why| unavailable(&reasons(&why.without_url())))?;

        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| Property { name: name.as_str().to_owned(), value: String::from_utf8_lossy(value.as_bytes()).into_owned() })
            .collect();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|why| unavailable(&reasons(&why.without_url())))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(error(ErrorCode::TooLarge, format!("{origin}: the answer is larger than 1 MiB")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    }

    /// Whether a proxy of the environment looks the name up and carries the bytes, which TLS keeps from it. Addresses, this machine and
    /// whatever goes without TLS, such as metadata services, are no proxy's business.
    fn by_proxy(&self) -> bool {
        let here = |name: &str| name == "localhost" || name.ends_with(".localhost");
        let proxied = || self.url.as_str().parse::<http::Uri>().is_ok_and(|uri| Matcher::from_env().intercept(&uri).is_some());
        self.url.scheme() == "https" && self.url.domain().is_some_and(|name| !here(name)) && proxied()
    }

    /// The addresses of the host, if all of them may be reached.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let port = self.url.port_or_known_default().unwrap_or(0);
        let host = self.url.host_str().unwrap_or_default();
        let addresses: Vec<SocketAddr> = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => match tokio::net::lookup_host((host, port)).await {
                Ok(found) => found.collect(),
                Err(why) => return Err(error(ErrorCode::Unavailable, format!("{host}: {why}"))),
            },
        };
        match addresses.iter().find(|address| !self.reach.covers(address.ip())) {
            None => Ok(addresses),
            Some(address) => Err(Error {
                code: ErrorCode::Denied,
                message: format!("{host} has the address {}, which its grant does not open", address.ip()),
                hint: Some(
                    "grant the host by its exact name; this machine and link-local services are open to an http:// grant alone".to_owned(),
                ),
            }),
        }
    }
}

/// TLS towards whoever the system's roots vouch for. They are not read where it is not `spoken`.
fn tls(spoken: bool) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    if spoken {
        roots.add_parsable_certificates(trust::authorities().iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn reach(grant: &Grant, url: &Url) -> Reach {
    match grant {
        Grant::Host(host) if !host.is_exact() => Reach::Public,
        Grant::Host(_) if url.scheme() == "http" || url.domain().is_none() => Reach::Anywhere,
        _ => Reach::Network,
    }
}

impl Reach {
    fn covers(self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        match self {
            Self::Anywhere => true,
            Self::Network => !own(address),
            Self::Public => !own(address) && !private(address),
        }
    }
}

/// The IPv4 address that an IPv6 address stands for (RFC 4291, 2.5.5; RFC 6052; RFC 3056; RFC 8215).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let low = || {
        let [[g1, g2], [h1, h2]] = [g.to_be_bytes(), h.to_be_bytes()];
        Ipv4Addr::new(g1, g2, h1, h2)
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(low()),
        (0, 0, 0, 0, 0, 0) if g != 0 => Some(low()),
        // 6to4 (RFC 3056) and the local prefix of NAT64 (RFC 8215).
        (0x2002, high, low, ..) => {
            let [[b1, b2], [c1, c2]] = [high.to_be_bytes(), low.to_be_bytes()];
            Some(Ipv4Addr::new(b1, b2, c1, c2))
        }
        (0x64, 0xff9b, 1, ..) => Some(low()),
        _ => None,
    }
}

/// Metadata services outside of the link-local range: Alibaba's, Oracle's, and the one that Azure's machines are run by.
const METADATA: [Ipv4Addr; 3] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];

/// This machine, its link, and where clouds keep their metadata services.
fn own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.octets()[0] == 0
                || METADATA.contains(&v4)
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                // AWS's services for its machines and pods.
                || matches!(v6.segments(), [0xfd00, 0xec2, ..])
        }
    }
}

/// Networks of someone's own (RFC 1918, RFC 6598, RFC 4193).
fn private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || matches!(v4.octets(), [100, 64..=127, ..]),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 67 of the adversarial list.
    #[test]
    fn grants_open_no_more_of_the_network_than_they_name() {
        for (address, public, network) in [
            ("1.1.1.1", true, true),
            ("2606:4700::1", true, true),
            ("10.0.0.1", false, true),
            ("192.168.1.1", false, true),
            ("100.64.0.1", false, true),
            ("fd12::1", false, true),
            ("127.0.0.1", false, false),
            ("0.0.0.0", false, false),
            ("169.254.169.254", false, false),
            ("100.100.100.200", false, false),
            ("::1", false, false),
            ("::", false, false),
            ("::ffff:127.0.0.1", false, false),
            ("::ffff:10.0.0.1", false, true),
            ("64:ff9b::a9fe:a9fe", false, false),
            ("::7f00:1", false, false),
            ("fe80::1", false, false),
            ("fd00:ec2::254", false, false),
            ("fd00:ec2::23", false, false),
            ("192.0.0.192", false, false),
            ("168.63.129.16", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("2002:7f00:1::", false, false),
            ("2002:a9fe:a9fe::1", false, false),
            ("64:ff9b:1::a9fe:a9fe", false, false),
            ("2002:101:101::", true, true),
        ] {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(Reach::Public.covers(ip), public, "{address}");
            assert_eq!(Reach::Network.covers(ip), network, "{address}");
            assert!(Reach::Anywhere.covers(ip));
        }
    }

    #[test]
    fn what_a_grant_opens_depends_on_how_it_is_written() {
        for (grant, url, wanted) in [
            ("host=https://*.azurecr.io", "https://x.azurecr.io", Reach::Public),
            ("host=https://git.corp.example", "https://git.corp.example", Reach::Network),
            ("host=https://10.0.0.1", "https://10.0.0.1", Reach::Anywhere),
            ("host=http://metadata.google.internal", "http://metadata.google.internal", Reach::Anywhere),
        ] {
            assert_eq!(reach(&grant.parse().unwrap(), &Url::parse(url).unwrap()), wanted, "{grant}");
        }
    }

    /// Row 67 of the adversarial list.
    #[test]
    fn hosts_in_disguise_are_seen_through_or_denied() {
        let grant: Grant = "host=https://ghcr.io".parse().unwrap();
        let asks = |url: &str| {
            let url = Url::parse(url).unwrap();
            let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0));
            grant.allows(Ask::Host { scheme: url.scheme(), host, port })
        };
        assert!(asks("https://ghcr.io/token"));
        assert!(asks("https://GHCR.IO:443/token"));
        for url in [
            "https://ghcr.io./",
            "https://ghcr.io:8443/",
            "http://ghcr.io/",
            "https://ghcr.io.evil.org/",
            "https://ɢhcr.io/",
            "https://evil.org/ghcr.io",
        ] {
            assert!(!asks(url), "{url}");
        }
        let loopback: Grant = "host=https://127.0.0.1".parse().unwrap();
        // Other spellings of an address are the address.
        let url = Url::parse("https://0x7f.1/").unwrap();
        assert!(loopback.allows(Ask::Host { scheme: "https", host: url.host_str().unwrap(), port: 443 }));
    }
}
