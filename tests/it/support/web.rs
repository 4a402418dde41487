//! A web server on 127.0.0.1 that answers as a test tells it to, and remembers what it was asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// As in the request line: with the query, and for a proxy the whole URL.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What to answer.
#[derive(Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// So many zeros after the body.
    pub zeros: u64,
    /// Promises the whole body, sends this much of it and hangs up.
    pub cut: Option<usize>,
    /// Ends the body by closing the connection instead of saying how long it is.
    pub unannounced: bool,
}

impl Reply {
    /// 200, with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A redirect.
    pub fn to(status: u16, location: &str) -> Self {
        Self::status(status).header("Location", location)
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running server; it ends with the process.
pub struct Web {
    /// `127.0.0.1:port`
    pub address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Web {
    /// Starts one.
    pub fn serve(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                thread::spawn(move || converse(stream, answer.as_ref(), &log));
            }
        });
        Self { address, seen }
    }

    /// `http://127.0.0.1:port/path`
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{}", self.address, path.trim_start_matches('/'))
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics with it").clone()
    }

    /// `METHOD target` of all requests so far.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
    }
}

/// Answers requests of one connection until it ends; a client that goes away is no fault.
fn converse(mut stream: TcpStream, answer: &(dyn Fn(&Seen) -> Reply + Send + Sync), log: &Mutex<Vec<Seen>>) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            more(&mut stream, &mut bytes)?;
            // Registries are asked for TLS first; a server without it says so at once.
            if bytes.first() == Some(&0x16) {
                stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").ok()?;
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
        let mut lines = text.lines();
        let mut first = lines.next()?.split(' ');
        let mut seen = Seen {
            method: first.next()?.to_owned(),
            target: first.next()?.to_owned(),
            headers: lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: Vec::new(),
        };
        let length: usize = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while bytes.len() < head + length {
            more(&mut stream, &mut bytes)?;
        }
        seen.body = bytes[head..head + length].to_vec();
        bytes.drain(..head + length);
        log.lock().expect("nobody panics with it").push(seen.clone());
        let reply = answer(&seen);
        let mut out = format!("HTTP/1.1 {} X\r\n", reply.status);
        if reply.unannounced {
            out.push_str("Connection: close\r\n");
        } else {
            out.push_str(&format!("Content-Length: {}\r\n", reply.body.len() as u64 + reply.zeros));
        }
        for (name, value) in &reply.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{out}\r\n").as_bytes()).ok()?;
        let last = seen.header("connection") == Some("close");
        if seen.method == "HEAD" || reply.status == 304 {
            if last {
                return None;
            }
            continue;
        }
        stream.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())]).ok()?;
        let mut left = reply.zeros;
        let zeros = [0; 1 << 16];
        while left > 0 {
            let piece = usize::try_from(left.min(1 << 16)).expect("it is small");
            stream.write_all(&zeros[..piece]).ok()?;
            left -= piece as u64;
        }
        if last || reply.cut.is_some() || reply.unannounced {
            return None;
        }
    }
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 8192];
    let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
    bytes.extend_from_slice(&buffer[..count]);
    Some(())
}
