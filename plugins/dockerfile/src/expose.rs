//! `EXPOSE`: ports that a container listens on.

use std::net::IpAddr;

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword, Lowered};
use layerwright_plugin::operation::{ConfigChange, Operation};

pub(crate) fn keyword() -> Keyword {
    Keyword::new("EXPOSE", ArgumentForm::Words).expanded()
}

/// A variable may hold several ports.
pub(crate) fn lower(instruction: &Instruction) -> Result<Lowered, Error> {
    let words = instruction.words();
    if words.is_empty() {
        return Err(crate::at_least_one(instruction));
    }
    let mut lowered = Lowered::new(Vec::new());
    for specification in words.iter().flat_map(|word| word.split_whitespace()) {
        let ports = parse(specification)?;
        lowered.operations.extend(ports.map(|port| Operation::from(ConfigChange::ExposedPort(port))));
        let (address, protocol) = specification.split_once('/').unwrap_or((specification, ""));
        if protocol.contains(|c: char| c.is_ascii_uppercase()) {
            lowered = lowered.warn(crate::rules::expose_proto_casing(specification));
        }
        // `::80` has colons, and nothing between them.
        let (host, _) = address.rsplit_once(':').unwrap_or_default();
        if host.contains(|c| c != ':') {
            lowered = lowered.warn(crate::rules::expose_invalid_format(specification));
        }
    }
    Ok(lowered)
}

/// The ports of `[[ip:]host:]container[/protocol]`. Only the container's side says something about an image.
fn parse(specification: &str) -> Result<impl Iterator<Item = String>, Error> {
    let (address, protocol) = specification.split_once('/').unwrap_or((specification, ""));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_ascii_lowercase() };
    let mut parts = address.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or_default();
    let ip = parts.next().unwrap_or_default();
    if container.is_empty() {
        return Err(Error::invalid(format!("invalid port: {specification:?}: no port specified")));
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::invalid(format!("invalid proto: {protocol}")));
    }
    let bare_ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !ip.is_empty() && bare_ip.parse::<IpAddr>().is_err() {
        return Err(Error::invalid(format!("invalid IP address: {ip}")));
    }
    let (first, last) = range(container).ok_or_else(|| Error::invalid(format!("invalid containerPort: {container}")))?;
    if !host.is_empty() {
        let (host_first, host_last) = range(host).ok_or_else(|| Error::invalid(format!("invalid hostPort: {host}")))?;
        // A single container port may be published on any of a range.
        if first != last && last - first != host_last - host_first {
            return Err(Error::invalid(format!("invalid ranges specified for container and host Ports: {container} and {host}")));
        }
    }
    Ok((first..=last).map(move |port| format!("{port}/{protocol}")))
}

/// `n` or `n-m`, both from 0 to 65535 and in order.
fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{message, words};

    fn ports(list: &[&str]) -> Vec<String> {
        let port = |operation| match operation {
            Operation::Configure(ConfigChange::ExposedPort(port)) => port,
            other => panic!("{other:?}"),
        };
        crate::testing::lower(&words("EXPOSE", list)).unwrap().into_iter().map(port).collect()
    }

    #[test]
    fn specifications() {
        for (list, expected) in [
            (&["80", "443/TCP", "53/udp"][..], &["80/tcp", "443/tcp", "53/udp"][..]),
            (&["9000-9002/sctp"], &["9000/sctp", "9001/sctp", "9002/sctp"]),
            (&["8080:80"], &["80/tcp"]),
            (&["127.0.0.1:8080:80"], &["80/tcp"]),
            (&["127.0.0.1::80"], &["80/tcp"]),
            (&["[2001:4860:0:2001::68]::333"], &["333/tcp"]),
            (&["::1:80:80"], &["80/tcp"]),
            (&["::::80"], &["80/tcp"]),
            (&["8000-8010:80"], &["80/tcp"]),
            (&["0", "65535/"], &["0/tcp", "65535/tcp"]),
            (&["80 81\t82/udp"], &["80/tcp", "81/tcp", "82/udp"]),
            (&[""], &[]),
        ] {
            assert_eq!(ports(list), expected, "{list:?}");
        }
    }

    #[test]
    fn what_the_host_decides_is_warned_of() {
        let warned = |port: &str| {
            let lowered = crate::lower(&words("EXPOSE", &[port]), &crate::testing::stage()).unwrap();
            lowered.warnings.into_iter().map(|warning| warning.rule).collect::<Vec<_>>()
        };
        assert_eq!(warned("80/TCP"), ["ExposeProtoCasing"]);
        assert_eq!(warned("8080:80"), ["ExposeInvalidFormat"]);
        assert_eq!(warned("127.0.0.1::80/Udp"), ["ExposeProtoCasing", "ExposeInvalidFormat"]);
        assert!(warned("80-90/udp").is_empty() && warned(":80").is_empty());
    }

    #[test]
    fn errors() {
        for (list, expected) in [
            (&[][..], "EXPOSE requires at least one argument"),
            (&["90-80"], "invalid containerPort: 90-80"),
            (&["70000"], "invalid containerPort: 70000"),
            (&["+80"], "invalid containerPort: +80"),
            (&["http"], "invalid containerPort: http"),
            (&["80/icmp"], "invalid proto: icmp"),
            (&["/tcp"], "invalid port: \"/tcp\": no port specified"),
            (&["0.0.0.0:1234-1235:/tcp"], "invalid port: \"0.0.0.0:1234-1235:/tcp\": no port specified"),
            (&["x:1:2"], "invalid IP address: x"),
            (&["a:80"], "invalid hostPort: a"),
            (&["1-3:80-81"], "invalid ranges specified for container and host Ports: 80-81 and 1-3"),
        ] {
            assert_eq!(message(&words("EXPOSE", list)), expected, "{list:?}");
        }
    }
}
