//! `keepmydata doctor` on a kernel without cachestat (Linux 6.5) and PAGEMAP_SCAN (6.7): it says which
//! trackers remain, and why.

use std::path::Path;

use serde_json::{Value, json};

/// Asks the doctor about the disk that is mounted at /mnt, and about a test bed: a line of JSON each.
/// `directory` has the command, and the shim is `lib`.
pub fn script(directory: &Path, lib: &Path) -> String {
    let directory = directory.display();
    let doctor = format!(
        "KEEPMYDATA_LIB='{}' '{directory}/keepmydata' doctor --json",
        lib.display()
    );
    format!(
        "{doctor} /mnt | tr -d '\\n'; echo
        mkdir /run/fuse && '{directory}/tearfs' --mode first-page /run/fuse >/run/ready &
        until grep -q ready /run/ready 2>/run/null; do sleep 0.1; done
        {doctor} /run/fuse | tr -d '\\n'; echo
        kill %1; wait\n"
    )
}

/// What it said, among other lines, on the kernel of this release.
#[track_caller]
pub fn judge(lines: &[String], release: &str) {
    let found: Vec<Value> = lines
        .iter()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let [ext4, fuse] = &found[..] else {
        panic!("not two answers: {lines:?}");
    };
    let trackers = |found: &Value| found["follows"]["trackers"].clone();
    let limit = "dirty pages cannot be told from clean ones (no page tracking: Invalid argument, Linux \
                 6.7 has it; no cachestat: Function not implemented, Linux 6.5 has it): every msync \
                 treats all pages";
    assert_eq!(ext4["exit_code"], 0, "{ext4}");
    assert_eq!(ext4["kernel"]["release"]["value"], release, "{ext4}");
    assert_eq!(trackers(ext4)["value"], json!(["whole"]), "{ext4}");
    assert_eq!(trackers(ext4)["note"], "track=auto takes whole", "{ext4}");
    assert!(ext4["limits"].to_string().contains(limit), "{ext4}");
    assert_eq!(fuse["verdict"], "cured", "{fuse}");
    assert_eq!(trackers(fuse)["value"], json!(["whole"]), "{fuse}");
    assert!(fuse["limits"].to_string().contains(limit), "{fuse}");
}
