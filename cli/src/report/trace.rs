//! Chrome's Trace Event Format, for Perfetto and chrome://tracing.
//!
//! Complete events (`"ph":"X"`) with times in us; written while reading, so that any number fits.

use super::daemon::Op;
use keepmydata_records::{Level, Record, Utc, event};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::io::{self, Write};

/// Daemons get process ids that Linux gives nobody (its greatest is 2^22).
const DAEMON_PID: u32 = 1 << 24;

/// The first record read need not be the earliest: so many ns (30 days) may lie before it.
const BEFORE: u64 = 30 * 86_400 * 1_000_000_000;

/// So many processes and threads are named.
const NAMED: usize = 100_000;

pub struct Trace<W: Write> {
    out: W,
    comma: &'static str,
    /// What times are counted from, ns since the epoch: numbers that are not too large keep their
    /// precision.
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
        let arguments = arguments(record);
        let mut name = record.event.to_string();
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
        let mut arguments: Value = match op.details().as_str() {
            "" => json!({}),
            details => serde_json::from_str(details).unwrap_or_default(),
        };
        let id = format!("{}.{}.{}", op.daemon, op.time_ns, op.offset.unwrap_or(0));
        let ts = self.microseconds(op.time_ns);
        let end = ts + op.duration_ns.unwrap_or(0) as f64 / 1e3;
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

    /// Gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Never negative, which Perfetto would drop.
    fn microseconds(&mut self, ns: u64) -> f64 {
        let base = *self.base.get_or_insert(ns.saturating_sub(BEFORE));
        ns.saturating_sub(base) as f64 / 1e3
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
            for known in ["pid", "tid", "event", "duration_ns", "time_ns"] {
                object.remove(known);
            }
            object.insert("time".into(), Utc(record.time_ns).to_string().into());
            object
        }
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_and_never_negative() {
        let mut out = Vec::new();
        let mut trace = Trace::new(&mut out).unwrap();
        const BEGUN: u64 = 1_795_222_363_179_255_247;
        for (time_ns, duration_ns) in [(BEGUN, Some(9)), (BEGUN - 1001, None), (0, Some(1))] {
            let record = Record {
                event: "verify".into(),
                time_ns,
                duration_ns,
                ..Record::new(Level::Debug, 1, 2)
            };
            trace.add(&record).unwrap();
        }
        trace.finish().unwrap();
        let trace: Value = serde_json::from_slice(&out).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        assert_eq!(events[0]["args"]["name"], "process 1");
        let ts = |n: usize| events[n]["ts"].as_f64().unwrap();
        assert!((ts(1) - ts(2) - 1.001).abs() < 1e-4);
        assert_eq!(ts(3), 0.0);
        assert_eq!(events[1]["dur"], 0.009);
        assert_eq!(events[1]["args"]["time"], "2026-11-21 00:52:43.179255247Z");
        assert_eq!(events[2]["ph"], "i");
    }
}
