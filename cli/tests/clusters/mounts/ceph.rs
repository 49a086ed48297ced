//! CephFS: a monitor, a manager, an OSD in memory, a metadata server, and two ceph-fuse.

use super::{Cluster, PATIENCE, free_port, utf8};
use preload_tests::harness::{installed, wait_until};
use std::fs;

pub fn mount(options: &str) -> Result<Cluster, String> {
    for program in [
        "ceph-mon",
        "ceph-mgr",
        "ceph-osd",
        "ceph-mds",
        "ceph-fuse",
        "ceph",
    ] {
        installed(program)?;
    }
    let mut cluster = Cluster::new()?;
    let uuid =
        fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(|error| error.to_string())?;
    let uuid = uuid.trim();
    let monitor = format!("v2:127.0.0.1:{}", free_port()?);
    let base = cluster.path("ceph");
    for name in ["mon", "mgr", "osd", "mds", "run"] {
        fs::create_dir_all(base.join(name)).map_err(|error| error.to_string())?;
    }
    let base = utf8(&base).to_owned();
    let file = format!("{base}/ceph.conf");
    let text = format!(
        "[global]\n\
         fsid = {uuid}\n\
         mon host = {monitor}/0\n\
         mon initial members = a\n\
         auth cluster required = none\n\
         auth service required = none\n\
         auth client required = none\n\
         osd pool default size = 1\n\
         osd pool default min size = 1\n\
         mon allow pool size one = true\n\
         osd crush chooseleaf type = 0\n\
         osd objectstore = memstore\n\
         memstore device bytes = 1073741824\n\
         public network = 127.0.0.0/8\n\
         log file = {base}/$name.log\n\
         run dir = {base}/run\n\
         admin socket = {base}/run/$name.$pid.asok\n\
         pid file = {base}/run/$name.$pid.pid\n\
         mon data = {base}/mon\n\
         mgr data = {base}/mgr\n\
         osd data = {base}/osd\n\
         mds data = {base}/mds\n"
    );
    fs::write(&file, text).map_err(|error| error.to_string())?;
    let ceph = |arguments: &str| format!("ceph -c {file} --connect-timeout 30 {arguments}");
    cluster.run(&format!(
        "monmaptool --create --fsid {uuid} --addv a [{monitor}] --set-min-mon-release 16 {base}/map"
    ))?;
    cluster.run(&format!(
        "ceph-mon -c {file} --mkfs -i a --monmap {base}/map"
    ))?;
    cluster.start(&format!("ceph-mon -c {file} -i a -f"))?;
    cluster.run(&ceph("status"))?;
    cluster.start(&format!("ceph-mgr -c {file} -i x -f"))?;
    // In memory it does not remember its own, and takes the cluster's.
    cluster.run(&ceph(&format!("osd new {uuid} 0")))?;
    cluster.run(&format!("ceph-osd -c {file} --mkfs -i 0 --osd-uuid {uuid}"))?;
    cluster.start(&format!("ceph-osd -c {file} -i 0 -f"))?;
    for arguments in [
        "osd pool create meta 8",
        "osd pool create data 8",
        "fs new fs meta data",
    ] {
        cluster.run(&ceph(arguments))?;
    }
    // What is in the OSD's memory would be gone with it.
    cluster.victim = ("the metadata server", cluster.daemons.len());
    cluster.start(&format!("ceph-mds -c {file} -i m -f"))?;
    wait_until("a metadata server is active", PATIENCE, || {
        cluster
            .run(&ceph("mds stat"))
            .is_ok_and(|said| said.contains("up:active"))
    });
    cluster.mount(|number| {
        format!("ceph-fuse -c {file} -f --pid-file={base}/run/{number}.pid --admin-socket={base}/run/{number}.asok {options}")
    })?;
    Ok(cluster)
}
