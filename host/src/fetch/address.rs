//! Which addresses a build may connect to.
//!
//! A name is resolved once, its addresses are looked at, and the connection goes to exactly these: a name that changes between check and
//! use gets nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;

use super::FetchError;

/// How much of the address space a source opens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Reach {
    /// A redirect: whoever answers must not lead into the network of the build.
    Public,
    /// A name that the Dockerfile gives: private networks as well, but not this machine, its link and the cloud's metadata service.
    Network,
    /// What the operator named.
    Anywhere,
}

/// What kind of address this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Public,
    Private,
    Own,
}

impl Reach {
    fn covers(self, address: IpAddr) -> bool {
        match place(address) {
            Place::Public => true,
            Place::Private => self >= Self::Network,
            Place::Own => self == Self::Anywhere,
        }
    }
}

/// Whether the operator has named a host, with or without its port.
pub(super) fn is_listed(list: &[String], host: &str, port: u16) -> bool {
    let bare = bare(host);
    list.iter().any(|listed| {
        let listed = listed.trim_end_matches('.');
        let with_port = format!("{host}:{port}");
        listed.eq_ignore_ascii_case(host) || listed.eq_ignore_ascii_case(bare) || listed.eq_ignore_ascii_case(&with_port)
    })
}

/// The addresses of a host, all of which may be reached.
///
/// # Errors
/// The name is not known, or one of its addresses is out of reach.
pub(super) async fn addresses(host: &str, port: u16, reach: Reach) -> Result<Vec<SocketAddr>, FetchError> {
    let found: Vec<SocketAddr> = match literal(host) {
        // An address that a Dockerfile spells out is a guess at somebody's network.
        Some(address) if reach != Reach::Anywhere && place(address) != Place::Public => {
            return Err(FetchError::Private { host: host.to_owned(), address });
        }
        Some(address) => vec![SocketAddr::new(address, port)],
        None => match tokio::net::lookup_host((host, port)).await {
            Ok(found) => found.collect(),
            Err(error) => return Err(FetchError::Unknown { host: host.to_owned(), why: error.to_string() }),
        },
    };
    match found.iter().find(|address| !reach.covers(address.ip())) {
        None => Ok(found),
        Some(address) => Err(FetchError::Private { host: host.to_owned(), address: address.ip() }),
    }
}

/// As [`addresses`], where a proxy will look the name up: only what is plain to see is checked.
pub(super) fn check_spelling(host: &str, reach: Reach) -> Result<(), FetchError> {
    let out_of_reach = literal(host).filter(|address| reach != Reach::Anywhere && place(*address) != Place::Public);
    let local = is_local_name(host) && reach != Reach::Anywhere;
    match out_of_reach.or(local.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))) {
        Some(address) => Err(FetchError::Private { host: host.to_owned(), address }),
        None => Ok(()),
    }
}

/// Whether a host is this machine by its spelling, so that no proxy can mean the same.
pub(super) fn is_this_machine(host: &str) -> bool {
    literal(host).is_some_and(|address| folded(address).is_loopback()) || is_local_name(host)
}

/// Whether AWS has services for its machines there in IPv6: `::254` tells who a machine is, `::23` who a pod is.
fn is_aws_service(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0xfd00, 0xec2, ..])
}

/// Whether this is where a cloud tells its machines who they are, which no proxy can.
pub(super) fn is_metadata_service(host: &str) -> bool {
    let link_local = |address: IpAddr| matches!(address, IpAddr::V4(v4) if v4.is_link_local());
    let aws = |address: IpAddr| matches!(address, IpAddr::V6(v6) if is_aws_service(v6));
    literal(host).is_some_and(|address| link_local(folded(address)) || aws(address))
        || host.trim_end_matches('.').eq_ignore_ascii_case("metadata.google.internal")
}

/// Whether plain HTTP to this URL stays on this machine.
pub(super) fn stays_here(url: &Url) -> bool {
    url.host_str().is_some_and(is_this_machine)
}

fn is_local_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn literal(host: &str) -> Option<IpAddr> {
    bare(host).parse().ok()
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// The IPv4 address that an IPv6 address stands for: mapped and compatible (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn folded(address: IpAddr) -> IpAddr {
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => v4(a, b),
            [0, 0, 0, 0, 0, 0, a, b] if a != 0 => v4(a, b),
            _ => address,
        },
        IpAddr::V4(_) => address,
    }
}

fn place(address: IpAddr) -> Place {
    let own = match folded(address) {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.octets()[0] == 0
                // A metadata service that lies among the addresses of carriers.
                || v4 == Ipv4Addr::new(100, 100, 100, 200)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local() || is_aws_service(v6),
    };
    let private = match folded(address) {
        IpAddr::V4(v4) => {
            v4.is_private() || matches!(v4.octets(), [100, 64..=127, ..] | [198, 18..=19, ..] | [192, 0, 0, _] | [240..=255, ..])
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    match (own, private) {
        (true, _) => Place::Own,
        (false, true) => Place::Private,
        (false, false) => Place::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_seen_through() {
        for (address, expected) in [
            ("1.1.1.1", Place::Public),
            ("2606:4700::1", Place::Public),
            ("10.0.0.1", Place::Private),
            ("192.168.1.1", Place::Private),
            ("172.16.0.1", Place::Private),
            ("100.64.0.1", Place::Private),
            ("fd12::1", Place::Private),
            ("::ffff:10.0.0.1", Place::Private),
            ("127.0.0.1", Place::Own),
            ("0.0.0.0", Place::Own),
            ("169.254.169.254", Place::Own),
            ("100.100.100.200", Place::Own),
            ("::1", Place::Own),
            ("::", Place::Own),
            ("::ffff:127.0.0.1", Place::Own),
            ("64:ff9b::a9fe:a9fe", Place::Own),
            ("2002:a9fe:a9fe::1", Place::Own),
            ("::7f00:1", Place::Own),
            ("fe80::1", Place::Own),
            ("fd00:ec2::254", Place::Own),
            ("fd00:ec2::23", Place::Own),
            ("224.0.0.1", Place::Own),
        ] {
            assert_eq!(place(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_literal_private_address_and_a_name_of_this_machine_need_leave() {
        for (host, reach) in [
            ("127.0.0.1", Reach::Network),
            ("10.0.0.1", Reach::Network),
            ("[::1]", Reach::Network),
            ("169.254.169.254", Reach::Network),
            // A name that resolves to this machine is what rebinding comes down to.
            ("localhost", Reach::Network),
            ("localhost", Reach::Public),
        ] {
            assert!(matches!(addresses(host, 80, reach).await, Err(FetchError::Private { .. })), "{host}");
            assert!(check_spelling(host, reach).is_err(), "{host}");
        }
        assert_eq!(addresses("[::1]", 80, Reach::Anywhere).await.unwrap(), ["[::1]:80".parse().unwrap()]);
        assert!(addresses("localhost", 80, Reach::Anywhere).await.is_ok());
        assert!(addresses("1.1.1.1", 80, Reach::Public).await.is_ok());
    }

    #[test]
    fn listed_hosts() {
        let list = ["127.0.0.1".to_owned(), "a.corp:8080".to_owned(), "::1".to_owned()];
        assert!(is_listed(&list, "127.0.0.1", 5));
        assert!(is_listed(&list, "A.corp", 8080));
        assert!(is_listed(&list, "[::1]", 1));
        assert!(!is_listed(&list, "a.corp", 80));
        assert!(!is_listed(&list, "b.a.corp", 8080));
    }
}
