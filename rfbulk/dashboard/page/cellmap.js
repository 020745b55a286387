// A map of shards: a cell stands for one or for many. Each state has a shape of its own beside its colour.
import { count, draw, make, many, put } from "./words.js";

export const NAMES = ["planned", "sending", "retrying", "unsure", "sent", "indexed", "failed"];
const [PLANNED, SENDING, RETRYING, UNSURE, SENT, INDEXED, FAILED] = [0, 1, 2, 3, 4, 5, 6];
const TEXTS = { planned: "planned", sending: "being sent", retrying: "tried again", unsure: "may have arrived", sent: "stored", indexed: "indexed", failed: "failed" };

export class CellMap {
  constructor(place) {
    this.place = place;
    this.at = null;
    this.pitch = 14;
    this.picture = draw("svg", { class: "cells", role: "slider", tabindex: "0", "aria-label": "Map of shards by state; arrow keys move from cell to cell", "aria-valuemin": "1", "aria-valuemax": "1", "aria-valuenow": "1", "aria-valuetext": "no shards yet" });
    this.readout = make("p", { class: "readout" });
    this.legend = make("dl", { class: "legend" });
    this.box = make("div", {}, this.readout, this.picture, this.legend);
    place.append(this.box);
    this.picture.addEventListener("pointermove", (event) => this.point(event));
    this.picture.addEventListener("pointerdown", (event) => this.point(event));
    this.picture.addEventListener("pointerleave", () => { if (document.activeElement !== this.picture) this.move(null); });
    this.picture.addEventListener("keydown", (event) => this.key(event));
    this.picture.addEventListener("blur", () => this.move(null));
    this.picture.addEventListener("focus", () => this.move(this.at ?? 0));
    new ResizeObserver(() => this.render()).observe(place);
  }

  show(map, noun = "shard", isSent = true) {
    Object.assign(this, { map, noun, isSent });
    this.render();
  }

  columns() { return Math.max(8, Math.floor((this.picture.clientWidth || this.place.clientWidth) / this.pitch)); }

  point(event) {
    const box = this.picture.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.pitch);
    const place = Math.floor((event.clientY - box.top) / this.pitch) * this.columns() + column;
    if (column < this.columns() && place < this.map.cells.length) this.move(place);
  }

  key(event) {
    const last = this.map.cells.length - 1;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns(), ArrowDown: this.columns() }[event.key];
    const place = event.key === "Home" ? 0 : event.key === "End" ? last : by === undefined ? null : (this.at ?? 0) + by;
    if (place === null) return;
    event.preventDefault();
    this.move(Math.max(0, Math.min(last, place)));
  }

  move(place) {
    this.at = place;
    this.render();
  }

  words(index) {
    const counts = this.map.cells[index] ?? [];
    const first = index * this.map.per_cell + 1;
    const last = Math.min(this.map.shards, first + this.map.per_cell - 1);
    const parts = NAMES.map((name, state) => (counts[state] ? `${count(counts[state])} ${TEXTS[name]}` : "")).filter(Boolean).join(", ");
    const which = first === last ? `${this.noun} ${count(first)}` : `${this.noun}s ${count(first)} to ${count(last)}`;
    return `${which}: ${(first === last ? parts.replace(/^1 /, "") : parts) || "split into others"}`;
  }

  render() {
    const { map } = this;
    if (!map) return;
    const hasCells = map.cells.length > 0;
    this.box.hidden = !hasCells;
    if (!this.none) this.place.append((this.none = make("p", { class: "empty" })));
    this.none.hidden = hasCells;
    this.none.textContent = this.isSent ? "No shards have been planned yet." : "This command sends no shards.";
    if (!hasCells) return;
    this.pitch = map.cells.length > 400 ? 14 : 20;
    const columns = this.columns();
    const height = Math.ceil(map.cells.length / columns) * this.pitch;
    this.picture.setAttribute("viewBox", `0 0 ${this.picture.clientWidth || this.place.clientWidth} ${height}`);
    this.picture.setAttribute("height", height);
    this.picture.replaceChildren(...shapes(map.cells, columns, this.pitch), ...this.cursor(columns));
    this.tell();
  }

  cursor(columns) {
    if (this.at === null || this.at >= this.map.cells.length) return [];
    const [x, y] = [(this.at % columns) * this.pitch, Math.floor(this.at / columns) * this.pitch];
    return [draw("rect", { class: "cursor", x: x + 0.5, y: y + 0.5, width: this.pitch - 2, height: this.pitch - 2 })];
  }

  tell() {
    const { map } = this;
    const scale = map.per_cell === 1 ? `Each cell is one ${this.noun}.` : `Each cell is ${count(map.per_cell)} ${this.noun}s; it fills as they are stored.`;
    const words = this.at === null ? `${many(map.shards, this.noun)}. ${scale}` : this.words(this.at);
    this.readout.textContent = words;
    const at = this.at ?? 0;
    for (const [name, value] of Object.entries({ "aria-valuemax": map.cells.length, "aria-valuenow": at + 1, "aria-valuetext": this.words(at) })) this.picture.setAttribute(name, String(value));
    put(this.legend, NAMES.flatMap((name, state) => (map.totals[state] || [PLANNED, SENT].includes(state)
      ? [make("div", {}, make("dt", {}, sample(state), TEXTS[name]), make("dd", {}, count(map.totals[state])))] : [])));
  }
}

function sample(state) {
  const cell = Array.from({ length: 7 }, (_, index) => (index === state ? 1 : 0));
  return draw("svg", { class: "cells", viewBox: "0 0 14 14", "aria-hidden": "true" }, shapes([cell], 1, 14));
}

/** One path for each shape, however many cells there are. */
function shapes(cells, columns, pitch) {
  const paths = { planned: "", back: "", part: "", sent: "", indexed: "", sending: "", retrying: "", unsure: "", failed: "" };
  const side = pitch - 3;
  cells.forEach((counts, index) => {
    const x = (index % columns) * pitch + 1;
    const y = Math.floor(index / columns) * pitch + 1;
    const total = counts.reduce((sum, each) => sum + each, 0);
    if (!total) return;
    const square = (height) => `M${x},${y + side - height}h${side}v${height}h${-side}z`;
    paths.planned += `M${x + 0.5},${y + 0.5}h${side - 1}v${side - 1}h${1 - side}z`;
    const stored = counts[SENT] + counts[INDEXED];
    if (stored) paths[counts[SENT] ? "sent" : "indexed"] += square(Math.max(2, Math.round((side * stored) / total)));
    const sign = counts[FAILED] ? FAILED : counts[UNSURE] ? UNSURE : counts[RETRYING] ? RETRYING : counts[SENDING] ? SENDING : null;
    if (sign === null) return;
    const middle = side / 2;
    const back = sign === SENDING ? "" : `M${x + 1},${y + 1}h${side - 2}v${side - 2}h${2 - side}z`;
    paths.back += back;
    if (sign === FAILED) paths.failed += `M${x + 2},${y + 2}l${side - 4},${side - 4}m0,${4 - side}l${4 - side},${side - 4}`;
    if (sign === UNSURE) paths.unsure += `M${x + 2},${y + 2}h${side - 4}v${side - 4}h${4 - side}z`;
    if (sign === RETRYING) paths.retrying += `M${x + 2},${y + side - 2}l${side - 4},${4 - side}`;
    if (sign === SENDING) paths.sending += `M${x + middle},${y + 1.5}l${middle - 1.5},${middle - 1.5}l${1.5 - middle},${middle - 1.5}l${1.5 - middle},${1.5 - middle}z`;
  });
  return Object.entries(paths).filter(([, path]) => path).map(([name, d]) => draw("path", { class: name, d }));
}
