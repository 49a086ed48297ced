//! Chrome's Trace Event Format, for Perfetto and chrome://tracing.
//!
//! Complete events (`"ph":"X"`) with times in us; written while reading, so that any number fits.

use super::daemon::Op;
use keepmydata_records::{Level, Record, event};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::io::{self, Write};

/// Daemons get process ids that Linux gives nobody (its greatest is 2^22).
const DAEMON_PID: u32 = 1 << 24;

/// So many processes and threads are named.
const NAMED: usize = 100_000;

pub struct Trace<W: Write> {
    out: W,
    comma: &'static str,
    /// ns since the epoch of the first record; small times keep their precision.
    base: Option<u64>,
    named: HashSet<(u32, u32)>,
}

impl<W: Write> Trace<W> {
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        Ok(Trace {
            out,
            comma: "\n",
            base: None,
            named: HashSet::new(),
        })
    }

    pub fn add(&mut self, record: &Record<'_>) -> io::Result<()> {
        let (pid, tid) = (record.pid, record.tid);
        self.name(pid, tid, &format!("process {pid}"))?;
        let mut arguments = arguments(record);
        arguments.remove("time_ns");
        let mut name = String::from_utf8_lossy(record.event.as_bytes()).into_owned();
        if let Some(rung) = record.rung.filter(|_| record.event == event::HEAL) {
            name = format!("{name} {}", rung.word());
        }
        let category = if record.level <= Level::Warn {
            "trouble"
        } else {
            "shim"
        };
        let ts = self.microseconds(record.time_ns);
        self.event(
            &match record.duration_ns.filter(|_| record.event != event::REPORT) {
                Some(ns) => json!({
                    "ph": "X", "name": name, "cat": category, "pid": pid, "tid": tid, "ts": ts,
                    "dur": ns as f64 / 1e3, "args": arguments,
                }),
                None => json!({
                    "ph": "i", "s": "t", "name": name, "cat": category, "pid": pid, "tid": tid,
                    "ts": ts, "args": arguments,
                }),
            },
        )
    }

    /// Requests of a daemon overlap, so that they are no stack of calls: asynchronous events.
    pub fn add_op(&mut self, op: &Op, daemon: &str) -> io::Result<()> {
        let pid = DAEMON_PID + op.daemon;
        self.name(pid, 0, &format!("daemon {daemon}"))?;
        let arguments: Value = match op.details().as_str() {
            "" => json!({}),
            details => serde_json::from_str(details).unwrap_or_default(),
        };
        let id = format!("{}.{}.{}", op.daemon, op.time_ns, op.offset.unwrap_or(0));
        let ts = self.microseconds(op.time_ns);
        let end = ts + op.duration_ns.unwrap_or(0) as f64 / 1e3;
        let mut arguments = arguments;
        for (name, value) in [
            ("ino", op.ino),
            ("offset", op.offset),
            ("length", op.length),
        ] {
            if let (Some(value), Some(object)) = (value, arguments.as_object_mut()) {
                object.insert(name.into(), value.into());
            }
        }
        self.event(&json!({
            "ph": "b", "cat": "daemon", "name": op.name, "id": id, "pid": pid, "tid": 0, "ts": ts,
            "args": arguments,
        }))?;
        self.event(&json!({
            "ph": "e", "cat": "daemon", "name": op.name, "id": id, "pid": pid, "tid": 0, "ts": end,
        }))
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()
    }

    fn microseconds(&mut self, ns: u64) -> f64 {
        let base = *self.base.get_or_insert(ns);
        (i128::from(ns) - i128::from(base)) as f64 / 1e3
    }

    fn name(&mut self, pid: u32, tid: u32, name: &str) -> io::Result<()> {
        if self.named.len() == NAMED || !self.named.insert((pid, tid)) {
            return Ok(());
        }
        self.event(&json!({
            "ph": "M", "name": "process_name", "pid": pid, "tid": tid, "args": { "name": name },
        }))
    }

    fn event(&mut self, event: &Value) -> io::Result<()> {
        write!(self.out, "{}{event}", self.comma)?;
        self.comma = ",\n";
        Ok(())
    }
}

/// The record without its page table, which is too much for a tool that shows time.
fn arguments(record: &Record<'_>) -> Map<String, Value> {
    let mut record = record.shortened(64, 400);
    record.pages = Default::default();
    match serde_json::to_value(&record) {
        Ok(Value::Object(mut object)) => {
            for known in ["pid", "tid", "event", "duration_ns"] {
                object.remove(known);
            }
            object
        }
        _ => Map::new(),
    }
}
