node "$CLIENT/check.mjs" .
