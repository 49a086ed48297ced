// The list of records, of which only what is in sight exists as elements; and one in detail.

const LINE = 26;
const HIGHEST = 8e6; // browsers have a limit
const list = { frame: byId("records"), body: byId("records-body"), indices: new Int32Array(0), first: -1 };

// The records that the filters let through and that are in the view.
function inView() {
  const { from, to } = state.view;
  const found = [];
  for (const i of state.passing) {
    if (begin[i] > to) break;
    if (end[i] >= from) found.push(i);
  }
  return Int32Array.from(found);
}

function refreshList() {
  list.indices = inView();
  byId("count").textContent = `${grouped(list.indices.length)} of ${counted(count, "record")}`;
  byId("records-table").setAttribute("aria-rowcount", String(list.indices.length + 1));
  list.first = -1;
  drawList();
}

function drawList() {
  const { frame, body, indices } = list;
  const total = indices.length * LINE;
  const ratio = Math.max(1, total / HIGHEST);
  const shown = Math.ceil(frame.clientHeight / LINE) + 12;
  const at = Math.floor((frame.scrollTop * ratio) / LINE);
  const first = Math.max(0, Math.min(at - 6, indices.length - shown));
  if (first === list.first) return;
  list.first = first;
  const last = Math.min(indices.length, first + shown);
  const focused = body.contains(document.activeElement);
  const space = (height) => make("tr", { "aria-hidden": "true" }, make("td", { colspan: "7", class: "space", style: `height: ${Math.max(0, height)}px` }));
  const rows = [space((first * LINE) / ratio)];
  for (let n = first; n < last; n++) rows.push(recordRow(indices[n], n));
  rows.push(space((total - last * LINE) / ratio));
  if (indices.length === 0) rows.splice(1, 0, make("tr", {}, make("td", { colspan: "7" }, "No record.")));
  body.replaceChildren(...rows);
  const chosen = body.querySelector("[tabindex='0']");
  if (chosen === null && rows.length > 2 && rows[1].dataset) rows[1].tabIndex = 0;
  else if (focused && chosen !== null) chosen.focus({ preventScroll: true });
}

function recordRow(i, n) {
  const chosen = i === state.selected;
  const row = make("tr", { "aria-rowindex": String(n + 2), "aria-selected": String(chosen), tabindex: chosen ? "0" : "-1", class: isTrouble(i) ? "trouble" : "" },
    make("td", { class: "mono" }, seconds(begin[i])), make("td", {}, duration(data.d[i])), make("td", {}, laneName(data.l[i])),
    make("td", {}, eventOf(i)), make("td", {}, data.c[i] > 0 ? `#${data.c[i]}` : ""), make("td", { class: "mono" }, rangeText(i)),
    make("td", { title: fileName(data.f[i]) }, fileName(data.f[i])));
  row.dataset.record = String(i);
  return row;
}

function scrollToRecord(i) {
  const n = list.indices.indexOf(i);
  if (n < 0) return;
  const ratio = Math.max(1, (list.indices.length * LINE) / HIGHEST);
  const top = (n * LINE) / ratio, { frame } = list;
  if (top < frame.scrollTop || top + 2 * LINE > frame.scrollTop + frame.clientHeight) frame.scrollTop = Math.max(0, top - frame.clientHeight / 3);
  list.first = -1;
  drawList();
}

function moveSelection(by) {
  const n = list.indices.indexOf(state.selected);
  const next = n < 0 ? Math.max(0, list.first) : Math.min(Math.max(n + by, 0), list.indices.length - 1);
  if (list.indices[next] === undefined) return;
  state.selected = list.indices[next];
  scrollToRecord(state.selected);
  const row = list.body.querySelector(`[data-record="${state.selected}"]`);
  if (row) row.focus({ preventScroll: true });
  notify("selected");
}

function drawDetails() {
  const i = state.selected;
  if (i < 0) return;
  const rows = [["event", eventOf(i)], ["time", utc(begin[i])], ["", `at ${seconds(begin[i], 9)} s`], ["took", duration(data.d[i])],
    ["process", laneName(data.l[i])], ["call", data.c[i] > 0 ? `#${data.c[i]}` : ""], ["file", fileName(data.f[i])],
    ["device, inode", data.f[i] >= 0 ? [data.files[data.f[i]].dev, data.files[data.f[i]].ino].filter(Boolean).join(", ") : ""],
    ["range", rangeText(i)]];
  for (const [name, value] of Object.entries(extra(i))) {
    if (name === "tear") continue;
    rows.push([name.replaceAll("_", " "), name === "dirty" ? dirtyText(value) : typeof value === "object" ? JSON.stringify(value).replaceAll('"', "").replaceAll(",", ", ") : String(value)]);
  }
  const content = make("dl", {}, ...rows.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  const call = data.c[i] > 0 ? make("p", { style: "margin-top: 10px" }, make("button", { type: "button", onclick: () => zoomTo(i) }, "Zoom to it")) : null;
  byId("details").replaceChildren(content, ...(call ? [call] : []));
}

function dirtyText(dirty) {
  const parts = [];
  for (let k = 0; k + 1 < dirty.length && k < 32; k += 2) parts.push(`[${dirty[k]},${dirty[k] + dirty[k + 1]})`);
  if (dirty.length > 32) parts.push(`and ${dirty.length / 2 - 16} more`);
  return parts.join(" ");
}

function startRecords() {
  list.frame.addEventListener("scroll", drawList);
  list.body.addEventListener("click", (event) => {
    const row = event.target.closest("[data-record]");
    if (row) { select(Number(row.dataset.record)); row.focus({ preventScroll: true }); }
  });
  list.body.addEventListener("dblclick", () => { if (state.selected >= 0) zoomTo(state.selected); });
  list.body.addEventListener("keydown", (event) => {
    const page = Math.floor(list.frame.clientHeight / LINE) - 2;
    const keys = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter") { if (state.selected >= 0) zoomTo(state.selected); }
    else if (keys[event.key] !== undefined) moveSelection(keys[event.key]);
    else return;
    event.preventDefault();
  });
  let late = null;
  listeners.push((what) => {
    if (what.has("selected")) { scrollToRecord(state.selected); drawDetails(); }
    if (what.has("filter")) refreshList();
    else if (what.has("view")) { clearTimeout(late); late = setTimeout(refreshList, 60); }
  });
}
