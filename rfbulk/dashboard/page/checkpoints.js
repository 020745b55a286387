// All checkpoints of a machine: a list that follows what other processes do, and one of them in full.
import { CellMap } from "./cellmap.js";
import { follow } from "./stream.js";
import { clock, count, day, duration, empty, gauge, make, pairs, plural, put, scrolled, size, table, visible } from "./words.js";

const STANDINGS = {
  running: ["go", "●", "running"], confirmed: ["good", "✔", "confirmed"], here: ["good", "✔", "all here"], sent: ["good", "✔", "stored, not confirmed"],
  empty: ["wait", "○", "empty"], unfinished: ["warn", "▲", "unfinished"], damaged: ["bad", "✖", "damaged"], failed: ["warn", "▲", "some failed"],
};
const FILTERS = { all: () => true, running: (row) => row.holder, unfinished: (row) => !row.holder && row.state === "unfinished", "with failures": (row) => row.failed > 0 || row.state === "damaged" };
const at = (id) => document.getElementById(id);
const cells = new CellMap(at("map"));
let rows = [];
let shelf = null;
let filter = "all";
let chosen = location.hash.slice(1) ? decodeURIComponent(location.hash.slice(1)) : null;
let asked = 0;
let restedAt = 0; // a checkpoint is read again no sooner: what is large to read is read seldom
let running = "";

follow("/events", {
  onFrame(frame) {
    shelf = frame;
    rows = frame.rows;
    render();
    if (chosen && performance.now() >= restedAt) look();
  },
  onLink({ isOpen, lostAt }) {
    at("link").textContent = isOpen ? "live" : `not reached since ${clock(lostAt / 1000)}; trying again`;
    at("notice").hidden = isOpen;
    at("notice").dataset.tone = "warn";
    at("notice").textContent = isOpen ? "" : "rfbulk dashboard is not reached: it has been stopped, or the line is down. The transfers themselves go on.";
  },
  onEnd() { at("link").textContent = "rfbulk dashboard has been stopped; this page stays as it is"; },
});
addEventListener("hashchange", () => choose(decodeURIComponent(location.hash.slice(1)) || null));

const key = (row) => `${row.kind}:${row.id}`;

function standing(row) {
  if (row.holder) return STANDINGS.running;
  if (row.failed && ["confirmed", "sent", "here"].includes(row.state)) return STANDINGS.failed;
  return STANDINGS[row.state] ?? ["wait", "○", row.state];
}

function render() {
  at("version").textContent = `rfbulk ${shelf.version}, as of ${day(shelf.now)}`;
  const live = rows.filter((row) => row.holder);
  at("summary").textContent = `${plural(shelf.total, "checkpoints")}, ${count(live.length)} under way${shelf.total > rows.length ? `; the ${count(rows.length)} used last are listed` : ""}`;
  filters();
  list();
  const words = live.map((row) => row.batch).join(", ");
  if (words !== running) at("live").textContent = live.length ? `under way: ${visible(words)}` : "nothing is under way";
  running = words;
}

function filters() {
  const place = at("filters");
  const chips = Object.entries(FILTERS).map(([name, holds]) => {
    const button = make("button", { type: "button", "aria-pressed": String(name === filter), "data-name": name }, `${name} ${count(rows.filter(holds).length)}`);
    button.addEventListener("click", () => { filter = name; filters(); list(); });
    return button;
  });
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  if (!put(place, chips)) for (const chip of place.querySelectorAll("button")) chip.setAttribute("aria-pressed", String(chip.dataset.name === filter));
  else if (focused) place.querySelector(`[data-name="${focused}"]`)?.focus();
}

function list() {
  const shown = rows.filter(FILTERS[filter]);
  const place = at("list");
  if (!shown.length) return void put(place, empty(rows.length ? "None of this standing." : "Nothing has been uploaded, asked for or exported from this machine yet: `rfbulk upload images FOLDER --batch-id B` begins."));
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const lines = shown.map((row) => [choice(row), pill(row), amounts(row), rate(row), day(row.used), row.where.join(", ")]);
  const grid = table(`${count(shown.length)} shown, the one used last first; a batch's name opens it below`, ["batch", "standing", "how far", "rate#", "used", "where"], lines);
  grid.classList.add("shelf");
  if (put(place, grid) && focused) place.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  for (const button of place.querySelectorAll("tbody button")) {
    const isChosen = button.dataset.key === chosen;
    button.setAttribute("aria-expanded", String(isChosen));
    button.closest("tr").classList.toggle("chosen", isChosen);
  }
}

function choice(row) {
  const button = make("button", { type: "button", "data-key": key(row), "aria-controls": "one" }, row.batch || row.id);
  button.addEventListener("click", () => { location.hash = encodeURIComponent(key(row)); choose(key(row), true); });
  return [button, make("small", { class: "muted" }, ` ${row.kind}`)];
}

function pill(row) {
  const [tone, sign, words] = standing(row);
  return [make("span", { "data-tone": tone, class: "nowrap" }, make("b", {}, `${sign} ${words}`)), row.holder ? make("small", { class: "muted block" }, row.holder) : null];
}

function amounts(row) {
  if (row.error) return row.error;
  const all = row.done + row.left + (row.kind === "upload" ? 0 : row.failed);
  const words = `${count(row.done)} of ${plural(all, row.unit)}${row.is_counted ? "" : " so far"}${row.bytes ? `, ${size(row.bytes)}` : ""}`;
  return [words, row.failed ? make("span", { "data-tone": "bad" }, `, ✖ ${count(row.failed)} failed`) : null, gauge(all ? row.done / all : 0)];
}

function rate(row) {
  if (!row.holder) return "";
  const left = row.items_rate > 0 && row.is_counted ? make("small", { class: "muted block" }, `about ${duration(row.left / row.items_rate)} left`) : null;
  return [`${size(row.bytes_rate)}/s`, make("small", { class: "muted block" }, `${count(row.items_rate)} ${row.unit}/s`), left];
}

// one of them

function choose(name, isMoved = false) {
  chosen = name;
  list();
  for (const id of ["one", "two"]) at(id).hidden = chosen === null;
  if (chosen) look(isMoved);
}

async function look(isMoved = false) {
  const row = rows.find((each) => key(each) === chosen);
  for (const id of ["one", "two"]) at(id).hidden = !row;
  if (!row) return;
  heading(row);
  if (isMoved) at("one").focus();
  const number = ++asked;
  const began = performance.now();
  restedAt = Infinity;
  const answer = await fetch(`/detail/${encodeURIComponent(chosen)}`).catch(() => null);
  restedAt = performance.now() + Math.max(2000, 10 * (performance.now() - began));
  if (!answer?.ok || number !== asked) return;
  draw(row, await answer.json());
}

function heading(row) {
  const [, sign, words] = standing(row);
  at("h-one").textContent = visible(`${row.kind} ${row.kind === "export" ? "of" : "into"} batch ${row.batch || "?"}: ${sign} ${words}`);
}

function draw(row, detail) {
  put(at("facts"), detail.error ? make("p", { "data-tone": "bad" }, `✖ ${detail.error}`) : null, pairs([
    [row.kind === "export" ? "target" : "source", row.where.join(", ")], ["workspace", row.workspace], ["service", row.service],
    ["done", plural(row.done, row.unit)], ["left", plural(row.left, row.unit)], ["failed", plural(row.failed, row.unit)],
    ["checkpoint", row.id], ["file", detail.checkpoint], ["used", day(row.used)], ...(row.holder ? [["held by", row.holder]] : []),
  ]));
  const hasMap = Boolean(detail.map?.cells.length);
  at("h-map").hidden = at("map").hidden = !hasMap;
  if (hasMap) {
    const found = [];
    for (const [index, ...counts] of detail.map.cells) found[index] = counts;
    for (let index = 0; index < found.length; index += 1) found[index] ??= [0, 0, 0, 0, 0, 0, 0];
    cells.show({ ...detail.map, cells: found }, row.kind === "export" ? "remote file" : row.unit === "videos" ? "video" : "shard");
  }
  const reasons = Object.entries(detail.reasons ?? {});
  const files = detail.files ?? [];
  const hasDetails = files.some((file) => file.detail);
  put(at("failures"), reasons.length ? [
    table("By reason", ["reason", "files#"], reasons.map(([reason, value]) => [reason, count(value)])),
    scrolled("Files that failed", table(`${count(files.length)} shown`, ["file", "reason", ...(hasDetails ? ["detail"] : [])], files.map((file) => [file.path, file.reason, ...(hasDetails ? [file.detail] : [])]))),
  ] : empty("Nothing that the checkpoint remembers. Files that were refused before they were planned are named by the command that finds them."));
}
