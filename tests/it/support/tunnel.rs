//! A proxy of the kind that TLS goes through (RFC 9110 section 9.3.6, CONNECT): it counts, and leads names of the test where the test says.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A running proxy; it ends with the process.
pub struct Tunnel {
    /// `127.0.0.1:port`
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A connection that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// `host:port`
    pub host: String,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

impl Tunnel {
    /// Starts one; `way` says where `host:port` really is.
    pub fn start(way: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address").to_string();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, way) = (Arc::clone(&asked), Arc::new(way));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, way) = (Arc::clone(&log), Arc::clone(&way));
                thread::spawn(move || carry(stream, &log, way.as_ref()));
            }
        });
        Self { address, asked }
    }

    /// All connections that were asked for so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

fn carry(mut client: TcpStream, log: &Mutex<Vec<Asked>>, way: &(dyn Fn(&str) -> Option<String> + Send + Sync)) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let host = text.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let authorization =
        text.lines().filter_map(|line| line.split_once(": ")).find(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"));
    let authorization = authorization.map(|(_, value)| value.trim().to_owned());
    log.lock().expect("nobody panics with it").push(Asked { host: host.clone(), authorization });
    let Some(server) = way(&host).and_then(|address| TcpStream::connect(address).ok()) else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").ok();
    };
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (up, down) = ((client.try_clone().ok()?, server.try_clone().ok()?), (server, client));
    let back = thread::spawn(move || pass(down.0, down.1));
    pass(up.0, up.1);
    back.join().ok()
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
