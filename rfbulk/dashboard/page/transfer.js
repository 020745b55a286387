// One command, live: what the server tells goes into a model, and the model is drawn.
import { TimeChart } from "./chart.js";
import { CellMap } from "./cellmap.js";
import { follow } from "./stream.js";
import { clock, count, day, duration, empty, gauge, make, many, pairs, percent, plural, put, scrolled, size, table, visible } from "./words.js";

const PHASES = { scanning: "scanning", sending: "sending", "deciding-unsure": "looking up what may have arrived", confirming: "waiting for the service to index", listing: "listing", fetching: "fetching", merging: "merging results", stopping: "stopping", done: "done" };
const STEPS = { upload: "uploading", start: "starting the job", wait: "waiting for the job", export: "bringing results home", done: "done" };
const WAITS = { source: ["free places", "for the source: nothing has been found for them yet"], turn: ["planned, without a place", "for a place: as many as may be are under way"], grant: ["in flight", "for the service to grant a URL"], rest: ["in flight", "for the rest that the service asked for"], retry: ["in flight", "for their next attempt"], answer: ["in flight", "for the answer: all is sent"] };
const PACES = { fixed: "it was asked for", starting: "the first, nothing has been measured yet", climbing: "more at once brought more", best: "more at once brought nothing", most: "the options, or the memory, allow no more", processor: "the processor is what is slow, not the line", slowed: "the service, or the line, showed that it is overloaded" };

const at = (id) => document.getElementById(id);
const chart = new TimeChart(at("time"));
const cells = new CellMap(at("map"));
let model = null;
let told = { phase: "", failures: 0 };
let filter = null;
let isLinked = false;

follow("/events", {
  onFrame(frame) {
    model = frame.kind === "whole" ? whole(frame) : changed(model, frame);
    model.heard = performance.now();
    render();
  },
  onLink({ isOpen, lostAt }) {
    isLinked = isOpen;
    at("link").textContent = isOpen ? "live" : `not reached since ${clock(lostAt / 1000)}; trying again`;
    if (!isOpen && !model?.ending) notice("warn", "The command is not reached: it has ended, or the line is down. What you see is what was last told; this page keeps trying.");
    if (isOpen && !model?.ending) notice(null);
  },
  onEnd() {
    isLinked = false;
    at("link").textContent = `ended at ${clock(Date.now() / 1000)}; this page stays as it is`;
    if (model && !model.ending) notice("warn", "The command has ended without saying how.");
  },
});
setInterval(() => { if (model && isLinked && !model.ending) elapsed(); }, 1000);

function whole(frame) {
  const { series, map, named } = frame;
  return { ...frame, series: { step: series.step, until: series.until, buckets: series.buckets }, map: placed([], map), files: named.files };
}

function changed(before, frame) {
  const { series, map, named } = frame;
  const buckets = series.whole ? series.buckets : [...before.series.buckets.slice(0, series.from), ...series.buckets];
  const files = [...before.files.slice(0, named.from), ...named.files];
  return { ...before, ...frame, series: { step: series.step, until: series.until, buckets }, map: placed(map.whole ? [] : before.map.cells, map), files };
}

function placed(cellsBefore, map) {
  const found = cellsBefore.slice();
  for (const [index, ...counts] of map.cells) found[index] = counts;
  return { shards: map.shards, per_cell: map.per_cell, totals: map.totals, cells: found };
}

function render() {
  head();
  model.unit = model.progress?.content ?? (model.progress?.kind === "ingest" ? "references" : model.progress?.kind === "export" ? "files" : "images");
  progress();
  chart.show(model);
  cells.show(model.map, model.unit === "videos" ? "video" : "shard", !["export", "ingest"].includes(model.progress?.kind));
  waits();
  failures();
  retries();
  jobs();
  phases();
  command();
  announce();
}

// where it stands

function standing() {
  const { ending, phases: found, steps, stopping } = model;
  if (ending) {
    const tone = ending.exit_code === 0 ? "good" : [3, 5, 7, 130, 143].includes(ending.exit_code) ? "warn" : "bad";
    return [tone, `${{ good: "✔", warn: "▲", bad: "✖" }[tone]} ${ending.words}`];
  }
  if (stopping) return ["warn", "▲ stopping: what is in flight may finish"];
  const step = steps.at(-1)?.name;
  const phase = found.at(-1)?.name;
  const words = [step && step !== "upload" && step !== "export" ? STEPS[step] : null, PHASES[phase]].filter(Boolean)[0];
  return words ? ["go", `● ${words}`] : ["wait", "○ beginning"];
}

function head() {
  const { about, transfers } = model;
  const transfer = transfers.at(-1);
  const batches = transfer ? ` → batch ${visible(transfer.batch)}` : "";
  at("title").textContent = visible(about.command) + (transfer?.kind === "export" ? ` ← batch ${visible(transfer.batch)}` : batches);
  at("where").textContent = visible(transfer?.where.join(", ") ?? "");
  const [tone, words] = standing();
  at("pill").dataset.tone = tone;
  at("pill").textContent = words;
  const done = share();
  document.title = `${done === null ? "" : `${Math.floor(100 * done)} % `}${words.replace(/^\S+ /, "")} – rfbulk ${about.command}`;
  at("version").textContent = `rfbulk ${about.version}, begun ${day(about.began)}`;
  if (model.ending?.error) notice("bad", model.ending.error);
  else if (model.ending) notice(null);
}

function notice(tone, text = "") {
  at("notice").hidden = tone === null;
  at("notice").dataset.tone = tone ?? "";
  if (at("notice").textContent !== visible(text)) at("notice").textContent = visible(text);
}

// progress

function share() {
  const p = model.progress;
  if (p?.kind === "upload" && p.bytes_planned) return Math.min(1, p.bytes_sent / p.bytes_planned);
  if (p?.kind === "export" && p.files_listed) return (p.files_fetched + p.files_here) / p.files_listed;
  if (p?.kind === "ingest" && p.found) return p.accepted / p.found;
  return null;
}

function progress() {
  const p = model.progress;
  const place = at("progress");
  if (!p) return put(place, empty(model.ending ? "Nothing was moved." : "Nothing has been told yet."));
  const parts = { upload, export: exported, ingest }[p.kind](p);
  put(place, parts, model.books.map(books), model.remarks.map((remark) => make("p", {}, remark)));
  elapsed();
  return true;
}

function bar(total, segments) {
  const shown = segments.filter(([, value]) => value > 0);
  const pieces = shown.map(([kind, value]) => {
    const piece = make("span", { class: kind });
    piece.style.width = `${(100 * value) / Math.max(1, total)}%`;
    return piece;
  });
  const rest = Math.max(0, total - shown.reduce((sum, [, value]) => sum + value, 0));
  const keys = [...shown, ["rest", rest]].filter(([, value]) => value > 0).map(([kind, , words]) => make("li", {}, make("i", { class: kind }), words ?? "left"));
  return [make("div", { class: "bar", "aria-hidden": "true" }, pieces), make("ul", { class: "keys" }, keys)];
}

const tiles = (rows) => make("dl", { class: "tiles" }, rows.filter(Boolean).map(([name, value, more, id]) =>
  make("div", {}, make("dt", {}, name), make("dd", { id }, value, more ? make("small", {}, more) : null))));

const largest = (done, words) => make("p", { class: "big" }, make("strong", {}, done === null ? "…" : `${Math.floor(100 * done)} %`), make("span", {}, words));

function upload(p) {
  const more = p.scan_finished ? "" : " so far";
  const now = p.bytes_sent - p.bytes_before;
  const flight = Math.max(0, Math.min(p.bytes_in_flight, p.bytes_planned - p.bytes_sent));
  const average = p.seconds > 0 ? p.bytes_on_the_wire / p.seconds : 0;
  return [
    largest(share(), `${count(p.images_sent)} of ${plural(p.images_planned, p.content)} planned${more}, ${size(p.bytes_sent)} of ${size(p.bytes_planned)}${model.ending ? "" : left()}`),
    bar(p.bytes_planned, [["earlier", p.bytes_before, `sent by earlier runs: ${count(p.images_before)}`], ["now", now, `sent by this run: ${count(p.images_sent - p.images_before)}`], ["flight", flight, "in flight"]]),
    confirming(p),
    tiles([
      ["Rate", `${size(isOver() ? average : model.rate)}/s`, isOver() ? "on average" : `on average ${size(average)}/s`],
      ["Elapsed", "", "", "elapsed"],
      ["Shards", `${count(p.shards_sent)} of ${count(p.shards_planned)}`, shardNotes(p)],
      ["At once", `${count(p.shards_in_flight)}`, isOver() ? null : `of ${count(p.concurrency)}: ${PACES[p.pace] ?? p.pace}`],
      ["Tried again", count(total(model.retries)), null],
      ["Failures", count(p.failures), p.skipped ? `${count(p.skipped)} skipped, not ${p.content}` : null],
    ]),
  ];
}

function shardNotes(p) {
  return [p.shards_before ? `${count(p.shards_before)} by earlier runs` : "", p.shards_failed ? `${count(p.shards_failed)} failed` : "", p.shards_unsure ? `${count(p.shards_unsure)} may have arrived` : ""].filter(Boolean).join(", ");
}

function confirming(p) {
  const c = model.confirm;
  if (!c) return null;
  const pending = c.shards_pending ? `, ${plural(c.shards_pending, "shards")} pending` : "";
  return make("p", { class: "muted" }, `The service counts ${count(c.counted)} of ${plural(c.expected, p.content)}${pending}.`);
}

function exported(p) {
  const more = p.listing_finished ? "" : " so far";
  const average = p.seconds > 0 ? p.bytes_received / p.seconds : 0;
  return [
    largest(share(), `${count(p.files_fetched + p.files_here)} of ${many(p.files_listed, "remote file")} listed${more}${model.ending ? "" : left()}`),
    bar(p.files_listed, [["earlier", p.files_here, `here from earlier runs: ${count(p.files_here)}`], ["now", p.files_fetched, `fetched by this run: ${count(p.files_fetched)}`], ["failed", p.failures, `failed: ${count(p.failures)}`]]),
    tiles([
      ["Rate", `${size(isOver() ? average : model.rate)}/s`, isOver() ? "on average" : `on average ${size(average)}/s`],
      ["Elapsed", "", "", "elapsed"],
      ["Fetched", size(p.bytes_fetched), `${size(p.bytes_received)} received`],
      ["At once", `${count(p.fetches_in_flight)}`, isOver() ? null : `of ${count(p.concurrency)}: ${PACES[p.pace] ?? p.pace}`],
      ["Tried again", count(total(model.retries)), null],
      ["Failures", count(p.failures), null],
    ]),
  ];
}

function ingest(p) {
  const words = p.found ? `${count(p.accepted)} of ${many(p.found, "reference")} accepted` : `${many(p.requests, "request")} accepted; the service alone knows how many files there are`;
  return [
    largest(share(), words),
    p.found ? bar(p.found, [["earlier", p.accepted_before, `accepted in earlier runs: ${count(p.accepted_before)}`], ["now", p.accepted - p.accepted_before, `accepted now: ${count(p.accepted - p.accepted_before)}`], ["failed", p.failures, `failed: ${count(p.failures)}`]]) : null,
    confirming({ content: "files" }),
    tiles([["Requests", count(p.requests), p.duplicated ? `${count(p.duplicated)} known before` : null], ["Elapsed", "", "", "elapsed"], ["Tried again", count(total(model.retries)), null], ["Failures", count(p.failures), null]]),
  ];
}

const isOver = () => Boolean(model.ending || model.transfers.at(-1)?.ended);
const total = (counts) => Object.values(counts).reduce((sum, each) => sum + each, 0);

const left = () => (model.left ? `; ${model.left}` : "");

function elapsed() {
  const since = model.ending || !isLinked ? 0 : (performance.now() - model.heard) / 1000;
  const seconds = Math.max(model.now, Math.min(model.now + since, Date.now() / 1000 - model.about.began + 5));
  if (at("elapsed")) at("elapsed").textContent = duration(Math.max(0, seconds));
}

function books(book) {
  const sum = book.lines.map(([name, value]) => `${name} ${count(value)}`).join(" + ");
  const beside = [...book.beside.map(([name, value]) => `${name}: ${count(value)}`), ...book.notes, book.earlier ? `${count(book.earlier)} of them by earlier runs` : ""].filter(Boolean);
  return make("div", { class: "books" }, make("h3", {}, `The books of ${book.title}`),
    make("p", { class: "sum" }, `${book.total_name} ${count(book.total)} = ${sum} ${book.unit}`), make("p", { class: "muted" }, beside.join("; ")));
}

// the rest

function waits() {
  const p = model.progress;
  const found = Object.entries(p?.waits ?? {}).filter(([, value]) => value);
  const rows = found.map(([kind, value]) => [WAITS[kind]?.[0] ?? kind, count(value), (WAITS[kind]?.[1] ?? "") + (kind === "rest" && p.rest_seconds ? `, ${duration(p.rest_seconds)} of it left` : "")]);
  put(at("waits"), rows.length && !model.ending ? table("What is not moving bytes just now", ["what", "how many#", "waits"], rows) : empty(model.ending ? "The command has ended: nothing waits." : "Nothing waits."));
  const slow = (model.ending ? [] : p?.slowest ?? []).map((c) => [c.name || `shard ${count(c.number)}`, `${size(c.rate)}/s`, c.of_bytes ? percent(c.bytes, c.of_bytes) : size(c.bytes), duration(c.seconds), count(c.attempt)]);
  put(at("slowest"), slow.length ? table("The slowest first, over their present attempt", ["what", "rate#", "through#", "since#", "attempt#"], slow) : empty(model.ending ? "None is open." : "None has been open for long enough to tell."));
}

function failures() {
  const reasons = Object.entries(model.reasons);
  if (!reasons.length) return put(at("failures"), empty(model.ending ? "No file failed." : "No file has failed."));
  const all = total(model.reasons);
  if (filter !== null && !model.reasons[filter]) filter = null;
  const chips = [[null, "all", all], ...reasons.map(([reason, value]) => [reason, reason, value])].map(([reason, words, value]) => {
    const button = make("button", { type: "button", "aria-pressed": String(filter === reason), "data-reason": reason ?? "" }, `${words} ${count(value)}`);
    button.addEventListener("click", () => { filter = reason; failures(); at("failures").querySelector(`[aria-pressed="true"]`)?.focus(); });
    return button;
  });
  const shown = model.files.filter((file) => filter === null || file.reason === filter);
  const hasDetails = shown.some((file) => file.detail);
  const rows = shown.map((file) => [file.path, file.reason, ...(hasDetails ? [file.detail] : [])]);
  const caption = `${count(shown.length)} shown of ${count(filter === null ? all : model.reasons[filter])}${model.files.length < all ? `; the first ${count(model.files.length)} of all are kept here, --report FILE.jsonl names every one` : ""}`;
  const place = at("failures");
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.reason : undefined;
  const isNew = put(place, make("div", { class: "chips", role: "group", "aria-label": "Show failures of one reason" }, chips), scrolled("Files that failed", table(caption, ["file", "reason", ...(hasDetails ? ["detail"] : [])], rows)));
  if (!isNew) for (const chip of place.querySelectorAll("button")) chip.setAttribute("aria-pressed", String((chip.dataset.reason || null) === filter));
  if (isNew && focused !== undefined) [...place.querySelectorAll("button")].find((chip) => chip.dataset.reason === focused)?.focus();
  return true;
}

function retries() {
  const found = Object.entries(model.retries);
  const most = Math.max(1, ...found.map(([, value]) => value));
  put(at("retries"), found.length ? table("How often, by cause", ["cause", "times#", ""], found.map(([cause, value]) => [cause, count(value), gauge(value / most, "warn")])) : empty(model.ending ? "Nothing had to be tried again." : "Nothing has had to be tried again."));
  const troubles = model.troubles.slice(-12).reverse();
  const lines = troubles.map((each) => make("li", {}, make("time", {}, clock(model.about.began + each.seconds)), make("b", {}, each.subject), ` ${each.cause}${each.delay === null ? "" : `, again in ${duration(each.delay)}`}`,
    each.detail && each.detail !== each.cause ? make("span", {}, each.detail) : null));
  put(at("troubles"), lines.length ? scrolled("Latest troubles, the latest first", make("ul", { class: "log" }, lines)) : empty("None."));
}

function jobs() {
  at("jobs-panel").hidden = !model.jobs.length;
  put(at("jobs"), model.jobs.map(({ job, stages }) => scrolled(`Stages of job ${job}`, table(`Job ${job}`, ["stage", "state", "tasks#", "running#", "failed#", "progress#", ""], stages.map((s) =>
    [s.stage ? `${s.stage} (${s.stage_number} of ${s.stages})` : "not begun", s.state, `${count(s.tasks_done)} of ${count(s.tasks)}`, count(s.tasks_running), count(s.tasks_failed), percent(s.progress, 1) || "0 %", gauge(s.progress)])))));
}

function phases() {
  const found = [...model.steps.map((step) => ({ ...step, name: `step: ${STEPS[step.name] ?? step.name}` })), ...model.phases.map((phase) => ({ ...phase, name: PHASES[phase.name] ?? phase.name }))].sort((a, b) => a.began - b.began);
  const rows = found.map(({ name, began }) => [name, clock(model.about.began + began), duration(began)]);
  if (model.ending) rows.push([model.ending.words, clock(model.about.began + model.now), duration(model.now)]);
  put(at("phases"), rows.length ? table("Scanning and sending overlap, and so do listing and fetching", ["began", "at", "after#"], rows) : empty("None has begun."));
}

function command() {
  const { about, ending } = model;
  put(at("command"), make("pre", { tabindex: "0", "aria-label": "The command line" }, about.line), pairs([["folder", about.folder], ["begun", day(about.began)], ...(ending ? [["exit code", `${ending.exit_code}: ${ending.words}`]] : [])]),
    make("details", {}, make("summary", {}, "Settings and versions"), pairs([...about.settings, ["rfbulk", about.version]])));
}

function announce() {
  const [, words] = standing();
  const failed = total(model.reasons);
  const said = [];
  if (words !== told.phase) said.push(words.replace(/^\S+ /, ""));
  if (failed && !told.failures) said.push("the first files have failed");
  told = { phase: words, failures: failed };
  if (said.length) at("live").textContent = said.join("; ");
}
