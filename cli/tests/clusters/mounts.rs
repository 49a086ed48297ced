//! How each filesystem is started and mounted twice: everything in a directory of the test's, over an ext4 of its own, on
//! loopback. All daemons die with this process.

mod ceph;
mod gluster;
pub mod hosts;
mod moosefs;
mod object_store;

use preload_tests::harness::{LoopFs, Scratch, installed, wait_until};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";
const PATIENCE: Duration = Duration::from_secs(30);

type Mount = fn() -> Result<Cluster, String>;

pub const ALL: [(&str, Mount); 15] = [
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
    (
        "rclone mount of S3, --dir-cache-time 1s",
        object_store::rclone,
    ),
    ("s3fs", object_store::s3fs),
    ("GlusterFS, replica 2", || gluster::mount("")),
    ("GlusterFS, replica 2, fopen-keep-cache", || {
        gluster::mount("--fopen-keep-cache")
    }),
    ("GlusterFS, replica 2, two hosts", || {
        gluster::mount_on(hosts::start()?, "")
    }),
    ("CephFS, ceph-fuse", || ceph::mount("")),
    ("CephFS, ceph-fuse, fuse_use_invalidate_cb=false", || {
        ceph::mount("--fuse_use_invalidate_cb=false")
    }),
    ("MooseFS", moosefs::mount),
];

/// Two mounts, unmounted when dropped, and what they need.
pub struct Cluster {
    pub first: PathBuf,
    pub second: PathBuf,
    daemons: Vec<(String, Child)>,
    /// How each is mounted, and by which daemon.
    clients: Vec<(String, usize)>,
    /// The daemon that is killed in the trial of that, in words, and its number.
    victim: (&'static str, usize),
    /// Where each client is on a host of its own: what its commands begin with.
    pub hosts: Option<[String; 2]>,
    // Dropped in this order.
    _points: Scratch,
    _below: LoopFs,
}

impl Cluster {
    /// An ext4, and two mount points.
    fn new() -> Result<Self, String> {
        // s3rver keeps the parts of uploads, and each msync of s3fs uploads the whole file.
        let below = LoopFs::mount_sized("ext4", 8192, &[])?;
        let points = Scratch::new();
        let [first, second] = ["first", "second"].map(|name| points.path(name));
        for point in [&first, &second, &below.path("data")] {
            fs::create_dir(point).map_err(|error| format!("{}: {error}", point.display()))?;
        }
        Ok(Cluster {
            first,
            second,
            daemons: Vec::new(),
            clients: Vec::new(),
            victim: ("the first client", 0),
            hosts: None,
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
        let daemon = self.daemon(command)?;
        self.daemons.push((command.to_owned(), daemon));
        Ok(())
    }

    fn daemon(&self, command: &str) -> Result<Child, String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        installed(words[0])?;
        let log = self.path(&format!("log-{}", self.daemons.len()));
        let log = fs::File::options().create(true).append(true).open(log);
        let child = Command::new("setpriv")
            .arg("--pdeathsig=KILL")
            .args(&words)
            // Go's library for S3 wants a transport that rclone does not give it.
            .env_remove("AWS_CA_BUNDLE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_err(|error| error.to_string())?)
            .spawn();
        child.map_err(|error| format!("{command}: {error}"))
    }

    /// Runs a program to its end.
    fn run(&self, command: &str) -> Result<String, String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        installed(words[0])?;
        let output = Command::new("timeout")
            .args(["--kill-after=1", "60"])
            .args(&words)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{command}: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!(
                "{command}: {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    /// Mounts both with this command, to which the mount point is added.
    fn mount(&mut self, command: impl Fn(usize) -> String) -> Result<(), String> {
        for (number, point) in [self.first.clone(), self.second.clone()].iter().enumerate() {
            let command = match &self.hosts {
                None => format!("{} {}", command(number), point.display()),
                Some(hosts) => {
                    let point = hosts::inside(point);
                    format!("{} {} {}", hosts[number], command(number), point.display())
                }
            };
            self.clients.push((command.clone(), self.daemons.len()));
            self.start(&command)?;
            answers(point);
        }
        Ok(())
    }

    /// Kills a daemon, and starts it anew after this time.
    pub fn kill(&mut self, pause: Duration) -> Result<(), String> {
        let number = self.victim.1;
        let (command, daemon) = &mut self.daemons[number];
        let command = command.clone();
        daemon.kill().map_err(|error| error.to_string())?;
        let _ = daemon.wait();
        std::thread::sleep(pause);
        let client = self.clients.iter().position(|client| client.1 == number);
        if let Some(client) = client {
            self.unmount(client);
        }
        let daemon = self.daemon(&command)?;
        self.daemons[number].1 = daemon;
        if let Some(client) = client {
            answers([&self.first, &self.second][client]);
        }
        Ok(())
    }

    /// The daemon that is killed then.
    pub fn victim(&self) -> &'static str {
        self.victim.0
    }

    /// Mounts both anew, so that nothing is left of what clients had cached.
    pub fn mount_anew(&mut self) -> Result<(), String> {
        for client in 0..self.clients.len() {
            self.unmount(client);
            let (command, number) = self.clients[client].clone();
            // What it writes back when it ends is written.
            let daemon = &mut self.daemons[number].1;
            let until = Instant::now() + PATIENCE;
            while daemon.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
            self.daemons[number].1 = self.daemon(&command)?;
        }
        for point in [&self.first, &self.second] {
            answers(point);
        }
        Ok(())
    }

    fn unmount(&self, client: usize) {
        let point = [&self.first, &self.second][client];
        for lazily in [&[][..], &["-l"]] {
            let mut umount = Command::new("umount");
            umount.args(lazily).arg(point).stderr(Stdio::null());
            if umount.status().is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}

/// It is mounted, and answers.
fn answers(point: &Path) {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let above = point.parent().and_then(device);
    wait_until(utf8(point), PATIENCE, || {
        device(point).is_some_and(|own| Some(own) != above) && fs::read_dir(point).is_ok()
    });
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for client in 0..2 {
            self.unmount(client);
        }
        for (_, daemon) in &mut self.daemons {
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
