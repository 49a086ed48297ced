//! The control channel: what the backend really holds, power cuts, counts.
//!
//! A unix stream socket; one JSON object a line, and one in answer (see `--help`).

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::backend::View;
use super::daemon::Daemon;
use super::modes::Mode;

/// The most bytes that one request may ask for.
const MAX_LEN: u64 = 64 << 20;

/// Listens on the socket, whose file must not exist, and answers for as long as the process
/// lasts, each client in a thread of its own.
///
/// # Errors
/// If the socket cannot be made.
pub fn serve(socket: &Path, daemon: &Arc<Daemon>) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    let daemon = Arc::clone(daemon);
    thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let daemon = Arc::clone(&daemon);
                // A client that goes away is no concern of ours.
                thread::spawn(move || converse(&stream, &daemon).ok());
            }
        })?;
    Ok(())
}

fn converse(stream: &UnixStream, daemon: &Daemon) -> io::Result<()> {
    let mut writer = stream;
    for line in BufReader::new(stream).lines() {
        let answer = match answer(&line?, daemon) {
            Ok(mut answer) => {
                answer["ok"] = true.into();
                answer
            }
            Err(error) => json!({"ok": false, "error": error}),
        };
        writeln!(writer, "{answer}")?;
    }
    Ok(())
}

fn answer(line: &str, daemon: &Daemon) -> Result<Value, String> {
    let request: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    match text(&request, "op")? {
        "read" => data(&request, daemon, View::Final),
        "seen" => data(&request, daemon, View::Visible),
        "stable" => data(&request, daemon, View::Stable),
        "ends" => ends(&request, daemon),
        "held" => held(&request, daemon),
        "cut" => Ok(json!({"lost": daemon.cut()})),
        "stats" => {
            let counts = daemon.log.counts();
            Ok(json!({
                "mode": daemon.mode().word(),
                "ops": counts.ops,
                "actions": counts.actions,
            }))
        }
        "mode" => {
            daemon.switch(Mode::from_str(text(&request, "mode")?, false)?);
            Ok(json!({}))
        }
        "settle" => {
            daemon.settle();
            Ok(json!({}))
        }
        unknown => Err(format!("no such op: {unknown:?}")),
    }
}

fn text<'a>(request: &'a Value, field: &str) -> Result<&'a str, String> {
    let value = request[field].as_str();
    value.ok_or_else(|| format!("{field:?} is missing or no string"))
}

fn number(request: &Value, field: &str) -> Result<u64, String> {
    let value = request[field].as_u64();
    value.ok_or_else(|| format!("{field:?} is missing or no number"))
}

fn data(request: &Value, daemon: &Daemon, view: View) -> Result<Value, String> {
    let path = text(request, "path")?;
    let (offset, len) = (number(request, "offset")?, number(request, "len")?);
    if len > MAX_LEN {
        return Err(format!("\"len\" is over {MAX_LEN}"));
    }
    let data = daemon.view(path, view, offset, len as usize);
    let data = data.map_err(|errno| describe(path, errno))?;
    Ok(json!({"data": hex(&data)}))
}

/// A sample of the file, small enough to be taken at every msync: the first and the last byte of each block of
/// `block` bytes (of one that the end of the file cuts off, the first alone), of what survives a power cut (`stable`) and of what READ is answered with now (`served`); with
/// `word` also the eight bytes there, as a number of this machine.
fn ends(request: &Value, daemon: &Daemon) -> Result<Value, String> {
    let path = text(request, "path")?;
    let block = usize::try_from(number(request, "block")?).unwrap_or(0);
    if block == 0 {
        return Err("\"block\" is 0".into());
    }
    let [stable, served] = daemon.both(path).map_err(|errno| describe(path, errno))?;
    let sample = |data: &[u8]| {
        let mut ends = Vec::new();
        for from in (0..data.len()).step_by(block) {
            ends.push(data[from]);
            ends.extend(data.get(from + block - 1));
        }
        hex(&ends)
    };
    let mut answer = json!({"stable": sample(&stable), "served": sample(&served)});
    if let Some(at) = request["word"].as_u64() {
        let word = |data: &[u8]| {
            let bytes = data.get(at as usize..)?.first_chunk()?;
            Some(u64::from_ne_bytes(*bytes))
        };
        answer["stable_word"] = json!(word(&stable));
        answer["served_word"] = json!(word(&served));
    }
    Ok(answer)
}

fn held(request: &Value, daemon: &Daemon) -> Result<Value, String> {
    let path = text(request, "path")?;
    let pages = daemon.held(path).map_err(|errno| describe(path, errno))?;
    Ok(json!({"pages": pages}))
}

fn describe(path: &str, errno: fuser::Errno) -> String {
    format!("{path}: {}", keepmydata_records::Errno(errno.code()))
}

fn hex(data: &[u8]) -> String {
    let mut text = String::with_capacity(2 * data.len());
    for byte in data {
        let digit = |nibble| char::from_digit(nibble, 16).expect("a nibble");
        text.extend([digit(u32::from(byte >> 4)), digit(u32::from(byte & 15))]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tearfs::oplog::OpLog;
    use crate::tearfs::options::Options;
    use clap::Parser;

    fn daemon() -> Daemon {
        let options = Options::parse_from(["tearfs", "/"]);
        Daemon::new(options, OpLog::open(None).expect("no log"))
    }

    #[test]
    fn what_cannot_be_answered_is_refused_with_a_reason() {
        let daemon = daemon();
        for (request, reason) in [
            ("nonsense", "expected"),
            ("{}", "\"op\" is missing"),
            (r#"{"op":"fly"}"#, "no such op"),
            (r#"{"op":"read","path":"/f"}"#, "\"offset\" is missing"),
            (
                r#"{"op":"read","path":"/f","offset":0,"len":1}"#,
                "/f: ENOENT",
            ),
            (
                r#"{"op":"read","path":"/","offset":0,"len":1}"#,
                "/: EISDIR",
            ),
            (
                r#"{"op":"stable","path":"/f","offset":0,"len":1e9}"#,
                "\"len\"",
            ),
            (r#"{"op":"ends","path":"/f","block":0}"#, "\"block\" is 0"),
            (r#"{"op":"ends","path":"/f","block":512}"#, "/f: ENOENT"),
            (r#"{"op":"mode","mode":"polite"}"#, "invalid variant"),
        ] {
            let error = answer(request, &daemon).expect_err(request);
            assert!(error.contains(reason), "{request}: {error}");
        }
    }

    #[test]
    fn the_mode_is_switched() {
        let daemon = daemon();
        answer(r#"{"op":"mode","mode":"black-hole"}"#, &daemon).expect("switch");
        let stats = answer(r#"{"op":"stats"}"#, &daemon).expect("stats");
        assert_eq!(stats["mode"], "black-hole");
    }

    #[test]
    fn data_is_told_in_hex() {
        assert_eq!(hex(&[0, 0xab, 0xff]), "00abff");
    }
}
