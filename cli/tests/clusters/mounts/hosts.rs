//! Two hosts: each a network and mounts of its own, and a wire between them.

use super::{Cluster, PATIENCE};
use preload_tests::harness::{installed, wait_until};
use std::fs;
use std::path::{Path, PathBuf};

/// For documentation.
pub const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// The hosts, with nothing mounted yet. The mount points of the cluster lead there from here.
pub fn start() -> Result<Cluster, String> {
    for program in ["unshare", "nsenter", "ip", "tc"] {
        installed(program)?;
    }
    let mut cluster = Cluster::new()?;
    for _ in ADDRESSES {
        cluster.start("unshare --net --mount sleep infinity")?;
    }
    let pids = [0, 1].map(|host: usize| cluster.daemons[host].1.id());
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    for pid in pids {
        wait_until("mounts of its own", PATIENCE, || {
            namespace(&pid.to_string()).is_some_and(|other| Some(other) != namespace("self"))
        });
    }
    let hosts = pids.map(|pid| format!("nsenter -t {pid} --net --mount"));
    let [one, other] = pids;
    cluster.run(&format!(
        "nsenter -t {one} --net ip link add wire type veth peer name wire netns {other}"
    ))?;
    for (host, address) in hosts.iter().zip(ADDRESSES) {
        cluster.run(&format!("{host} ip address add {address}/24 dev wire"))?;
        for link in ["lo", "wire"] {
            cluster.run(&format!("{host} ip link set {link} up"))?;
        }
        // Not every kernel has it.
        let _ = cluster.run(&format!(
            "{host} tc qdisc add dev wire root netem delay 2ms"
        ));
    }
    for (point, pid) in [&mut cluster.first, &mut cluster.second]
        .into_iter()
        .zip(pids)
    {
        let below = point.strip_prefix("/").unwrap_or(point);
        *point = PathBuf::from(format!("/proc/{pid}/root")).join(below);
    }
    cluster.hosts = Some(hosts);
    Ok(cluster)
}

/// As the host itself names it.
pub fn inside(point: &Path) -> PathBuf {
    Path::new("/").join(point.iter().skip(4).collect::<PathBuf>())
}
