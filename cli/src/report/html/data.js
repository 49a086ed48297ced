// The data: columns of records, sorted by time, as html/data.rs wrote them.

const data = JSON.parse(document.getElementById("data").textContent);
const count = data.t.length;
const PAGE = data.page_size;

// Begin and end of each record, ns since data.base.
const begin = new Float64Array(count);
const end = new Float64Array(count);
{
  let now = 0;
  for (let i = 0; i < count; i++) {
    now += data.t[i];
    begin[i] = now;
    end[i] = now + Math.max(0, data.d[i]);
  }
}
// What few records have, by index.
const more = new Map(data.x);
const NOTHING = {};
const extra = (i) => more.get(i) || NOTHING;
const eventOf = (i) => data.events[data.e[i]];
const isDaemon = (lane) => data.lanes[lane].daemon !== undefined;

const whole = { from: 0, to: 1 };
for (let i = 0; i < count; i++) whole.to = Math.max(whole.to, end[i]);
{
  const margin = whole.to * 0.02;
  whole.from -= margin;
  whole.to += margin;
}

const STEPS = new Set(["dirty", "copy", "flush", "fdatasync", "fsync", "verify", "heal", "drop"]);
const TROUBLE = new Set(["report", "reverify", "race", "finding", "bypass", "bad-value"]);

function seconds(ns, digits) {
  return (ns / 1e9).toFixed(digits === undefined ? 6 : digits);
}

function duration(ns) {
  if (ns < 0) return "";
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toFixed(1)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(1)} ms`;
  return `${(ns / 1e9).toFixed(2)} s`;
}

// Date and time in UTC, to the nanosecond, which numbers cannot hold.
function utc(ns) {
  const time = BigInt(data.base) + BigInt(Math.round(ns));
  const date = new Date(Number(time / 1000000n));
  if (Number.isNaN(date.getTime())) return `${time} ns`;
  const fraction = (time % 1000000000n).toString().padStart(9, "0");
  return `${date.toISOString().slice(0, 19).replace("T", " ")}.${fraction}Z`;
}

function grouped(number) {
  return String(number).replace(/\B(?=(\d{3})+(?!\d))/g, " ");
}

function counted(number, one) {
  return `${grouped(number)} ${one}${number === 1 ? "" : "s"}`;
}

const fileName = (file) => (file < 0 ? "" : data.files[file].path);

function laneName(lane) {
  const { pid, tid, daemon } = data.lanes[lane];
  if (daemon !== undefined) return `daemon ${daemon}`;
  return pid === tid ? `${pid}` : `${pid}/${tid}`;
}

function rangeText(i) {
  const offset = data.o[i], length = data.n[i];
  if (offset < 0) return length < 0 ? "" : counted(length, "byte");
  return length < 0 ? `from ${offset}` : `[${offset},${offset + length})`;
}

// An element with properties and children; text is never taken for markup.
function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const byId = (id) => document.getElementById(id);
