// The head of the page, the filters, the sums; and the start of all.

function figure(name, value, bad) {
  return make("div", bad ? { class: "bad" } : {}, make("dt", {}, name), make("dd", {}, grouped(value)));
}

function startHead() {
  const { summary } = data;
  const tears = data.tears.length + data.more_tears;
  byId("span").textContent = count === 0 ? "no records" : `${utc(0)}, ${duration(data.span)}, from ${data.logs} log${data.logs === 1 ? "" : "s"}`;
  const verdict = byId("verdict");
  verdict.className = tears ? "bad" : "";
  verdict.textContent = tears ? `Data is at risk: ${tears} time${tears === 1 ? "" : "s"} msync's data was not safe, or may not have been. The bytes are under Tears.`
    : "No data is known to be at risk.";
  if (data.seen > count) verdict.append(` This page holds ${grouped(count)} of ${counted(data.seen, "record")}: a sample of whole calls, and all that failed.`);
  if (data.unreadable > 0) verdict.append(` ${counted(data.unreadable, "line")} of the logs could not be read.`);
  byId("figures").replaceChildren(figure("records", summary.records), figure("processes", summary.processes.length), figure("files", summary.files.length),
    figure("msyncs", summary.total.msyncs), figure("failed", summary.total.failed, summary.total.failed > 0), figure("pages dirty", summary.total.dirty),
    figure("pages verified", summary.total.verified), figure("msyncs healed", summary.total.healed), figure("tears", tears, tears > 0));
}

function option(value, text) {
  return make("option", { value: String(value) }, text);
}

function startFilters() {
  const files = data.files.map((file, id) => [id, file.path]);
  const several = new Set(files.map(([, path]) => path).filter((path, n, all) => all.indexOf(path) !== n));
  const name = ([id, path]) => option(id, several.has(path) ? `${path} (inode ${data.files[id].ino})` : path);
  byId("filter-file").replaceChildren(option(-1, "all"), ...files.map(name));
  byId("map-file").replaceChildren(...files.map(name));
  byId("filter-process").replaceChildren(option(-1, "all"), ...summaryPids().map((pid) => option(pid, String(pid))));
  byId("filter-file").addEventListener("change", (event) => {
    const file = Number(event.target.value);
    setFilter({ file });
    if (file >= 0) showFile(file);
  });
  byId("filter-process").addEventListener("change", (event) => setFilter({ process: Number(event.target.value) }));
  byId("filter-trouble").addEventListener("change", (event) => setFilter({ trouble: event.target.checked }));
  const times = () => {
    const from = Number(byId("filter-from").value) * 1e9, to = Number(byId("filter-to").value) * 1e9;
    if (Number.isFinite(from) && Number.isFinite(to) && from < to) setView(from, to);
    else showTimes();
  };
  byId("filter-from").addEventListener("change", times);
  byId("filter-to").addEventListener("change", times);
  byId("filters").addEventListener("submit", (event) => { event.preventDefault(); times(); });
  byId("filter-reset").addEventListener("click", () => {
    byId("filter-file").value = "-1";
    byId("filter-process").value = "-1";
    byId("filter-trouble").checked = false;
    setFilter({ file: -1, process: -1, trouble: false });
    setView(whole.from, whole.to);
  });
  listeners.push((what) => { if (what.has("view")) showTimes(); });
}

function summaryPids() {
  return [...new Set(data.lanes.filter((lane) => lane.pid !== undefined).map((lane) => lane.pid))].sort((a, b) => a - b);
}

function showTimes() {
  const { from, to } = state.view;
  const digits = Math.max(3, Math.min(9, Math.ceil(11 - Math.log10(to - from))));
  byId("filter-from").value = seconds(from, digits);
  byId("filter-to").value = seconds(to, digits);
}

const ROWS_AT_ONCE = 100;

const isFigure = (value) => typeof value === "number" || (typeof value === "string" && /^[\d.]+ (ns|µs|ms|s)$/.test(value));

function sumTable(title, head, rows) {
  if (rows.length === 0) return null;
  const cell = (value) => make("td", isFigure(value) ? { class: "number" } : {}, typeof value === "number" ? grouped(value) : value);
  const note = rows.length > ROWS_AT_ONCE ? ` (the first ${ROWS_AT_ONCE} of ${rows.length})` : "";
  return make("div", { class: "frame" }, make("table", {}, make("caption", {}, title + note),
    make("thead", {}, make("tr", {}, ...head.map((name, n) => make("th", isFigure(rows[0][n]) ? { scope: "col", class: "number" } : { scope: "col" }, name)))),
    make("tbody", {}, ...rows.slice(0, ROWS_AT_ONCE).map((row) => make("tr", {}, ...row.map(cell))))));
}

function startSums() {
  const head = ["records", "msyncs", "failed", "healed", "dirty", "verified", "newer", "stale", "uncertain", "dropped", "reads", "median", "longest"];
  const figures = (row) => [row.records, row.msyncs, row.failed, row.healed, row.dirty, row.verified, row.newer, row.stale, row.uncertain, row.dropped, row.reads, duration(row.median), duration(row.longest)];
  const choose = (id, value, text) => make("button", { type: "button", class: "link", onclick: () => {
    byId(id).value = String(value);
    byId(id).dispatchEvent(new Event("change"));
    byId("filters").scrollIntoView({ behavior: "instant" });
  } }, text);
  const { summary } = data;
  const tables = [
    sumTable("Files", ["file", ...head], summary.files.map((row, id) => [choose("filter-file", id, data.files[id].path), ...figures(row)])),
    sumTable("Processes", ["process", ...head], summary.processes.map((row) => [choose("filter-process", row.pid, String(row.pid)), ...figures(row)])),
    sumTable("msync, its steps, and reads", ["", "count", "in all", "median", "99 %", "longest"],
      summary.steps.map((row) => [row.name, row.count, duration(row.total), duration(row.median), duration(row.most), duration(row.longest)])),
    sumTable("Findings", ["finding", "times", "what", "file"], summary.findings.map((row) => [row.code, row.count, row.message, row.file < 0 ? "" : data.files[row.file].path])),
  ];
  byId("sums").replaceChildren(...tables.filter((table) => table !== null));
}

startHead();
startFilters();
startTimeline();
startMap();
startTears();
startRecords();
startSums();
{
  // The file with the most to tell first.
  const weigh = (row) => row.tears * 1e9 + row.msyncs;
  const files = data.summary.files;
  const best = files.reduce((best, row, id) => (weigh(row) > weigh(files[best]) ? id : best), 0);
  showFile(files.length ? best : -1);
}
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); notify("colours"); });
new ResizeObserver(() => notify("size")).observe(document.querySelector("main"));
filter();
showTimes();
for (const what of ["filter", "view"]) changed.add(what);
draw();
document.documentElement.dataset.ready = "yes";
