// What is chosen: files, processes, the time in view, a record. Parts of the page listen.

const state = {
  file: -1, // all
  process: -1, // all
  trouble: false,
  view: { ...whole },
  selected: -1,
  // Indices of records that the filters let through, all times; sorted by time.
  passing: new Int32Array(0),
};
const listeners = [];

// Which calls (lane and number) had trouble, and which records.
const badCalls = new Set();
const callKey = (i) => `${data.lanes[data.l[i]].pid} ${data.c[i]}`;

function isTrouble(i) {
  const event = eventOf(i);
  if (TROUBLE.has(event)) return true;
  const { result, errno } = extra(i);
  return event !== "read" && (errno !== undefined || result < 0);
}
for (let i = 0; i < count; i++) {
  if (data.c[i] > 0 && isTrouble(i)) badCalls.add(callKey(i));
}

function filter() {
  const found = [];
  for (let i = 0; i < count; i++) {
    if (state.file >= 0 && data.f[i] !== state.file) continue;
    const lane = data.lanes[data.l[i]];
    if (state.process >= 0 && lane.daemon === undefined && lane.pid !== state.process) continue;
    if (state.trouble && !isTrouble(i) && !(data.c[i] > 0 && badCalls.has(callKey(i)))) continue;
    found.push(i);
  }
  state.passing = Int32Array.from(found);
}

// The first of sorted indices whose record begins at or after a time.
function firstAt(indices, time) {
  let low = 0, high = indices.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (begin[indices[middle]] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

let due = null;
const changed = new Set();
// Parts are drawn once, however much changed until the next frame.
function notify(what) {
  changed.add(what);
  if (due !== null) return;
  due = requestAnimationFrame(draw);
}

function draw() {
  due = null;
  const what = new Set(changed);
  changed.clear();
  for (const listener of listeners) listener(what);
}

function setFilter(change) {
  Object.assign(state, change);
  filter();
  notify("filter");
}

const NARROWEST = 200; // ns

function setView(from, to) {
  const width = Math.min(Math.max(to - from, NARROWEST), whole.to - whole.from);
  let left = (from + to - width) / 2;
  left = Math.min(Math.max(left, whole.from), whole.to - width);
  state.view = { from: left, to: left + width };
  notify("view");
}

function zoomTime(factor, at) {
  const { from, to } = state.view;
  const centre = at === undefined ? (from + to) / 2 : at;
  setView(centre - (centre - from) * factor, centre + (to - centre) * factor);
}

function moveTime(share) {
  const { from, to } = state.view;
  const by = (to - from) * share;
  const room = by < 0 ? Math.max(by, whole.from - from) : Math.min(by, whole.to - to);
  setView(from + room, to + room);
}

function select(i) {
  state.selected = i;
  notify("selected");
}

// Brings a record into view with some of what surrounds it.
function zoomTo(i) {
  const around = Math.max((end[i] - begin[i]) * 0.2, 2000);
  select(i);
  setView(begin[i] - around, end[i] + around);
}
