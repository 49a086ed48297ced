//! How each filesystem is started and mounted twice: everything in a directory of the test's, over an ext4 of its own, on
//! loopback. All daemons die with this process.

use preload_tests::harness::{LoopFs, Scratch, installed, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";
const PATIENCE: Duration = Duration::from_secs(30);

type Mount = fn() -> Result<Cluster, String>;

pub const ALL: [(&str, Mount); 9] = [
    ("bindfs", || twice(|dir| format!("bindfs -f {dir}"))),
    ("bindfs, kernel_cache", || {
        twice(|dir| format!("bindfs -f -o kernel_cache {dir}"))
    }),
    ("bindfs, auto_cache, attr_timeout=1", || {
        twice(|dir| format!("bindfs -f -o auto_cache,attr_timeout=1,entry_timeout=1 {dir}"))
    }),
    ("sshfs", || sshfs("")),
    ("sshfs, kernel_cache", || sshfs("-o kernel_cache")),
    ("sshfs, auto_cache", || sshfs("-o auto_cache")),
    ("rclone mount, --dir-cache-time 1s", rclone),
    ("GlusterFS, replica 2", || gluster("")),
    ("GlusterFS, replica 2, fopen-keep-cache", || {
        gluster("--fopen-keep-cache")
    }),
];

/// Two mounts, unmounted when dropped, and what they need.
pub struct Cluster {
    pub first: PathBuf,
    pub second: PathBuf,
    daemons: Vec<Child>,
    // Dropped in this order.
    _points: Scratch,
    _below: LoopFs,
}

impl Cluster {
    /// An ext4, and two mount points.
    fn new() -> Result<Self, String> {
        let below = LoopFs::mount_sized("ext4", 512, &[])?;
        let points = Scratch::new();
        let [first, second] = ["first", "second"].map(|name| points.path(name));
        for point in [&first, &second, &below.path("data")] {
            fs::create_dir(point).map_err(|error| format!("{}: {error}", point.display()))?;
        }
        Ok(Cluster {
            first,
            second,
            daemons: Vec::new(),
            _points: points,
            _below: below,
        })
    }

    /// A name beside the mount points.
    fn path(&self, name: &str) -> PathBuf {
        self._points.path(name)
    }

    fn data(&self, name: &str) -> PathBuf {
        self._below.path(name)
    }

    /// Starts a program in the foreground, which dies with this process.
    fn start(&mut self, command: &str) -> Result<(), String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        installed(words[0])?;
        let log = self.path(&format!("log-{}", self.daemons.len()));
        let log = fs::File::create(log).map_err(|error| error.to_string())?;
        let child = Command::new("setpriv")
            .arg("--pdeathsig=KILL")
            .args(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.daemons
            .push(child.map_err(|error| format!("{command}: {error}"))?);
        Ok(())
    }

    /// Mounts both with this command, to which the mount point is added.
    fn mount(&mut self, command: impl Fn(usize) -> String) -> Result<(), String> {
        for (number, point) in [self.first.clone(), self.second.clone()].iter().enumerate() {
            self.start(&format!("{} {}", command(number), point.display()))?;
            let shown = format!(" {} ", point.display());
            let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            wait_until(&command(number), PATIENCE, || mounts().contains(&shown));
            // Mounted, and answering.
            wait_until(&command(number), PATIENCE, || fs::read_dir(point).is_ok());
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for point in [&self.first, &self.second] {
            let _ = Command::new("umount")
                .arg("-l")
                .arg(point)
                .stderr(Stdio::null())
                .status();
        }
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Both over one directory.
fn twice(command: impl Fn(&str) -> String) -> Result<Cluster, String> {
    let mut cluster = Cluster::new()?;
    let data = cluster.data("data");
    cluster.mount(|_| command(utf8(&data)))?;
    Ok(cluster)
}

/// Without a network: each has a server at the other end of a pipe.
fn sshfs(options: &str) -> Result<Cluster, String> {
    if !Path::new(SFTP_SERVER).exists() {
        return Err(format!(
            "no {SFTP_SERVER}: openssh-sftp-server is not installed"
        ));
    }
    let mut cluster = Cluster::new()?;
    let ssh = cluster.path("ssh");
    fs::write(&ssh, format!("#!/bin/sh\nexec {SFTP_SERVER}\n"))
        .map_err(|error| error.to_string())?;
    let _ = Command::new("chmod").arg("755").arg(&ssh).status();
    let data = cluster.data("data");
    let (ssh, data) = (utf8(&ssh).to_owned(), utf8(&data).to_owned());
    cluster.mount(|_| format!("sshfs -f -o ssh_command={ssh} {options} none:{data}"))?;
    Ok(cluster)
}

/// Each with a cache of its own.
fn rclone() -> Result<Cluster, String> {
    let mut cluster = Cluster::new()?;
    let (data, work) = (cluster.data("data"), cluster.path("cache"));
    cluster.mount(|number| {
        format!(
            "rclone mount --config /dev/null --cache-dir {}-{number} --vfs-cache-mode writes \
             --dir-cache-time 1s {}",
            utf8(&work),
            utf8(&data)
        )
    })?;
    Ok(cluster)
}

/// Two bricks with a server each, and clients that replicate, with the translators of a volume as `gluster volume create
/// replica 2` makes it; no management daemon.
fn gluster(options: &str) -> Result<Cluster, String> {
    let mut cluster = Cluster::new()?;
    installed("glusterfsd")?;
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
                    "transport.socket.bind-address 127.0.0.1".to_owned(),
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
            "glusterfsd --no-daemon --log-file /dev/stderr -f {file} -p {pid}"
        ))?;
        wait_until("a brick listens", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        client += &volume(
            &format!("c{number}"),
            "protocol/client",
            &[
                "transport-type tcp".to_owned(),
                "remote-host 127.0.0.1".to_owned(),
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

/// One that nobody listens on now.
fn free_port() -> Result<u16, String> {
    let listener =
        std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    Ok(listener
        .local_addr()
        .map_err(|error| error.to_string())?
        .port())
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
