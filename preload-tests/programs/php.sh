# Its cache of compiled scripts, in memory that processes share and in files, and compiled to machine code.
mkdir cache
php() { command php -d opcache.enable_cli=1 -d opcache.file_update_protection=0 "$@"; }
cat >a.php <<'PHP'
<?php
require 'b.php';
$sum = 0;
for ($i = 0; $i < 100000; $i++) $sum += twice($i);
echo $sum, "\n";
echo opcache_get_status()['opcache_enabled'] ? "cached" : "not cached", "\n";
$memory = shmop_open(0x6b6d64, "c", 0600, 4096);
shmop_write($memory, "shared", 0);
echo shmop_read($memory, 0, 6), "\n";
shmop_delete($memory);
$child = proc_open(['sh', '-c', 'exit 3'], [], $pipes);
echo proc_close($child), "\n";
PHP
echo '<?php function twice($x) { return 2 * $x; }' >b.php
for model in mmap shm posix; do
    code php -d opcache.preferred_memory_model=$model -d opcache.lockfile_path="$PWD" a.php
done
for round in 1 2; do
    code php -d opcache.file_cache="$PWD/cache" -d opcache.file_cache_only=0 a.php
done
find cache -type f | sed 's,.*/,,' | sort
code php -d opcache.jit_buffer_size=16M -d opcache.jit=tracing a.php
