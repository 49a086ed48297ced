// What the records say of a file's pages in time: a list of paintings, each a range of the file, in
// a state from a time on, until a later one paints over it.

// [from ns, offset, end offset, state, to ns or Infinity]
function paintings(file) {
  const list = [];
  const calls = new Map();
  let size = 0;
  const reach = (offset, length) => { size = Math.max(size, offset + length); };
  for (let i = 0; i < count; i++) {
    if (data.f[i] !== file || isDaemon(data.l[i])) continue;
    const event = eventOf(i);
    if (event === "mmap" && data.o[i] >= 0) reach(data.o[i], Math.max(0, data.n[i]));
    if (event === "msync" && data.n[i] >= 0 && data.o[i] >= 0) reach(data.o[i], data.n[i]);
    if (data.c[i] === 0) continue;
    const key = callKey(i);
    let call = calls.get(key);
    if (call === undefined) {
      call = { records: [], dirty: null, tear: null, end: 0 };
      calls.set(key, call);
    }
    call.records.push(i);
    const { dirty, tear } = extra(i);
    if (dirty && (event === "dirty" || event === "msync")) call.dirty = dirty;
    if (tear !== undefined) call.tear = data.tears[tear];
    call.end = Math.max(call.end, end[i]);
  }
  for (const call of calls.values()) paintCall(list, call, reach);
  list.sort((a, b) => a[0] - b[0]);
  return { list, size: Math.max(size, PAGE), touched: touched(list) };
}

function paintCall(list, call, reach) {
  const tear = call.tear;
  const ranges = [];
  const source = call.dirty || (tear && tear.dirty) || [];
  for (let k = 0; k + 1 < source.length; k += 2) ranges.push([source[k], source[k] + source[k + 1]]);
  for (const [from, to] of ranges) reach(from, to - from);
  const paint = (time, state) => {
    for (const [from, to] of ranges) list.push([time, from, to, state]);
  };
  let final = null, healed = false;
  for (const i of call.records) {
    const event = eventOf(i);
    const failed = extra(i).result < 0;
    if (event === "dirty") paint(begin[i], "dirty");
    else if (event === "copy") paint(begin[i], "dirty");
    else if ((event === "flush" || event === "fdatasync") && !failed) paint(end[i], "flushed");
    else if (event === "verify" && !failed && !healed && !tear) paint(end[i], "verified");
    else if (event === "heal") { healed = true; paint(begin[i], "healing"); }
    else if (event === "drop" && !tear) paint(begin[i], healed ? "healed" : "dropped");
    else if (event === "msync") {
      if (call.records.length === 1) paint(begin[i], "dirty");
      const { verdicts, rung, dropped_pages: dropped } = extra(i);
      if (failed) final = "dirty";
      else if (rung) final = "healed";
      else if (verdicts && dropped) final = "dropped";
      else if (verdicts) final = "verified";
      else final = "flushed";
    }
  }
  if (final !== null) paint(call.end, final);
  if (tear) {
    for (const page of tear.pages) {
      const state = page.verdict === "stale" ? "torn" : page.verdict === "uncertain" ? "uncertain" : page.verdict === "newer" ? "dropped" : page.rung ? "healed" : "verified";
      reach(page.start, page.end - page.start);
      list.push([call.end, page.start, page.end, state, page]);
    }
  }
}

// The range of the file that anything was said about.
function touched(list) {
  let from = Infinity, to = 0;
  for (const painting of list) {
    from = Math.min(from, painting[1]);
    to = Math.max(to, painting[2]);
  }
  return from < to ? [from, to] : [0, PAGE];
}
