// LMDB for Node with a writable map; the library commits, and syncs, in a thread of its own. Its
// overlapping sync is off: after a crash it tells by the boot whether to go back to what was synced.

import { writeSync } from 'node:fs';
import { createRequire } from 'node:module';
const { open } = createRequire(process.env.NODE_PATH + '/')('lmdb');

const [dir, count, seed, how] = process.argv.slice(2);
const db = open({
    path: dir + '/db',
    useWritemap: true,
    overlappingSync: false,
    encoding: 'string',
    keyEncoding: 'ordered-binary',
    mapSize: 64 << 20,
});
for (let number = 0; number < count; number++) {
    const key = 'k' + String(number).padStart(6, '0');
    const value = (key + seed).repeat(1 + number * 7919 % 400);
    await db.put(key, value);
    await db.flushed;
    const line = Buffer.from(`${key} ${value}\n`);
    for (let at = 0; at < line.length;) at += writeSync(1, line, at);
}
if (how === 'hold') {
    writeSync(1, 'hold\n');
    await new Promise(() => setInterval(() => {}, 1000));
}
await db.close();
