//! What the shim will do on a filesystem, from what was found there.

use super::filesystem::Filesystem;
use super::kernel::Kernel;
use super::probe::Probe;
use super::report::Row;
use keepmydata_records::Backing;

pub struct Conclusion {
    /// Those that work here.
    trackers: Vec<&'static str>,
    /// The one that `track=auto` takes, as the shim's `dirty::learn` chooses.
    chosen: &'static str,
    verification: &'static str,
    verification_note: &'static str,
    /// What is missing for the whole promise, each in a sentence.
    pub limits: Vec<String>,
    nothing_to_do: bool,
}

/// The probe is needed unless there is no backing store.
pub fn conclude(filesystem: &Filesystem, kernel: &Kernel, probe: Option<&Probe>) -> Conclusion {
    let Some(probe) = probe.filter(|_| filesystem.backing != Backing::Nothing) else {
        return Conclusion {
            trackers: Vec::new(),
            chosen: "whole",
            verification: "none",
            verification_note: "no backing store",
            limits: Vec::new(),
            nothing_to_do: true,
        };
    };
    let mut limits = Vec::new();
    let mut trackers = Vec::new();
    if probe.pagemap_works() {
        trackers.push("pagemap");
    }
    if probe.cachestat_works() {
        trackers.push("cachestat");
    }
    trackers.push("whole");
    let wanted = match filesystem.backing {
        Backing::LocalBlock => "cachestat",
        _ => "pagemap",
    };
    let chosen = *trackers
        .iter()
        .find(|&&tracker| tracker == wanted)
        .unwrap_or(&"whole");
    if chosen == "whole" && !probe.dax {
        let lacks = match kernel.lacks() {
            lacks if lacks.is_empty() => lacks,
            lacks => format!(" ({lacks})"),
        };
        limits.push(format!(
            "dirty pages cannot be told from clean ones{lacks}: every msync treats all pages"
        ));
    }
    if probe.mmap.is_err() {
        limits.push("files cannot be mapped shared and writable".to_owned());
    }
    let (verification, verification_note) = match (&probe.direct, filesystem.backing) {
        _ if probe.dax => ("none", "DAX has no page cache: stores go to the medium"),
        (Ok(_), Backing::LocalBlock) => (
            "on request",
            "verify=auto trusts a local block device; verify=on reads back",
        ),
        (Ok(_), _) => ("always", "each msync is read back with O_DIRECT"),
        (Err(_), backing) => {
            if backing == Backing::Other {
                limits.push(
                    "O_DIRECT is refused: data is read back through the page cache after a drop"
                        .to_owned(),
                );
            }
            ("buffered", "through the page cache, after a drop")
        }
    };
    Conclusion {
        trackers,
        chosen,
        verification,
        verification_note,
        limits,
        nothing_to_do: false,
    }
}

impl Conclusion {
    pub fn rows(&self) -> Vec<Row> {
        if self.nothing_to_do {
            return vec![Row::new("enforcement", "none", "no backing store")];
        }
        vec![
            Row::new(
                "trackers",
                self.trackers.clone(),
                format!("track=auto takes {}", self.chosen),
            ),
            Row::new("verification", self.verification, self.verification_note),
        ]
    }
}
