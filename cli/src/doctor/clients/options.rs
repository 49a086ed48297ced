//! Which options decide what a client sees of another's writes, by filesystem.

/// A sentence, by the type that the kernel names, or, where that says nothing, the daemon in `summary`.
pub fn advice(kind: &str, summary: &str) -> &'static str {
    let kind = match kind {
        "fuse" if summary.contains("daemon bindfs") => "fuse.bindfs",
        "fuse" if summary.contains("daemon mfsmount") => "fuse.mfs",
        kind => kind,
    };
    match kind {
        "nfs" | "nfs4" => {
            "What decides it on NFS: the mount options actimeo, acregmin and acregmax (how long attributes are \
             cached), noac (not at all), nocto (no look at the server when a file is opened), lookupcache; and record \
             locks, which look at the server."
        }
        "cifs" | "smb3" => {
            "What decides it on SMB: the mount options cache=strict, none or loose, actimeo, closetimeo, nolease."
        }
        "9p" => "What decides it on 9p: the mount option cache=none, loose, mmap or fscache.",
        "virtiofs" => {
            "What decides it on virtiofs: the daemon's --cache=never, metadata, auto or always."
        }
        "ceph" => {
            "CephFS clients are coherent by capabilities of the MDS; lazy I/O (client_force_lazyio) takes that away."
        }
        "fuse.ceph-fuse" => {
            "What decides it on ceph-fuse: the MDS takes back the right to cache when a writer opens the file, and \
             what is read after that stays in the kernel's page cache. With fuse_use_invalidate_cb=false a new open \
             drops it; with fuse_disable_pagecache=true there is none, and no shared mapping either."
        }
        "fuse.glusterfs" => {
            "What decides it on GlusterFS: the mount options attribute-timeout (1 s), entry-timeout, \
             fopen-keep-cache and direct-io-mode; and of the volume performance.cache-invalidation with \
             features.cache-invalidation (on: servers tell clients), performance.md-cache-timeout, \
             performance.quick-read, performance.io-cache, performance.open-behind and performance.write-behind."
        }
        "fuse.sshfs" => {
            "What decides it on sshfs: -o dir_cache=no or dcache_timeout (20 s), attr_timeout and entry_timeout, \
             auto_cache, kernel_cache, direct_io; there are no locks across clients."
        }
        "fuse.s3fs" => {
            "What decides it on s3fs: -o stat_cache_expire, max_stat_cache_size=0, use_cache, auto_cache or \
             kernel_cache, direct_io; two writers of one object overwrite each other as a whole."
        }
        "fuse.rclone" => {
            "What decides it on rclone: --attr-timeout, --dir-cache-time, --poll-interval, --vfs-cache-mode, \
             --vfs-write-back; two writers of one object overwrite each other as a whole."
        }
        "fuse.bindfs" => {
            "What decides it on bindfs: -o attr_timeout and entry_timeout, kernel_cache, auto_cache, direct_io, \
             and --enable-lock-forwarding for locks."
        }
        kind if kind.starts_with("fuse.juicefs") => {
            "What decides it on JuiceFS: --attr-cache, --entry-cache, --open-cache (close-to-open as long as it is \
             0), --writeback."
        }
        kind if kind.starts_with("fuse.mfs") || kind.contains("moosefs") => {
            "What decides it on MooseFS: -o mfscachemode (DIRECT, FBSDAUTO, AUTO, NEVER), mfsattrcacheto, \
             mfsentrycacheto, mfswritecachesize."
        }
        kind if kind.starts_with("fuse.blobfuse") => {
            "What decides it on blobfuse2: file_cache timeout-sec, attr_cache timeout-sec, --direct-io; two writers \
             of one blob overwrite each other as a whole."
        }
        "lustre" | "ocfs2" | "gfs2" => {
            "Clients of this filesystem are coherent by a lock manager; localflock and nolock take locks away."
        }
        _ if kind.starts_with("fuse") => {
            "What decides it on FUSE: what the daemon tells the kernel. attr_timeout and entry_timeout (how long \
             attributes are cached), kernel_cache (FOPEN_KEEP_CACHE: an open keeps the page cache), auto_cache \
             (AUTO_INVAL_DATA: dropped when the mtime has changed), direct_io (no page cache), and \
             FUSE_NOTIFY_INVAL_INODE, by which a daemon tells that another client has written."
        }
        _ => {
            "What decides it are the mount options of this filesystem: look for attribute caches and cache modes."
        }
    }
}
