//! Small programs of the operator's that print a login, run without trust: they have so long and may say so much.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What a program may print, in bytes.
const LARGEST: u64 = 64 << 10;
/// How often a program that has closed its output is looked at.
const BEAT: Duration = Duration::from_millis(5);

/// Runs a program to its end, hands it `input`, and returns whether it succeeded and what it printed on standard output. What it says on
/// standard error is nobody's business: it may hold what is secret.
///
/// # Errors
/// It does not start, prints more than 64 KiB, or is not done after `patience`; then it is ended, with what it has started.
pub fn run(mut command: Command, input: &[u8], patience: Duration) -> io::Result<(bool, Vec<u8>)> {
    // A group, so that whatever it starts can be ended with it.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let done = talk(&mut child, input, Instant::now() + patience);
    if done.is_err() {
        end(&mut child);
    }
    done.map_err(|why| match why.kind() {
        io::ErrorKind::TimedOut => io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", patience.as_secs())),
        _ => why,
    })
}

/// Hands the input over and takes the answer, up to the end of both the output and the program.
fn talk(child: &mut Child, input: &[u8], until: Instant) -> io::Result<(bool, Vec<u8>)> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // A program that does not ask for its input is none of our business.
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
    }
    let output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new().name("helper".to_owned()).spawn(move || {
        let mut content = Vec::new();
        let result = output.take(LARGEST + 1).read_to_end(&mut content).map(|_| content);
        // Nobody listens any more where it took too long.
        let _ = sender.send(result);
    })?;
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let content = receiver.recv_timeout(until.saturating_duration_since(Instant::now())).map_err(|_| late())??;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::other("it prints more than 64 KiB"));
    }
    loop {
        match child.try_wait()? {
            Some(status) => return Ok((status.success(), content)),
            None if Instant::now() >= until => return Err(late()),
            None => thread::sleep(BEAT),
        }
    }
}

/// Kills the program and what it started.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_gets_its_input_and_says_how_it_went() {
        assert_eq!(run(shell("printf '<%s>' \"$(cat)\"; echo no >&2"), b"in", PATIENCE).unwrap(), (true, b"<in>".to_vec()));
        assert_eq!(run(shell("echo x; exit 3"), b"", PATIENCE).unwrap(), (false, b"x\n".to_vec()));
        assert!(run(Command::new("/no/such/program"), b"", PATIENCE).is_err());
    }

    /// Row 44 of the adversarial list.
    #[test]
    fn a_program_that_hangs_or_floods_is_ended() {
        for script in ["sleep 100 & sleep 100", "exec >&-; sleep 100"] {
            let begun = Instant::now();
            let error = run(shell(script), b"", Duration::from_millis(300)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{script}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{script}");
        }
        assert!(run(shell("yes"), b"", PATIENCE).unwrap_err().to_string().contains("64 KiB"));
    }
}
