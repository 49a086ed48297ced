//! MooseFS: a master, a chunk server, and two clients. A chunk server refuses to speak with a master on loopback, so all are
//! in a network of their own, with an address for documentation.

use super::{Cluster, PATIENCE, free_port, utf8};
use preload_tests::harness::{installed, wait_until};
use std::fs;

const ADDRESS: &str = "192.0.2.1";

pub fn mount() -> Result<Cluster, String> {
    for program in ["mfsmaster", "mfschunkserver", "mfsmount", "unshare", "ip"] {
        installed(program)?;
    }
    let mut cluster = Cluster::new()?;
    cluster.start("unshare --net sleep infinity")?;
    let holder = cluster.daemons[0].1.id();
    let net = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    wait_until("a network of its own", PATIENCE, || {
        net(&holder.to_string()).is_some_and(|other| Some(other) != net("self"))
    });
    let inside = |command: &str| format!("nsenter -t {holder} --net {command}");
    cluster.run(&inside("ip link set lo up"))?;
    cluster.run(&inside(&format!("ip address add {ADDRESS}/32 dev lo")))?;
    let data = cluster.data("moosefs");
    for name in ["meta", "chunks", "disk"] {
        fs::create_dir_all(data.join(name)).map_err(|error| error.to_string())?;
    }
    let data = utf8(&data).to_owned();
    let write = |name: &str, text: &str| {
        fs::write(format!("{data}/{name}"), text).map_err(|error| format!("{name}: {error}"))
    };
    let [masters, chunk_servers, clients, chunks] =
        [free_port()?, free_port()?, free_port()?, free_port()?];
    let common = "WORKING_USER = root\nWORKING_GROUP = root\nNICE_LEVEL = 0\n";
    write("meta/metadata.mfs", "MFSM NEW")?;
    write("exports.cfg", "* / rw,alldirs,maproot=0\n")?;
    write(
        "master.cfg",
        &format!(
            "{common}DATA_PATH = {data}/meta\nEXPORTS_FILENAME = {data}/exports.cfg\n\
             MATOML_LISTEN_HOST = {ADDRESS}\nMATOML_LISTEN_PORT = {masters}\n\
             MATOCS_LISTEN_HOST = {ADDRESS}\nMATOCS_LISTEN_PORT = {chunk_servers}\n\
             MATOCL_LISTEN_HOST = {ADDRESS}\nMATOCL_LISTEN_PORT = {clients}\n"
        ),
    )?;
    write("disks.cfg", &format!("{data}/disk\n"))?;
    write(
        "chunks.cfg",
        &format!(
            "{common}DATA_PATH = {data}/chunks\nHDD_CONF_FILENAME = {data}/disks.cfg\n\
             MASTER_HOST = {ADDRESS}\nMASTER_PORT = {chunk_servers}\nMASTER_RECONNECTION_DELAY = 1\n\
             CSSERV_LISTEN_HOST = {ADDRESS}\nCSSERV_LISTEN_PORT = {chunks}\nHDD_LEAVE_SPACE_DEFAULT = 16MiB\n"
        ),
    )?;
    cluster.start(&inside(&format!("mfsmaster -f -c {data}/master.cfg start")))?;
    wait_until("a master", PATIENCE, || {
        cluster
            .run(&inside(&format!(
                "bash -c exec</dev/tcp/{ADDRESS}/{chunk_servers}"
            )))
            .is_ok()
    });
    cluster.victim = ("the chunk server", cluster.daemons.len());
    cluster.start(&inside(&format!(
        "mfschunkserver -f -c {data}/chunks.cfg start"
    )))?;
    cluster.mount(|_| {
        inside(&format!(
            "mfsmount -f -o mfsnice=0 -H {ADDRESS} -P {clients}"
        ))
    })?;
    // Without a chunk server there is no space.
    wait_until("a chunk server", PATIENCE, || {
        rustix::fs::statvfs(&cluster.first).is_ok_and(|space| space.f_blocks > 0)
    });
    Ok(cluster)
}
