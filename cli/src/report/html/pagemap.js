// The page map: the file from top to bottom, time from left to right.

const map = { canvas: byId("map"), file: -1, pages: null, from: 0, to: PAGE, outline: null };
const SMALLEST = 24; // bytes from top to bottom

function showFile(file) {
  map.file = file;
  byId("map-file").value = String(file);
  map.pages = file < 0 ? null : paintings(file);
  if (map.pages) {
    [map.from, map.to] = [0, map.pages.size];
    const [from, to] = map.pages.touched;
    // A few pages of a large file would not be seen.
    if (to - from < map.pages.size / 50) zoomPages();
  }
  drawMap();
}

function zoomPages() {
  const [from, to] = map.pages.touched;
  const margin = Math.max(PAGE, Math.ceil((to - from) / 10 / PAGE) * PAGE);
  setRange(from - margin, to + margin);
}

function setRange(from, to) {
  const most = Math.ceil(map.pages.size / PAGE) * PAGE;
  const height = Math.min(Math.max(to - from, SMALLEST), most);
  const top = Math.min(Math.max((from + to - height) / 2, 0), most - height);
  [map.from, map.to] = [top, top + height];
  byId("map-say").textContent = `Bytes ${Math.floor(map.from)} to ${Math.ceil(map.to)}, pages ${Math.floor(map.from / PAGE)} to ${Math.ceil(map.to / PAGE) - 1}.`;
  notify("range");
}

function zoomRange(factor) {
  const centre = (map.from + map.to) / 2, half = ((map.to - map.from) / 2) * factor;
  setRange(centre - half, centre + half);
}

function moveRange(share) {
  const by = (map.to - map.from) * share;
  const most = Math.ceil(map.pages.size / PAGE) * PAGE;
  const room = by < 0 ? Math.max(by, -map.from) : Math.min(by, most - map.to);
  setRange(map.from + room, map.to + room);
}

function drawMap() {
  const { canvas, pages } = map;
  const width = canvas.parentElement.clientWidth, height = 340;
  const g = prepare(canvas, width, height);
  drawAxis(g, width, height);
  if (!pages) {
    g.fillStyle = colours.soft;
    g.textAlign = "left";
    g.fillText("No file.", GUTTER + 10, AXIS + 30);
    return;
  }
  const scale = (height - AXIS) / (map.to - map.from);
  const yOf = (offset) => AXIS + (offset - map.from) * scale;
  g.save();
  g.beginPath();
  g.rect(GUTTER, AXIS, width - GUTTER, height - AXIS);
  g.clip();
  g.fillStyle = colours.clean;
  g.fillRect(GUTTER, yOf(0), width - GUTTER, Math.min(height, yOf(pages.size)) - yOf(0));
  const torn = paintPages(g, pages.list, width, yOf);
  for (const [page, x, next] of torn) drawBytes(g, page, x, next, scale, yOf);
  drawReads(g, width, yOf);
  drawPageLines(g, width, height, scale, yOf);
  drawOutline(g, map.outline);
  g.restore();
  drawOffsets(g, height, scale, yOf);
}

// Paints in order of time, each until the right edge, so that the latest is what is seen.
// Returns the torn pages in sight, with where they begin.
function paintPages(g, list, width, yOf) {
  const torn = [];
  for (const [time, from, to, state, page] of list) {
    if (to <= map.from || from >= map.to || time > stateView().to) continue;
    const x = Math.max(GUTTER, xOf(time, width));
    const y = yOf(from), tall = Math.max(1.2, yOf(to) - y);
    g.fillStyle = colours[state] || colours.clean;
    g.fillRect(x, y, width - x, tall);
    if (page && (state === "torn" || state === "uncertain")) {
      torn.push([page, x, width]);
      hatch(g, x, y, width - x, tall);
    }
    if (x > GUTTER && tall > 5) {
      g.fillStyle = colours.card;
      g.fillRect(x, y, 0.6, tall);
    }
  }
  return torn;
}

const stateView = () => state.view;

// Lines across, so that colour is not all that tells.
function hatch(g, x, y, wide, tall) {
  if (tall < 5) return;
  g.save();
  g.beginPath();
  g.rect(x, y, wide, tall);
  g.clip();
  g.strokeStyle = colours.card;
  g.globalAlpha = 0.35;
  g.beginPath();
  for (let at = x - tall; at < x + wide; at += 9) {
    g.moveTo(at, y + tall);
    g.lineTo(at + tall, y);
  }
  g.stroke();
  g.restore();
}

// The bytes of a torn page that the log has, where there is room for them.
function drawBytes(g, page, x, right, scale, yOf) {
  if (page.first_diff === undefined || right - x < 60) return;
  const expected = hexBytes(page.expected_hex), actual = hexBytes(page.actual_hex);
  if (scale * PAGE > 60) {
    // What precedes the first difference is as it was synced.
    g.fillStyle = colours.verified;
    g.fillRect(x, yOf(page.start), right - x, yOf(page.first_diff) - yOf(page.start));
  }
  if (scale < 2) return;
  g.font = "11px ui-monospace, 'DejaVu Sans Mono', monospace";
  g.textAlign = "left";
  for (let k = 0; k < Math.max(expected.length, actual.length); k++) {
    const y = yOf(page.first_diff + k);
    if (y > 400 || y + scale < AXIS) continue;
    const same = expected[k] === actual[k];
    g.fillStyle = same ? colours.verified : colours.torn;
    g.fillRect(x, y, right - x, Math.max(1, scale - 0.6));
    if (scale >= 9) {
      g.fillStyle = inkOn(g.fillStyle);
      const text = same ? `${hex(actual[k])} ${ascii(actual[k])}` : `expected ${hex(expected[k])} ${ascii(expected[k])}   actual ${hex(actual[k])} ${ascii(actual[k])}`;
      g.fillText(`${page.first_diff + k}   ${text}`, x + 8, y + scale / 2);
    }
  }
  g.font = "11px system-ui, 'DejaVu Sans', sans-serif";
}

// Reads of the program and writes that the daemon saw, as frames.
function drawReads(g, width, yOf) {
  for (let n = firstAt(state.passing, state.view.from - 1e9); n < state.passing.length; n++) {
    const i = state.passing[n];
    if (begin[i] > state.view.to) break;
    if (data.f[i] !== map.file || data.o[i] < 0 || data.n[i] <= 0) continue;
    const event = eventOf(i), daemon = isDaemon(data.l[i]);
    const write = daemon && daemonRow(event) === 0;
    if (event !== "read" && !write) continue;
    const x = xOf(begin[i], width), wide = xOf(end[i], width) - x;
    if (wide < 3) continue; // seen from afar they would hide the pages
    g.strokeStyle = write ? colours.ink : colours.read;
    g.lineWidth = 1.5;
    g.strokeRect(x, yOf(data.o[i]), wide, Math.max(3, yOf(data.o[i] + data.n[i]) - yOf(data.o[i])));
    g.lineWidth = 1;
  }
}

function drawPageLines(g, width, height, scale, yOf) {
  if (PAGE * scale < 8) return;
  g.strokeStyle = colours.card;
  g.globalAlpha = 0.5;
  g.beginPath();
  for (let at = Math.ceil(map.from / PAGE) * PAGE; at < map.to; at += PAGE) {
    g.moveTo(GUTTER, Math.round(yOf(at)) + 0.5);
    g.lineTo(width, Math.round(yOf(at)) + 0.5);
  }
  g.stroke();
  g.globalAlpha = 1;
}

function drawOffsets(g, height, scale, yOf) {
  const least = 26 / scale;
  let step = 1;
  while (step < least) step *= step < PAGE && step * 4 > PAGE ? PAGE / step : 4;
  g.textAlign = "right";
  for (let at = Math.ceil(map.from / step) * step; at < map.to; at += step) {
    const y = yOf(at);
    if (y < AXIS + 8 || y > height - 4) continue;
    g.fillStyle = colours.soft;
    g.fillText(step >= PAGE ? `${grouped(at)}  p ${at / PAGE}` : grouped(at), GUTTER - 10, y);
    g.fillStyle = colours.line;
    g.fillRect(GUTTER - 6, y, 6, 1);
  }
}

// What the map says of a place: the latest painting there.
function mapAt(x, y) {
  if (!map.pages || x < GUTTER || y < AXIS) return null;
  const width = map.canvas.clientWidth, height = 340;
  const time = timeOf(x, width);
  const offset = map.from + ((y - AXIS) / (height - AXIS)) * (map.to - map.from);
  let found = null;
  for (const painting of map.pages.list) {
    if (painting[0] > time) break;
    if (painting[1] <= offset && offset < painting[2]) found = painting;
  }
  return { time, offset: Math.floor(offset), found };
}

const MEANING = {
  dirty: "dirty: stored to, not synced", flushed: "flushed: written and synced, not read back", verified: "verified: read back as it was synced",
  dropped: "verified, and dropped from the page cache: the next read asks the filesystem", healing: "being healed: the filesystem holds something else; it is tried again", healed: "healed: wrong at first, right after trying again",
  torn: "TORN: the filesystem does not hold what was synced", uncertain: "UNCERTAIN: the filesystem holds something else, and the page cache was lost",
};

function startMap() {
  legend("map-legend", [["clean or unknown", "clean"], ["dirty", "dirty"], ["flushed", "flushed"], ["verified", "verified"],
    ["verified and dropped", "dropped"], ["being healed", "healing"], ["healed", "healed"], ["torn", "torn"], ["uncertain", "uncertain"], ["read (frame)", "read"]]);
  const { canvas } = map;
  const keys = {
    ArrowUp: () => moveRange(-0.2), ArrowDown: () => moveRange(0.2), "+": () => zoomRange(0.5), "=": () => zoomRange(0.5),
    "-": () => zoomRange(2), 0: () => setRange(0, map.pages.size), ArrowLeft: () => moveTime(-0.2), ArrowRight: () => moveTime(0.2),
  };
  const buttons = { in: keys["+"], out: keys["-"], up: () => moveRange(-0.3), down: () => moveRange(0.3), fit: keys[0], pages: zoomPages };
  const guarded = (act) => () => { if (map.pages) act(); };
  for (const button of document.querySelectorAll("[data-map]")) button.addEventListener("click", guarded(buttons[button.dataset.map]));
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
    event.preventDefault();
    guarded(keys[event.key])();
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    guarded(() => zoomRange(event.deltaY > 0 ? 1.25 : 0.8))();
  }, { passive: false });
  const offsetOf = (y) => map.from + ((Math.max(y, AXIS) - AXIS) / (340 - AXIS)) * (map.to - map.from);
  draggable(canvas, {
    box: guarded2((box) => {
      const [low, high] = [offsetOf(box.y0), offsetOf(box.y1)];
      if (box.y1 - box.y0 > 6) setRange(low, high);
      if (box.x1 - box.x0 > 6) setView(timeOf(Math.max(box.x0, GUTTER), canvas.clientWidth), timeOf(Math.max(box.x1, GUTTER), canvas.clientWidth));
    }),
    move: guarded2((dx, dy) => {
      moveTime(-dx / (canvas.clientWidth - GUTTER));
      moveRange(-dy / (340 - AXIS));
    }),
    outline: (box) => { map.outline = box; drawMap(); },
    click: () => {},
    hover: (x, y, event) => {
      const at = mapAt(x, y);
      if (!at) hideTip();
      else showTip(`byte ${grouped(at.offset)}, page ${Math.floor(at.offset / PAGE)}, at ${seconds(at.time)} s\n${at.found ? MEANING[at.found[3]] : "clean, or nothing known"}`, event);
    },
  });
  canvas.addEventListener("dblclick", guarded(() => { setRange(0, map.pages.size); setView(whole.from, whole.to); }));
  byId("map-file").addEventListener("change", (event) => showFile(Number(event.target.value)));
  listeners.push(drawMap);
}

function guarded2(act) {
  return (...of) => { if (map.pages) act(...of); };
}

function hexBytes(text) {
  const bytes = [];
  for (let k = 0; k + 1 < (text || "").length; k += 2) bytes.push(parseInt(text.slice(k, k + 2), 16));
  return bytes;
}
const hex = (byte) => (byte === undefined ? "  " : byte.toString(16).padStart(2, "0"));
const ascii = (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·");
