// What both canvases share: size, colours, the time axis, dragging.

const GUTTER = 132;
const AXIS = 24;
let colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["card", "ink", "soft", "line", "faint", "accent", "bad", "dirty", "flushed", "verified",
    "dropped", "healing", "healed", "torn", "uncertain", "clean", "msync", "copy", "read", "other"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
}
readColours();

// The context of a canvas of this size in CSS pixels, cleared.
function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.fillStyle = colours.card;
  g.fillRect(0, 0, width, height);
  g.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  g.textBaseline = "middle";
  return g;
}

const xOf = (time, width) =>
  GUTTER + ((time - state.view.from) / (state.view.to - state.view.from)) * (width - GUTTER);
const timeOf = (x, width) =>
  state.view.from + ((x - GUTTER) / (width - GUTTER)) * (state.view.to - state.view.from);

// Black or white, whichever can be read on a colour.
function inkOn(colour) {
  const [red, green, blue] = colour.match(/[0-9a-f]{2}/gi).map((part) => (parseInt(part, 16) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.22 ? "#0b0f14" : "#ffffff";
}

// A round step, 1, 2 or 5 times a power of ten, not less than this.
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  for (const factor of [1, 2, 5, 10]) if (power * factor >= least) return power * factor;
  return power * 10;
}

function drawAxis(g, width, height) {
  const { from, to } = state.view;
  const step = Math.max(1, roundStep(((to - from) * 110) / (width - GUTTER)));
  const digits = Math.max(0, Math.min(9, Math.ceil(9 - Math.log10(step) - 1e-9)));
  g.strokeStyle = colours.faint;
  g.fillStyle = colours.soft;
  g.textAlign = "center";
  g.lineWidth = 1;
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
    const x = Math.round(xOf(time, width)) + 0.5;
    if (x < GUTTER) continue;
    g.beginPath();
    g.moveTo(x, AXIS);
    g.lineTo(x, height);
    g.stroke();
    if (x > GUTTER + 20 && x < width - 30) g.fillText(`${seconds(time, digits)} s`, x, AXIS / 2);
  }
  g.strokeStyle = colours.line;
  g.beginPath();
  g.moveTo(0, AXIS - 0.5);
  g.lineTo(width, AXIS - 0.5);
  g.stroke();
}

// Text in the gutter, shortened from the left where it is too long.
function gutterText(g, text, x, y, space) {
  let shown = text;
  while (shown.length > 3 && g.measureText(shown).width > space) shown = `…${shown.slice(2)}`;
  g.fillText(shown, x, y);
}

// Calls drag.box({x0,y0,x1,y1}) for a drag, drag.move(dx, dy) for one with Shift, and
// drag.click(x, y) and drag.hover(x, y, event).
function draggable(canvas, drag) {
  let from = null, last = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = at(event);
    last = from;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = at(event);
    if (from === null) {
      drag.hover(now.x, now.y, event);
      return;
    }
    if (event.shiftKey) {
      drag.move(now.x - last.x, now.y - last.y);
      from = now;
    } else drag.outline({ x0: from.x, y0: from.y, x1: now.x, y1: now.y });
    last = now;
  });
  canvas.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const now = at(event), begun = from;
    from = null;
    drag.outline(null);
    if (event.shiftKey) return;
    if (Math.abs(now.x - begun.x) < 4 && Math.abs(now.y - begun.y) < 4) drag.click(now.x, now.y);
    else drag.box({ x0: Math.min(now.x, begun.x), y0: Math.min(now.y, begun.y), x1: Math.max(now.x, begun.x), y1: Math.max(now.y, begun.y) });
  });
  canvas.addEventListener("pointercancel", () => { from = null; drag.outline(null); });
  canvas.addEventListener("pointerleave", () => hideTip());
}

function showTip(text, event) {
  const tip = byId("tip");
  tip.textContent = text;
  tip.hidden = false;
  const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
  const top = event.clientY + 18 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${top}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}

function drawOutline(g, box) {
  if (!box) return;
  g.save();
  g.globalAlpha = 0.15;
  g.fillStyle = colours.accent;
  g.fillRect(box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0);
  g.globalAlpha = 1;
  g.strokeStyle = colours.accent;
  g.strokeRect(box.x0 + 0.5, box.y0 + 0.5, box.x1 - box.x0, box.y1 - box.y0);
  g.restore();
}

function legend(id, entries) {
  byId(id).replaceChildren(...entries.map(([name, colour]) =>
    make("li", {}, make("i", { style: `background: var(--${colour})` }), name)));
}
