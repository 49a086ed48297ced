// The tears, with a table of the pages of each and the bytes that differ.

const TEARS_AT_ONCE = 8;
const PAGES_AT_ONCE = 32;
let tearsFrom = 0;

// Those that the filters let through.
function tearsChosen() {
  return data.tears.filter((tear) =>
    (state.file < 0 || tear.file === state.file) && (state.process < 0 || data.lanes[tear.lane].pid === state.process) &&
    tear.time + Math.max(0, tear.duration) >= state.view.from && tear.time <= state.view.to);
}

function drawTears() {
  const chosen = tearsChosen();
  tearsFrom = Math.max(0, Math.min(tearsFrom, Math.floor((chosen.length - 1) / TEARS_AT_ONCE) * TEARS_AT_ONCE));
  const shown = chosen.slice(tearsFrom, tearsFrom + TEARS_AT_ONCE);
  byId("tears-pager").hidden = chosen.length <= TEARS_AT_ONCE;
  byId("tears-where").textContent = `${tearsFrom + 1} to ${tearsFrom + shown.length} of ${chosen.length}`;
  byId("tears-back").disabled = tearsFrom === 0;
  byId("tears-forth").disabled = tearsFrom + TEARS_AT_ONCE >= chosen.length;
  byId("tears-title").textContent = data.tears.length === 0 ? "Tears: none" : `Tears: ${chosen.length} of ${data.tears.length + data.more_tears}`;
  const nothing = data.tears.length === 0 ? "No msync left data that was not safe." : "None of the files, processes and time chosen.";
  byId("tears").replaceChildren(...(shown.length ? shown.map(tearCard) : [make("p", { class: "hint" }, nothing)]));
}

function tearCard(tear) {
  const worst = tear.pages.some((page) => page.verdict === "stale") || (tear.verdicts && tear.verdicts.stale > 0) ? "stale"
    : tear.pages.some((page) => page.verdict === "uncertain") ? "uncertain" : tear.result < 0 ? "failed" : tear.level;
  const answer = tear.errno ? `= ${tear.result} ${tear.errno}` : tear.result === undefined ? "" : `= ${tear.result}`;
  const call = tear.call === undefined ? "" : `#${tear.call} `;
  const title = make("h3", {}, make("span", { class: `tag ${worst}` }, worst === "stale" ? "torn" : worst),
    `${tear.event === "report" ? "msync" : tear.event} ${call}${answer}`, make("span", { class: "mono" }, fileName(tear.file)));
  const where = make("p", {}, `${utc(tear.time)}, at ${seconds(tear.time)} s, process ${laneName(tear.lane)}, took ${duration(tear.duration)}  `,
    make("button", { type: "button", class: "link", onclick: () => showTear(tear) }, "show in the timeline and the page map"));
  const body = tear.pages.length ? pageTable(tear, PAGES_AT_ONCE) : null;
  return make("article", { class: `frame tear ${worst}` }, make("header", {}, title, tear.message ? make("p", {}, tear.message) : null, where), body);
}

function pageTable(tear, most) {
  const holder = make("div", { class: "scroll" });
  const head = ["page, bytes of the file", "verdict", "wrong, first difference", "expected and actual bytes from the first difference on"];
  const rows = tear.pages.slice(0, most).map((page) => make("tr", {},
    make("th", { scope: "row" },
      make("button", { type: "button", class: "link", onclick: () => showPage(tear, page), "aria-label": `Show page ${page.page} in the page map` }, `page ${page.page}`),
      make("span", { class: "below mono" }, `[${page.start},${page.end})`)),
    make("td", {}, make("span", { class: `tag ${page.verdict}` }, page.verdict),
      make("span", { class: "below" }, page.rung ? `cured by ${page.rung}` : page.content ? `reads back ${page.content}` : "")),
    make("td", {}, page.wrong_bytes === undefined ? "" : `${page.wrong_bytes} ${page.wrong_bytes === 1 ? "byte" : "bytes"}`,
      make("span", { class: "below" }, page.first_diff === undefined ? "" : `from ${page.first_diff}`)),
    make("td", {}, byteRows(page))));
  const table = make("table", {}, make("caption", { class: "visually-hidden" }, `Pages of the tear at ${seconds(tear.time)} s`),
    make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...rows));
  holder.append(table);
  if (tear.pages.length > most) {
    const button = make("button", { type: "button", onclick: () => holder.replaceWith(pageTable(tear, tear.pages.length)) }, `all ${counted(tear.pages.length, "page")}`);
    holder.append(make("p", { class: "hint", style: "padding: 8px 14px" }, button));
  }
  if (tear.truncated) holder.append(make("p", { class: "hint", style: "padding: 8px 14px" }, "The log left pages out, as the line would have been too long."));
  return holder;
}

// Both byte rows, what differs marked.
function byteRows(page) {
  if (!page.expected_hex && !page.actual_hex) return "";
  const expected = hexBytes(page.expected_hex), actual = hexBytes(page.actual_hex);
  const row = (name, bytes, others) => {
    const line = make("div", { class: "bytes" }, `${name.padEnd(9)}`);
    let run = "", wrong = null;
    const put = () => { if (run) line.append(make("span", { class: wrong ? "wrong" : "right" }, run)); run = ""; };
    const add = (text, differs) => {
      if (differs !== wrong) { put(); wrong = differs; }
      run += text;
    };
    bytes.forEach((byte, k) => add(`${hex(byte)}${k % 4 === 3 ? " " : ""}`, byte !== others[k]));
    put();
    line.append(" ");
    wrong = null;
    bytes.forEach((byte, k) => add(ascii(byte), byte !== others[k]));
    put();
    return line;
  };
  const both = make("div", {}, row("expected", expected, actual), row("actual", actual, expected));
  if (page.expected_hash) both.title = `hash of the page: expected ${page.expected_hash}, actual ${page.actual_hash}`;
  return both;
}

function showTear(tear) {
  if (tear.row >= 0) select(tear.row);
  showFile(tear.file);
  if (tear.pages.length) {
    const from = tear.pages[0].start, to = tear.pages[tear.pages.length - 1].end;
    setRange(from - PAGE, to + PAGE);
  }
  viewEnd(tear, 0.6);
  byId("timeline-title").scrollIntoView({ behavior: "instant" });
}

// A view with the end of the call at this share of its width: what is torn is so from there on.
function viewEnd(tear, share) {
  const last = tear.time + Math.max(0, tear.duration);
  const room = (whole.to - last) / (1 - share);
  const width = Math.min(Math.max(tear.duration, 5000) * 2, Math.max(room, 1000));
  setView(last - width * share, last + width * (1 - share));
}

function showPage(tear, page) {
  showTear(tear);
  viewEnd(tear, 0.3);
  if (page.first_diff === undefined) setRange(page.start, page.end);
  else setRange(page.first_diff - 4, page.first_diff + 20);
  byId("map-title").scrollIntoView({ behavior: "instant", block: "start" });
}

function startTears() {
  byId("tears-back").addEventListener("click", () => { tearsFrom -= TEARS_AT_ONCE; drawTears(); });
  byId("tears-forth").addEventListener("click", () => { tearsFrom += TEARS_AT_ONCE; drawTears(); });
  listeners.push((what) => {
    if (what.has("filter") || what.has("view")) drawTears();
  });
}
