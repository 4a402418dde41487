//! The format of `hosts.toml`.

use layerwright_plugin::mirror::{Endpoint, Reference, Tls, Trust};
use layerwright_plugin::{Error, Property, log};
use serde::Deserialize;
use toml::{Table, Value};

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// The fields of one host, and those of the whole file for its `server`.
#[derive(Default, Deserialize)]
struct Fields {
    #[serde(default)]
    capabilities: Vec<String>,
    ca: Option<Value>,
    client: Option<Value>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    header: Table,
    #[serde(default)]
    override_path: bool,
    dial_timeout: Option<String>,
}

#[derive(Default, Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: Table,
    #[serde(flatten)]
    root: Fields,
}

/// The hosts of a file in order, and after them its `server` or, without one, the registry itself.
pub(crate) fn endpoints(path: &str, folder: &str, text: &str, reference: &Reference) -> Result<Vec<Endpoint>, Error> {
    let bad = |why: String| Error::invalid(format!("{path}: {why}"));
    let file: File = toml::from_str(text).map_err(|error| bad(error.to_string().trim().replace('\n', " ")))?;
    let mut endpoints = Vec::new();
    for (server, fields) in &file.host {
        let fields: Fields = fields.clone().try_into().map_err(|error| bad(format!("host {server:?}: {error}")))?;
        endpoints.push(endpoint(server, &fields, folder, reference).map_err(|why| bad(format!("host {server:?}: {why}")))?);
    }
    let server = file.server.filter(|server| !server.is_empty());
    let root = match &server {
        Some(server) => endpoint(server, &file.root, folder, reference),
        // Its own way is not for the file to change.
        None => endpoint(own(reference), &Fields { override_path: false, capabilities: Vec::new(), ..file.root }, folder, reference),
    };
    endpoints.push(root.map_err(|why| bad(format!("server: {why}")))?);
    Ok(endpoints)
}

/// The registry itself with the certificates that lie in its directory; none where there are none.
pub(crate) fn certificates(folder: &str, names: &[String], reference: &Reference) -> Option<Endpoint> {
    let roots: Vec<String> = names.iter().filter(|name| name.ends_with(".crt")).map(|name| format!("{folder}/{name}")).collect();
    let client = names.iter().filter_map(|name| name.strip_suffix(".cert")).find_map(|stem| {
        let key = format!("{stem}.key");
        names.contains(&key).then(|| (format!("{folder}/{stem}.cert"), format!("{folder}/{key}")))
    });
    if roots.is_empty() && client.is_none() {
        return None;
    }
    let mut endpoint = endpoint(own(reference), &Fields::default(), folder, reference).ok()?;
    endpoint.tls = Some(Tls { roots, client, skip_verification: false });
    Some(endpoint)
}

/// Where a registry's own API is.
fn own(reference: &Reference) -> &str {
    if reference.registry == DOCKER_HUB { DOCKER_HUB_API } else { &reference.registry }
}

fn endpoint(server: &str, fields: &Fields, folder: &str, reference: &Reference) -> Result<Endpoint, String> {
    let url = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    let (scheme, rest) = url.split_once("://").ok_or("it is no URL")?;
    if !matches!(scheme, "https" | "http") {
        return Err("its scheme is neither https nor http".to_owned());
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() || host.contains(['@', '?', '#']) || path.contains(['?', '#']) {
        return Err("it is more than a scheme, a host and a path".to_owned());
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err("its path has a `..`".to_owned());
    }
    let mut path: String = parts.iter().map(|part| format!("/{part}")).collect();
    if !fields.override_path && !path.ends_with("/v2") {
        path.push_str("/v2");
    }
    let mut endpoint = Endpoint::new(format!("{scheme}://{host}{path}"), reference.repository.clone());
    endpoint.trust = trust(&fields.capabilities)?;
    endpoint.namespace = host != reference.registry && !(reference.registry == DOCKER_HUB && host == DOCKER_HUB_API);
    endpoint.headers = headers(&fields.header)?;
    endpoint.connect_timeout_ms = fields.dial_timeout.as_deref().map(milliseconds).transpose()?;
    let roots = strings(fields.ca.as_ref(), "ca")?.iter().map(|file| beside(folder, file)).collect::<Result<Vec<_>, _>>()?;
    let client = client(fields.client.as_ref(), folder)?;
    if !roots.is_empty() || client.is_some() || fields.skip_verify {
        endpoint.tls = Some(Tls { roots, client, skip_verification: fields.skip_verify });
    }
    Ok(endpoint)
}

fn trust(capabilities: &[String]) -> Result<Trust, String> {
    if capabilities.is_empty() {
        return Ok(Trust::RESOLVE | Trust::PULL | Trust::PUSH);
    }
    let mut trust = Trust::empty();
    for capability in capabilities {
        trust |= match capability.as_str() {
            "pull" => Trust::PULL,
            "resolve" => Trust::RESOLVE,
            "push" => Trust::PUSH,
            // What containerd has besides is nothing that a build asks for.
            "referrers" => Trust::empty(),
            other => return Err(format!("unknown capability {other:?}")),
        };
    }
    Ok(trust)
}

fn headers(table: &Table) -> Result<Vec<Property>, String> {
    let mut headers = Vec::new();
    for (name, value) in table {
        headers.extend(strings(Some(value), name)?.into_iter().map(|value| Property::new(name.clone(), value)));
    }
    Ok(headers)
}

/// One string or several.
fn strings(value: Option<&Value>, name: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{name} is neither a string nor an array of strings");
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(several)) => several.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// `"both.pem"`, `["both.pem", …]` or `[["certificate.pem", "key.pem"], …]`; the first counts, for one is shown.
fn client(value: Option<&Value>, folder: &str) -> Result<Option<(String, String)>, String> {
    let wrong = || "client is neither a file, nor files, nor pairs of certificate and key".to_owned();
    let first = match value {
        None => return Ok(None),
        Some(Value::Array(all)) => {
            if all.len() > 1 {
                log::warning(format!("{folder}/hosts.toml: of several client certificates the first is used"));
            }
            all.first().ok_or_else(wrong)?
        }
        Some(one) => one,
    };
    let files = strings(Some(first), "client")?;
    match files.as_slice() {
        [both] => Ok(Some((beside(folder, both)?, beside(folder, both)?))),
        [certificate, key] if key.is_empty() => Ok(Some((beside(folder, certificate)?, beside(folder, certificate)?))),
        [certificate, key] => Ok(Some((beside(folder, certificate)?, beside(folder, key)?))),
        _ => Err(wrong()),
    }
}

/// A path as it is written, or from the file's own directory.
fn beside(folder: &str, file: &str) -> Result<String, String> {
    if file.is_empty() {
        return Err("a file has no name".to_owned());
    }
    Ok(if file.starts_with('/') { file.to_owned() } else { format!("{folder}/{}", file.trim_start_matches("./")) })
}

/// A duration as Go writes it, for instance `200ms` or `1m30s`.
fn milliseconds(text: &str) -> Result<u32, String> {
    let wrong = || format!("dial_timeout {text:?} is no duration; want for instance 200ms");
    let mut total = 0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let factor = match unit {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            "us" | "µs" => 0.001,
            "ns" => 0.000_001,
            _ => return Err(wrong()),
        };
        total += number.parse::<f64>().map_err(|_| wrong())? * factor;
        rest = after;
    }
    // The cast saturates.
    if text.is_empty() || total <= 0.0 { Err(wrong()) } else { Ok((total.ceil() as u32).max(1)) }
}
