import { writeSync } from 'node:fs';
import { createRequire } from 'node:module';
const { open } = createRequire(process.env.NODE_PATH + '/')('lmdb');
const db = open({ path: process.argv[2] + '/db', readOnly: true, encoding: 'string', keyEncoding: 'ordered-binary' });
for (const { key, value } of db.getRange()) writeSync(1, `${key} ${value}\n`);
