//! The other end of a side: starts its process, asks, and waits for answers.

use super::side::{Answered, Ask, Asked, NAME};
use crate::failure::Failure;
use crate::run::{Library, reason};
use keepmydata_records::OPTIONS;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Beyond what a side waits for of itself.
const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Result<Value, String>;

#[derive(Default)]
struct Waiting {
    by_number: HashMap<u64, Sender<Answer>>,
    /// The side has ended.
    ended: bool,
}

/// A side that is asked.
pub struct Link {
    child: Child,
    input: Mutex<Option<ChildStdin>>,
    waiting: Arc<Mutex<Waiting>>,
    numbered: AtomicU64,
    errors: Arc<Mutex<String>>,
}

impl Link {
    /// The side of a client on this machine.
    pub fn local() -> Result<Self, Failure> {
        let own = env::current_exe().map_err(|error| Failure::of("/proc/self/exe", &error))?;
        let mut command = Command::new(own);
        command.arg(NAME);
        Self::start(command)
    }

    /// The same under the shim, with a setting that has it wait for the other client.
    ///
    /// # Errors
    /// Where there is no shim.
    pub fn waiting(first: &Path, second: &Path) -> Result<Self, Failure> {
        let own = env::current_exe().map_err(|error| Failure::of("/proc/self/exe", &error))?;
        let mut mounts = first.as_os_str().to_owned();
        mounts.push("=");
        mounts.push(second);
        let mut command = Command::new(own);
        command
            .arg(NAME)
            .env("LD_PRELOAD", Library::find()?.preload(None)?)
            .env("KEEPMYDATA_SEEN_BY", mounts)
            .env("KEEPMYDATA_LOG", "off");
        Self::start(command)
    }

    /// That of a peer: `prefix` is a command for the shell, to which `keepmydata` and its argument are added.
    pub fn peer(prefix: &str) -> Result<Self, Failure> {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {prefix} keepmydata {NAME}")]);
        Self::start(command)
    }

    fn start(mut command: Command) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::of("a client's side", &error);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for option in OPTIONS {
            // Those of whoever calls do not count.
            if !is_set(&command, option.env) {
                command.env_remove(option.env);
            }
        }
        let mut child = command.spawn().map_err(failed)?;
        let waiting: Arc<Mutex<Waiting>> = Arc::default();
        let errors: Arc<Mutex<String>> = Arc::default();
        if let Some(stderr) = child.stderr.take() {
            let errors = Arc::clone(&errors);
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    *errors.lock().unwrap_or_else(PoisonError::into_inner) = line;
                }
            });
        }
        if let Some(stdout) = child.stdout.take() {
            let waiting = Arc::clone(&waiting);
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    // What a login shell prints is no answer.
                    let Ok(answered) = serde_json::from_str::<Answered>(&line) else {
                        continue;
                    };
                    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(asker) = waiting.by_number.remove(&answered.number) {
                        let _ = asker.send(answered.answer);
                    }
                }
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.ended = true;
                // Whoever waits hears that nothing comes.
                waiting.by_number.clear();
            });
        }
        let input = Mutex::new(child.stdin.take());
        Ok(Link {
            child,
            input,
            waiting,
            numbered: AtomicU64::new(0),
            errors,
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Why it could not be done there, in words.
    pub fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, String> {
        let own = match &ask {
            Ask::Watch { limit_ms, .. } => *limit_ms,
            Ask::Turn(turn) => turn.patience_ms,
            _ => 0,
        };
        let answer = self.send(ask)?;
        match answer.recv_timeout(PATIENCE + Duration::from_millis(own)) {
            Ok(Ok(value)) => serde_json::from_value(value).map_err(|error| error.to_string()),
            Ok(Err(why)) => Err(why),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                Err(format!("no answer in {} s", PATIENCE.as_secs()))
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    fn send(&self, ask: Ask) -> Result<Receiver<Answer>, String> {
        let number = self.numbered.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.ended {
                return Err(self.ended());
            }
            waiting.by_number.insert(number, sender);
        }
        let line =
            serde_json::to_string(&Asked { number, ask }).map_err(|error| error.to_string())?;
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let input = input.as_mut().ok_or("ended")?;
        // EPIPE: it has ended, and the reader above says so.
        let _ = writeln!(input, "{line}").map_err(|error| reason(&error));
        Ok(receiver)
    }

    /// What it said last, if it has ended by itself.
    fn ended(&self) -> String {
        // The line may come a moment after the end of its answers.
        thread::sleep(Duration::from_millis(50));
        let said = self
            .errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match said.strip_prefix("keepmydata: ").unwrap_or(&said) {
            "" => "its process has ended".to_owned(),
            said => said.to_owned(),
        }
    }
}

/// Whether the command has this variable of its own.
fn is_set(command: &Command, name: &str) -> bool {
    let mut own = command.get_envs();
    own.any(|(known, value)| known == name && value.is_some())
}

impl Drop for Link {
    fn drop(&mut self) {
        // It ends with its input.
        self.input
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let until = std::time::Instant::now() + Duration::from_secs(2);
        while std::time::Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
    }
}
