//! GlusterFS.

use super::hosts::ADDRESSES;
use super::{Cluster, PATIENCE, free_port, utf8};
use preload_tests::harness::{installed, wait_until};
use std::fs;

/// Two bricks with a server each, and clients that replicate, with the translators of a volume as `gluster volume create
/// replica 2` makes it; no management daemon.
pub fn mount(options: &str) -> Result<Cluster, String> {
    mount_on(Cluster::new()?, options)
}

/// On hosts, each has a brick.
pub fn mount_on(mut cluster: Cluster, options: &str) -> Result<Cluster, String> {
    installed("glusterfsd")?;
    cluster.victim = ("a brick", cluster.daemons.len());
    let addresses = match cluster.hosts {
        None => ["127.0.0.1"; 2],
        Some(_) => ADDRESSES,
    };
    let before = cluster
        .hosts
        .clone()
        .unwrap_or_default()
        .map(|host| format!("{host} "));
    let volume = |name: &str, kind: &str, options: &[String], below: &str| {
        let mut text = format!("volume {name}\n    type {kind}\n");
        for option in options {
            text += &format!("    option {option}\n");
        }
        if !below.is_empty() {
            text += &format!("    subvolumes {below}\n");
        }
        text + "end-volume\n"
    };
    let none = &[][..];
    let mut client = String::new();
    for number in 1..=2 {
        let (address, before) = (addresses[number - 1], &before[number - 1]);
        let port = free_port()?;
        let brick = cluster.data(&format!("brick-{number}"));
        fs::create_dir(&brick).map_err(|error| error.to_string())?;
        let text = volume(
            "posix",
            "storage/posix",
            &[format!("directory {}", utf8(&brick))],
            "",
        ) + &volume("locks", "features/locks", none, "posix")
            + &volume(
                "brick",
                "protocol/server",
                &[
                    "transport-type tcp".to_owned(),
                    format!("transport.socket.bind-address {address}"),
                    format!("transport.socket.listen-port {port}"),
                    "auth.addr.locks.allow *".to_owned(),
                ],
                "locks",
            );
        let file = cluster.path(&format!("brick-{number}.vol"));
        fs::write(&file, text).map_err(|error| error.to_string())?;
        let pid = cluster.path(&format!("brick-{number}.pid"));
        let (file, pid) = (utf8(&file).to_owned(), utf8(&pid).to_owned());
        cluster.start(&format!(
            "{before}glusterfsd --no-daemon --log-file /dev/stderr -f {file} -p {pid}"
        ))?;
        wait_until("a brick listens", PATIENCE, || {
            let connect = format!("{before}bash -c exec</dev/tcp/{address}/{port}");
            cluster.run(&connect).is_ok()
        });
        client += &volume(
            &format!("c{number}"),
            "protocol/client",
            &[
                "transport-type tcp".to_owned(),
                format!("remote-host {address}"),
                format!("remote-port {port}"),
                "remote-subvolume locks".to_owned(),
            ],
            "",
        );
    }
    let replicate = [
        "self-heal-daemon off".to_owned(),
        "afr-pending-xattr c1,c2".to_owned(),
    ];
    client += &volume("replicate", "cluster/replicate", &replicate, "c1 c2");
    for (name, below) in [
        ("write-behind", "replicate"),
        ("open-behind", "write-behind"),
        ("quick-read", "open-behind"),
        ("md-cache", "quick-read"),
    ] {
        client += &volume(name, &format!("performance/{name}"), none, below);
    }
    let file = cluster.path("client.vol");
    fs::write(&file, client).map_err(|error| error.to_string())?;
    let pid = cluster.path("client");
    cluster.mount(|number| {
        format!(
            "glusterfs --no-daemon --log-file /dev/stderr {options} -f {} --pid-file {}-{number}.pid",
            utf8(&file),
            utf8(&pid)
        )
    })?;
    Ok(cluster)
}
