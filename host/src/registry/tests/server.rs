//! A server that answers as a test tells it to, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.target.split('?').next() == Some(path)
    }
}

/// What to answer.
#[derive(Clone, Default)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
    dribble: Option<std::time::Duration>,
    promise: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With one bit of the body another.
    pub(crate) fn flipped(mut self) -> Self {
        if let Some(byte) = self.body.last_mut() {
            *byte ^= 1;
        }
        self
    }

    /// Sends the body byte by byte with such a pause between two.
    pub(crate) fn dribble(mut self, pause: std::time::Duration) -> Self {
        self.dribble = Some(pause);
        self
    }

    /// Promises a longer body than it sends, and keeps the connection.
    pub(crate) fn promise(mut self, length: usize) -> Self {
        self.promise = Some(length);
        self
    }

    /// Promises the whole body, sends this much of it and hangs up.
    pub(crate) fn cut(mut self, at: usize) -> Self {
        self.cut = Some(at);
        self
    }
}

/// A running server.
pub(crate) struct Server {
    /// `127.0.0.1:port`
    pub(crate) name: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (answer.clone(), log.clone());
                tokio::spawn(async move {
                    let _ = converse(stream, answer.as_ref(), &log).await;
                });
            }
        });
        Self { name, seen }
    }

    /// All requests but those for the version.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| !seen.is("GET", "/v2/")).cloned().collect()
    }

    /// `METHOD path` of all requests but those for the version.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |seen: &Seen| format!("{} {}", seen.method, seen.target.split('?').next().unwrap_or_default());
        self.seen().iter().map(line).collect()
    }
}

async fn converse(mut stream: TcpStream, answer: &(impl Fn(&Seen) -> Reply + Sync), log: &Mutex<Vec<Seen>>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            // TLS is asked for first; a server without it says so at once.
            if bytes.first() == Some(&0x16) {
                stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n").await?;
                return stream.shutdown().await;
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
        let mut lines = text.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let mut seen = Seen {
            method: first.next().unwrap_or_default().to_owned(),
            target: first.next().unwrap_or_default().to_owned(),
            headers: lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            body: Vec::new(),
        };
        let length: usize = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while bytes.len() < head + length {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
        seen.body = bytes[head..head + length].to_vec();
        bytes.drain(..head + length);
        log.lock().unwrap().push(seen.clone());
        let reply = answer(&seen);
        let mut out = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", reply.status, reply.promise.unwrap_or(reply.body.len()));
        for (name, value) in &reply.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        let body = if seen.method == "HEAD" { &[][..] } else { &reply.body[..reply.cut.unwrap_or(reply.body.len())] };
        match reply.dribble {
            Some(pause) => {
                stream.write_all(&out).await?;
                for byte in body {
                    stream.write_all(&[*byte]).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            None => {
                out.extend_from_slice(body);
                stream.write_all(&out).await?;
            }
        }
        if reply.cut.is_some() {
            return stream.shutdown().await;
        }
    }
}
