// The timeline: a lane for each thread, with its calls, their steps below, and the steps of
// healing below those; and a lane for each daemon.

const ROW = 13;
const LANE_GAP = 8;
const COLOUR = {
  msync: "msync", read: "read", mmap: "other", munmap: "other", mremap: "other", prealloc: "other",
  dirty: "dirty", copy: "copy", flush: "flushed", fdatasync: "flushed", fsync: "flushed",
  verify: "verified", heal: "healing", drop: "dropped",
};

// How deep each record is drawn, and the lanes with what they hold.
const depth = new Uint8Array(count);
const lanes = [];

function daemonRow(event) {
  if (/^(write|apply)/i.test(event)) return 0;
  if (/^f?(data)?sync/i.test(event)) return 1;
  if (/^read/i.test(event)) return 2;
  return 3;
}

function daemonColour(event) {
  return ["dirty", "flushed", "read", "other"][daemonRow(event)];
}

{
  const healing = new Map();
  for (let i = 0; i < count; i++) {
    const event = eventOf(i);
    if (isDaemon(data.l[i])) depth[i] = daemonRow(event);
    else if (event === "heal") {
      depth[i] = 1;
      const key = callKey(i);
      if (!healing.has(key)) healing.set(key, []);
      healing.get(key).push(i);
    } else if (STEPS.has(event)) depth[i] = 1;
  }
  for (let i = 0; i < count; i++) {
    if (depth[i] !== 1 || isDaemon(data.l[i]) || eventOf(i) === "heal") continue;
    const heals = healing.get(callKey(i));
    if (heals === undefined) continue;
    const before = firstAt(heals, begin[i] + 1) - 1;
    if (before >= 0 && end[i] <= end[heals[before]]) depth[i] = 2;
  }
}

function layout() {
  lanes.length = 0;
  const of = new Map();
  for (const i of state.passing) {
    let lane = of.get(data.l[i]);
    if (lane === undefined) {
      lane = { lane: data.l[i], records: [], longest: 0, rows: 1 };
      of.set(data.l[i], lane);
    }
    lane.records.push(i);
    lane.longest = Math.max(lane.longest, end[i] - begin[i]);
    lane.rows = Math.max(lane.rows, depth[i] + 1);
  }
  lanes.push(...[...of.values()].sort((a, b) => a.lane - b.lane));
  let top = AXIS + LANE_GAP / 2;
  for (const lane of lanes) {
    lane.top = top;
    top += lane.rows * ROW + LANE_GAP;
  }
  timeline.total = Math.max(top, AXIS + 60);
  timeline.chosen = Math.min(timeline.chosen, Math.max(0, lanes.length - 1));
}

const timeline = { canvas: byId("timeline"), frame: byId("timeline-frame"), total: 0, chosen: 0, outline: null };

function drawTimeline() {
  const { canvas, frame } = timeline;
  const width = frame.clientWidth;
  const height = Math.min(timeline.total, 458);
  byId("timeline-space").style.height = `${timeline.total}px`;
  canvas.style.height = `${height}px`;
  const g = prepare(canvas, width, height);
  drawAxis(g, width, height);
  g.save();
  g.beginPath();
  g.rect(0, AXIS, width, height - AXIS);
  g.clip();
  const scrolled = frame.scrollTop;
  for (let n = 0; n < lanes.length; n++) {
    const lane = lanes[n];
    const top = lane.top - scrolled;
    if (top > height || top + lane.rows * ROW < AXIS) continue;
    drawLane(g, lane, top, width, n === timeline.chosen && document.activeElement === canvas);
  }
  drawOutline(g, timeline.outline);
  g.restore();
  if (lanes.length === 0) {
    g.fillStyle = colours.soft;
    g.textAlign = "left";
    g.fillText("No record passes the filters.", GUTTER + 10, AXIS + 30);
  }
}

function drawLane(g, lane, top, width, chosen) {
  const bottom = top + lane.rows * ROW;
  g.textAlign = "left";
  g.fillStyle = chosen ? colours.accent : colours.ink;
  gutterText(g, laneName(lane.lane), 10, top + ROW / 2, GUTTER - 20);
  if (lane.rows > 1) {
    g.fillStyle = colours.soft;
    const names = isDaemon(lane.lane) ? ["writes", "syncs", "reads", "others"] : ["", "steps", "healing"];
    for (let row = 1; row < lane.rows; row++) g.fillText(names[row], 20, top + row * ROW + ROW / 2);
  }
  g.strokeStyle = colours.faint;
  g.beginPath();
  g.moveTo(0, Math.round(bottom + LANE_GAP / 2) + 0.5);
  g.lineTo(width, Math.round(bottom + LANE_GAP / 2) + 0.5);
  g.stroke();
  g.save();
  g.beginPath();
  g.rect(GUTTER, AXIS, width - GUTTER, 10000);
  g.clip();
  const { from, to } = state.view;
  const painted = [-1, -1, -1, -1]; // up to where each row is painted already
  const marks = [];
  for (let n = firstAt(lane.records, from - lane.longest); n < lane.records.length; n++) {
    const i = lane.records[n];
    if (begin[i] > to) break;
    if (end[i] < from) continue;
    const event = eventOf(i);
    const trouble = isTrouble(i);
    if (trouble && event !== "msync") {
      marks.push(i);
      continue;
    }
    const x = xOf(begin[i], width);
    const right = Math.max(xOf(end[i], width), x + 1.5);
    const row = depth[i];
    if (right < painted[row] + 0.7 && !trouble) continue;
    painted[row] = Math.max(painted[row], right);
    const name = isDaemon(lane.lane) ? daemonColour(event) : COLOUR[event] || "other";
    const left = Math.max(x, GUTTER - 5), wide = Math.min(right, width + 5) - left;
    g.fillStyle = trouble ? colours.torn : colours[name];
    g.fillRect(left, top + row * ROW + 1, wide, ROW - 2);
    if (wide > 46) {
      g.fillStyle = inkOn(g.fillStyle);
      g.fillText(wide > 90 ? titleOf(i) : event, Math.max(left, GUTTER) + 5, top + row * ROW + ROW / 2 + 0.5);
    }
  }
  for (const i of marks) drawMark(g, i, top, width);
  if (state.selected >= 0 && data.l[state.selected] === lane.lane) {
    const i = state.selected;
    g.strokeStyle = colours.ink;
    g.lineWidth = 2;
    const x = xOf(begin[i], width);
    g.strokeRect(x - 1, top + depth[i] * ROW, Math.max(3, xOf(end[i], width) - x) + 2, ROW);
    g.lineWidth = 1;
  }
  g.restore();
}

// The event, and what tells it from others of its kind.
function titleOf(i) {
  const event = eventOf(i);
  if (event === "msync" && data.c[i] > 0) return `${event} #${data.c[i]}`;
  const { rung } = extra(i);
  return rung ? `${event} ${rung}` : event;
}

// A record that tells of trouble and has no length of its own to show.
function drawMark(g, i, top, width) {
  const x = Math.min(Math.max(xOf(begin[i], width), GUTTER + 4), width - 4);
  const event = eventOf(i);
  g.fillStyle = event === "report" || event === "reverify" ? colours.torn : colours.uncertain;
  g.beginPath();
  g.moveTo(x - 5, top - 3);
  g.lineTo(x + 5, top - 3);
  g.lineTo(x, top + 6);
  g.fill();
  g.strokeStyle = colours.card;
  g.stroke();
}

// The record at a place of the canvas, or -1.
function recordAt(x, y) {
  const inside = y + timeline.frame.scrollTop;
  const lane = lanes.find((lane) => inside >= lane.top - 4 && inside < lane.top + lane.rows * ROW + LANE_GAP / 2);
  if (lane === undefined || x < GUTTER) return -1;
  const row = Math.max(0, Math.floor((inside - lane.top) / ROW));
  const width = timeline.frame.clientWidth;
  const near = ((state.view.to - state.view.from) * 5) / (width - GUTTER);
  const time = timeOf(x, width);
  let best = -1, distance = Infinity;
  for (let n = firstAt(lane.records, time - lane.longest - near); n < lane.records.length; n++) {
    const i = lane.records[n];
    if (begin[i] > time + near) break;
    if (depth[i] !== row) continue;
    const mark = isTrouble(i) && eventOf(i) !== "msync";
    const away = mark ? Math.abs(begin[i] - time) : Math.max(0, begin[i] - time, time - end[i]);
    if (away > near) continue;
    // What is short is hard to hit, so it goes first.
    const rank = away + (end[i] - begin[i]) * 1e-6 - (mark ? near : 0);
    if (rank < distance) [best, distance] = [i, rank];
  }
  return best;
}

function describe(i) {
  const { message, reason, errno, result, dirty, answer, note } = extra(i);
  const lines = [`${titleOf(i)}${errno ? ` = ${result} ${errno}` : ""}  ${duration(data.d[i])}`];
  lines.push(`at ${seconds(begin[i], 9)} s, ${laneName(data.l[i])}`);
  if (rangeText(i)) lines.push(rangeText(i));
  if (fileName(data.f[i])) lines.push(fileName(data.f[i]));
  if (dirty) lines.push(`dirty ${dirtyText(dirty)}`);
  if (answer || note) lines.push([answer, note].filter(Boolean).join(", "));
  if (message || reason) lines.push(message || reason);
  return lines.join("\n");
}

function say(text) {
  byId("say").textContent = text;
}

function stepLane(by) {
  if (lanes.length === 0) return;
  timeline.chosen = Math.min(Math.max(timeline.chosen + by, 0), lanes.length - 1);
  const lane = lanes[timeline.chosen];
  const { frame } = timeline;
  if (lane.top - AXIS < frame.scrollTop) frame.scrollTop = lane.top - AXIS - LANE_GAP;
  const low = lane.top + lane.rows * ROW + LANE_GAP - frame.clientHeight;
  if (low > frame.scrollTop) frame.scrollTop = low;
  say(`lane ${laneName(lane.lane)}, ${counted(lane.records.length, "record")}`);
  drawTimeline();
}

function stepRecord(by) {
  const lane = lanes[timeline.chosen];
  if (lane === undefined) return;
  let n = lane.records.indexOf(state.selected);
  if (n < 0) n = by > 0 ? firstAt(lane.records, state.view.from) - 1 : firstAt(lane.records, state.view.to);
  const i = lane.records[n + by];
  if (i === undefined) return;
  select(i);
  if (begin[i] < state.view.from || begin[i] > state.view.to) {
    const half = (state.view.to - state.view.from) / 2;
    setView(begin[i] - half, begin[i] + half);
  }
  say(describe(i).replaceAll("\n", ", "));
}

const TIMELINE_KEYS = {
  ArrowLeft: () => moveTime(-0.2), ArrowRight: () => moveTime(0.2),
  "+": () => zoomTime(0.5), "=": () => zoomTime(0.5), "-": () => zoomTime(2),
  0: () => setView(whole.from, whole.to), Home: () => setView(whole.from, whole.to),
  ArrowUp: () => stepLane(-1), ArrowDown: () => stepLane(1),
  ",": () => stepRecord(-1), ".": () => stepRecord(1),
  Enter: () => { if (state.selected >= 0) zoomTo(state.selected); },
};

function startTimeline() {
  legend("timeline-legend", [["msync", "msync"], ["dirty pages found; daemon: write", "dirty"], ["copy", "copy"],
    ["flush, fsync", "flushed"], ["verify", "verified"], ["heal", "healing"], ["drop", "dropped"], ["read", "read"],
    ["failed, torn", "torn"], ["finding", "uncertain"]]);
  const { canvas, frame } = timeline;
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const act = TIMELINE_KEYS[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  });
  for (const name of ["focus", "blur"]) canvas.addEventListener(name, drawTimeline);
  frame.addEventListener("scroll", drawTimeline);
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey) {
      event.preventDefault();
      zoomTime(event.deltaY > 0 ? 1.25 : 0.8, timeOf(event.offsetX, frame.clientWidth));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      moveTime(event.deltaX / 800);
    }
  }, { passive: false });
  canvas.addEventListener("dblclick", () => setView(whole.from, whole.to));
  draggable(canvas, {
    box: (box) => setView(timeOf(Math.max(box.x0, GUTTER), frame.clientWidth), timeOf(Math.max(box.x1, GUTTER), frame.clientWidth)),
    move: (dx) => moveTime(-dx / (frame.clientWidth - GUTTER)),
    outline: (box) => {
      timeline.outline = box && { x0: box.x0, x1: box.x1, y0: AXIS, y1: canvas.clientHeight };
      drawTimeline();
    },
    click: (x, y) => {
      const i = recordAt(x, y);
      if (i >= 0) select(i);
    },
    hover: (x, y, event) => {
      const i = recordAt(x, y);
      if (i < 0) hideTip();
      else showTip(describe(i), event);
    },
  });
  const buttons = { in: () => zoomTime(0.5), out: () => zoomTime(2), left: () => moveTime(-0.3), right: () => moveTime(0.3), fit: () => setView(whole.from, whole.to) };
  for (const button of document.querySelectorAll("[data-time]")) button.addEventListener("click", buttons[button.dataset.time]);
  listeners.push((what) => {
    if (what.has("filter")) layout();
    drawTimeline();
  });
}
