//! Clients of an object store: s3rver, a server of S3 over a directory.

use super::{Cluster, PATIENCE, free_port, utf8};
use preload_tests::harness::{installed, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// By `scripts/setup --clusters`.
const SERVER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../target/clusters/node_modules/.bin/s3rver"
);
const BUCKET: &str = "bed";
/// Name and secret, as this server has them.
const KEY: &str = "S3RVER";

/// A server that runs, and its address.
fn server() -> Result<(Cluster, String), String> {
    let directory = std::env::var("CARGO_TARGET_DIR")
        .map(|target| format!("{target}/clusters/node_modules/.bin/s3rver"));
    let server = directory.unwrap_or_else(|_| SERVER.to_owned());
    installed("node")?;
    if !Path::new(&server).exists() {
        return Err("s3rver is not installed: scripts/setup --clusters".to_owned());
    }
    let mut cluster = Cluster::new()?;
    let port = free_port()?;
    let data = cluster.data("data");
    cluster.victim = ("the server", 0);
    cluster.start(&format!(
        "node {server} --silent -d {} -a 127.0.0.1 -p {port} --configure-bucket {BUCKET}",
        utf8(&data)
    ))?;
    wait_until("a server of S3", PATIENCE, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Ok((cluster, format!("http://127.0.0.1:{port}")))
}

pub fn s3fs() -> Result<Cluster, String> {
    installed("s3fs")?;
    let (mut cluster, address) = server()?;
    let key = cluster.path("key");
    fs::write(&key, format!("{KEY}:{KEY}\n")).map_err(|error| error.to_string())?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))
        .map_err(|error| error.to_string())?;
    let key = utf8(&key).to_owned();
    cluster.mount(|_| {
        format!("s3fs -f -o passwd_file={key},url={address},use_path_request_style {BUCKET}")
    })?;
    Ok(cluster)
}

pub fn rclone() -> Result<Cluster, String> {
    installed("rclone")?;
    let (mut cluster, address) = server()?;
    let file = cluster.path("rclone.conf");
    let text = format!(
        "[s3]\ntype = s3\nprovider = Other\naccess_key_id = {KEY}\nsecret_access_key = {KEY}\n\
         endpoint = {address}\nforce_path_style = true\n"
    );
    fs::write(&file, text).map_err(|error| error.to_string())?;
    let (file, work) = (utf8(&file).to_owned(), cluster.path("cache"));
    cluster.mount(|number| {
        format!(
            "rclone mount --config {file} --cache-dir {}-{number} --vfs-cache-mode writes --dir-cache-time 1s s3:{BUCKET}",
            utf8(&work)
        )
    })?;
    Ok(cluster)
}
