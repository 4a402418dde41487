//! A proxy on 127.0.0.1 before a registry: it counts what passes, and spoils what a test tells it to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How one exchange goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It does not.
    None,
    /// The connection is reset before the registry hears of the request.
    ResetBefore,
    /// The registry carries the request out, and its answer is lost.
    ResetAfter,
    /// No answer comes.
    Stall,
    /// A status in place of an answer, with `Retry-After: 1` where it is 429.
    Status(u16),
    /// The answer's body ends half-way.
    Truncated,
    /// A bit of the answer's body is another.
    SpoiltAnswer,
    /// A bit of the request's body is another.
    SpoiltRequest,
    /// The answer's body comes byte by byte.
    Dribble,
}

/// A request that the registry answered.
#[derive(Clone, Debug)]
pub struct Passed {
    pub method: String,
    pub target: String,
    /// What the registry answered, whether that arrived or not.
    pub status: u16,
    /// Bytes of the request's body.
    pub sent: usize,
    /// When it arrived.
    pub began: Instant,
    /// When its answer was on its way.
    pub ended: Instant,
}

impl Passed {
    /// Whether it brought bytes of a blob.
    pub fn brings_blob(&self) -> bool {
        self.target.contains("/blobs/uploads/") && self.sent > 0
    }
}

/// How many requests at most came after each other, each after the answer to the one before: the round trips of whoever sent them.
pub fn rounds(passed: &[Passed]) -> usize {
    let mut passed: Vec<&Passed> = passed.iter().collect();
    passed.sort_by_key(|passed| passed.ended);
    let (mut rounds, mut last) = (0, None);
    for passed in passed {
        if last.is_none_or(|last| passed.began >= last) {
            rounds += 1;
            last = Some(passed.ended);
        }
    }
    rounds
}

/// A running proxy; it ends with the process.
pub struct Proxy {
    /// `127.0.0.1:port`
    pub address: String,
    shared: Arc<Shared>,
}

/// What goes wrong with a request, by its method and target.
type Faults = Box<dyn Fn(&str, &str) -> Fault + Send + Sync>;

struct Shared {
    registry: String,
    delay: Duration,
    fault: Faults,
    passed: Mutex<Vec<Passed>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Nothing is held up longer.
const LONGEST: Duration = Duration::from_secs(15);

impl Proxy {
    /// Before the registry at `address`; each answer takes `delay` longer, and `fault` is asked for each method and target.
    pub fn start(address: &str, delay: Duration, fault: impl Fn(&str, &str) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let own = listener.local_addr().expect("a listener has an address").to_string();
        let shared = Arc::new(Shared {
            registry: address.to_owned(),
            delay,
            fault: Box::new(fault),
            passed: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let to_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&to_thread);
                thread::spawn(move || shared.exchange(stream));
            }
        });
        Self { address: own, shared }
    }

    /// One that only counts.
    pub fn counting(address: &str) -> Self {
        Self::start(address, Duration::ZERO, |_, _| Fault::None)
    }

    /// What reached the registry since the last call.
    pub fn take(&self) -> Vec<Passed> {
        std::mem::take(&mut *self.shared.passed.lock().expect("nobody panics with it"))
    }

    /// The most requests at one time so far.
    pub fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// One request and its answer; a connection carries no second one.
    fn exchange(&self, mut client: TcpStream) -> Option<()> {
        client.set_read_timeout(Some(LONGEST)).ok()?;
        let (head, mut body) = read_head(&mut client)?;
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut words = text.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let length = header(&text, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let done = (|| {
            let began = Instant::now();
            let fault = (self.fault)(&method, &target);
            if fault == Fault::ResetBefore {
                return reset(&client);
            }
            read_body(&mut client, &mut body, length)?;
            thread::sleep(self.delay);
            match fault {
                Fault::Stall => return wait(&mut client),
                Fault::Status(status) => {
                    let later = if status == 429 { "Retry-After: 1\r\n" } else { "" };
                    let answer = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 0\r\n{later}\r\n");
                    return client.write_all(answer.as_bytes()).ok();
                }
                Fault::SpoiltRequest => flip(&mut body),
                _ => {}
            }
            let answer = self.ask(&text, &body)?;
            let end = end_of_head(&answer)?;
            let status = String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()?;
            self.passed.lock().expect("nobody panics with it").push(Passed {
                method: method.clone(),
                target,
                status,
                sent: body.len(),
                began,
                ended: Instant::now(),
            });
            self.answer(&mut client, answer, end, fault)
        })();
        self.now.fetch_sub(1, Ordering::SeqCst);
        let _ = client.shutdown(Shutdown::Both);
        done
    }

    fn ask(&self, head: &str, body: &[u8]) -> Option<Vec<u8>> {
        let mut lines: Vec<&str> = head.trim_end().lines().collect();
        lines.retain(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        lines.push("Connection: close");
        let mut registry = TcpStream::connect(&self.registry).ok()?;
        registry.set_read_timeout(Some(LONGEST)).ok()?;
        registry.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).ok()?;
        registry.write_all(body).ok()?;
        let mut answer = Vec::new();
        registry.read_to_end(&mut answer).ok()?;
        Some(answer)
    }

    fn answer(&self, client: &mut TcpStream, mut answer: Vec<u8>, end: usize, fault: Fault) -> Option<()> {
        match fault {
            Fault::ResetAfter => return reset(client),
            Fault::Truncated => answer.truncate(end + (answer.len() - end) / 2),
            Fault::SpoiltAnswer => flip(&mut answer[end..]),
            Fault::Dribble => {
                client.write_all(&answer[..end]).ok()?;
                let start = Instant::now();
                for byte in &answer[end..] {
                    client.write_all(&[*byte]).ok().filter(|()| start.elapsed() < LONGEST)?;
                    thread::sleep(Duration::from_millis(20));
                }
                return Some(());
            }
            _ => {}
        }
        client.write_all(&answer).ok()
    }
}

/// Up to the empty line, and what came after it.
fn read_head(client: &mut TcpStream) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = end_of_head(&bytes) {
            let rest = bytes.split_off(end);
            return Some((bytes, rest));
        }
        let mut buffer = [0; 1 << 16];
        let count = client.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        if bytes.first() == Some(&0x16) {
            client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").ok()?;
            return None;
        }
    }
}

fn read_body(client: &mut TcpStream, body: &mut Vec<u8>, length: usize) -> Option<()> {
    let mut buffer = [0; 1 << 16];
    while body.len() < length {
        let count = client.read(&mut buffer).ok().filter(|count| *count > 0)?;
        body.extend_from_slice(&buffer[..count]);
    }
    Some(())
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(": ")).find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
}

/// Closing with bytes unread makes it a reset.
fn reset(client: &TcpStream) -> Option<()> {
    client.shutdown(Shutdown::Both).ok()
}

/// Until the other side has had enough.
fn wait(client: &mut TcpStream) -> Option<()> {
    client.read(&mut [0; 1]).ok().map(drop)
}
