// Three lanes over one time axis: how fast, how much at once, what went wrong. One cursor reads all three.
import { count, draw, duration, make, put, size, table } from "./words.js";

const LANES = { speed: 132, once: 64, trouble: 34 };
const GAP = 30;
const LEFT = 76;
const RIGHT = 10;
const TOP = 36;
const HEIGHT = TOP + LANES.speed + LANES.once + LANES.trouble + 2 * GAP + 22;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800];
const [BYTES, ITEMS, RETRIES, FAILURES, ONCE, SAMPLES, MOST] = [0, 1, 2, 3, 4, 5, 6];

export class TimeChart {
  constructor(place) {
    this.place = place;
    this.at = null;
    this.picture = draw("svg", { class: "plot", height: HEIGHT, role: "slider", tabindex: "0", "aria-label": "Throughput, concurrency and troubles over time; arrow keys move the cursor", "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0", "aria-valuetext": "nothing yet" });
    this.readout = make("p", { class: "readout" });
    this.rows = make("div");
    place.append(this.readout, this.picture, make("details", {}, make("summary", {}, "The same as a table"), this.rows));
    this.picture.addEventListener("pointermove", (event) => this.point(event));
    this.picture.addEventListener("pointerdown", (event) => this.point(event));
    this.picture.addEventListener("pointerleave", () => { if (document.activeElement !== this.picture) this.move(null); });
    this.picture.addEventListener("keydown", (event) => this.key(event));
    this.picture.addEventListener("blur", () => this.move(null));
    this.picture.addEventListener("focus", () => this.move(this.at ?? this.buckets.length - 1));
    this.model = null;
    new ResizeObserver(() => this.render()).observe(place);
  }

  get buckets() { return this.whole ?? []; }

  show(model) {
    this.model = model;
    const { buckets, step } = model.series;
    const last = buckets.length - 1;
    this.whole = last < 1 || this.seconds(last) >= step / 4 ? buckets : buckets.slice(0, -1); // the last one is hardly begun
    this.render();
  }

  /** How much time a bucket covers: the last one is filled only so far. */
  seconds(index) {
    const { step, until } = this.model.series;
    return Math.max(step / 10, Math.min(step, until - index * step));
  }

  point(event) {
    const box = this.picture.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
    this.move(Math.round(share * this.span() - 0.5));
  }

  key(event) {
    const last = this.buckets.length - 1;
    const far = Math.max(1, Math.round(last / 10));
    const to = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -far, PageUp: far }[event.key];
    const place = event.key === "Home" ? 0 : event.key === "End" ? last : to === undefined ? null : (this.at ?? last) + to;
    if (place === null) return;
    event.preventDefault();
    this.move(place);
  }

  move(place) {
    this.at = place === null || !this.buckets.length ? null : Math.max(0, Math.min(this.buckets.length - 1, place));
    this.render();
  }

  span() { return Math.max(this.buckets.length, Math.ceil(20 / (this.model?.series.step ?? 0.5))); }

  words(index) {
    const { step } = this.model.series;
    const bucket = this.buckets[index];
    const once = bucket[SAMPLES] ? `${(bucket[ONCE] / bucket[SAMPLES]).toFixed(1)} at once (${bucket[MOST]} at most)` : "nothing told";
    const seconds = this.seconds(index);
    const words = [`${size(bucket[BYTES] / seconds)}/s`, `${count(bucket[ITEMS] / seconds)} ${this.model.unit}/s`, once];
    if (bucket[RETRIES]) words.push(`${count(bucket[RETRIES])} tried again`);
    if (bucket[FAILURES]) words.push(`${count(bucket[FAILURES])} failures`);
    return `${duration(index * step)} to ${duration(index * step + seconds)}: ${words.join(", ")}`;
  }

  render() {
    if (!this.model) return;
    const width = Math.max(260, this.picture.clientWidth || this.place.clientWidth);
    const { buckets } = this;
    const { step } = this.model.series;
    if (!buckets.length) {
      this.readout.textContent = "No samples yet: they come with the first bytes.";
      this.picture.replaceChildren();
      this.picture.setAttribute("height", "0");
      return;
    }
    this.picture.setAttribute("height", HEIGHT);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const x = (index) => LEFT + (index / this.span()) * (width - LEFT - RIGHT);
    const speed = { top: TOP, height: LANES.speed };
    const once = { top: TOP + LANES.speed + GAP, height: LANES.once };
    const trouble = { top: once.top + LANES.once + GAP, height: LANES.trouble };
    this.picture.replaceChildren(
      ...this.times(width, x, step),
      ...this.phases(x, step, width),
      ...this.speed(speed, x, width),
      ...this.once(once, x, width),
      ...this.trouble(trouble, x, width),
      ...this.cursor(x),
    );
    this.tell(step);
  }

  times(width, x, step) {
    const seconds = this.span() * step;
    const every = STEPS.find((each) => (each / seconds) * (width - LEFT - RIGHT) >= 74) ?? 259200;
    const found = [];
    for (let at = 0; at <= seconds; at += every) {
      const place = x(at / step);
      found.push(draw("line", { class: "grid", x1: place, x2: place, y1: TOP, y2: HEIGHT - 18, "stroke-opacity": 0.5 }));
      found.push(draw("text", { x: place, y: HEIGHT - 4, "text-anchor": at ? (place > width - 40 ? "end" : "middle") : "start" }, axisTime(at)));
    }
    return found;
  }

  phases(x, step, width) {
    const labels = []; // phases that began close to each other share one
    const lines = this.model.phases.map(({ name, began }) => {
      const place = x(began / step);
      const last = labels.at(-1);
      if (last && place < last.place + last.name.length * 6.2 + 12) last.name += `, ${name}`;
      else labels.push({ place, name });
      return draw("line", { class: "mark", x1: place, x2: place, y1: 6, y2: HEIGHT - 18 });
    });
    const isRoomy = ({ place, name }) => place + name.length * 6.2 < width;
    return [...lines, ...labels.map((label) => draw("text", { x: isRoomy(label) ? label.place + 4 : label.place - 4, y: 11, "text-anchor": isRoomy(label) ? "start" : "end" }, label.name))];
  }

  lane({ top, height }, width, name, ticks, most, label) {
    const found = name ? [draw("text", { class: "name", x: LEFT, y: top - 7 }, name)] : [];
    for (const tick of ticks) {
      const y = top + height - (tick / most) * height;
      found.push(draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
      found.push(draw("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, label(tick)));
    }
    return found;
  }

  speed(lane, x, width) {
    const values = this.buckets.map((bucket, index) => bucket[BYTES] / this.seconds(index));
    const hasBytes = values.some(Boolean);
    const shown = hasBytes ? values : this.buckets.map((bucket, index) => bucket[ITEMS] / this.seconds(index));
    const { ticks, most } = scale(Math.max(...shown), hasBytes ? 1024 : 1000);
    const y = (value) => lane.top + lane.height - (value / most) * lane.height;
    const points = shown.map((value, index) => `${x(index + 0.5).toFixed(1)},${y(value).toFixed(1)}`);
    const base = lane.top + lane.height;
    return [
      ...this.lane(lane, width, hasBytes ? "per second" : `${this.model.unit} per second`, ticks, most, hasBytes ? (tick) => axisSize(tick) : count),
      draw("path", { class: "area", d: `M${x(0.5)},${base}L${points.join("L")}L${x(shown.length - 0.5)},${base}Z` }),
      draw("path", { class: "stroke", d: `M${points.join("L")}` }),
    ];
  }

  once(lane, x, width) {
    const means = this.buckets.map((bucket) => (bucket[SAMPLES] ? bucket[ONCE] / bucket[SAMPLES] : null));
    for (let index = 1, gap = 0; index < means.length; index += 1) { // samples come twice a second, and not to the dot
      gap = means[index] === null ? gap + 1 : 0;
      if (gap && gap * this.model.series.step <= 2) means[index] = means[index - 1];
    }
    const { ticks, most } = scale(Math.max(1, ...this.buckets.map((bucket) => bucket[MOST])), 1000, 2);
    const y = (value) => (lane.top + lane.height - (value / most) * lane.height).toFixed(1);
    const path = (values) => values.reduce((text, value, index) => (value === null ? text : `${text}${index && values[index - 1] !== null ? "L" : "M"}${x(index + 0.5).toFixed(1)},${y(value)}`), "");
    return [
      ...this.lane(lane, width, "at once", ticks, most, count),
      draw("path", { class: "most", d: path(this.buckets.map((bucket, index) => (means[index] === null ? null : Math.max(means[index], bucket[MOST])))) }),
      draw("path", { class: "stroke", d: path(means) }),
    ];
  }

  trouble(lane, x, width) {
    const most = Math.max(1, ...this.buckets.map((bucket) => bucket[RETRIES] + bucket[FAILURES]));
    const wide = Math.max(1.5, x(1) - x(0) - 1);
    const base = lane.top + lane.height;
    const bars = this.buckets.flatMap((bucket, index) => {
      const again = (bucket[RETRIES] / most) * lane.height;
      const failed = (bucket[FAILURES] / most) * lane.height;
      const found = [];
      if (again) found.push(draw("rect", { class: "retry", x: x(index), y: base - again, width: wide, height: again }));
      if (failed) found.push(draw("rect", { class: "fail", x: x(index), y: base - again - failed, width: wide, height: failed }));
      return found;
    });
    return [...this.lane(lane, width, "", [0, most], most, count), ...this.keys(lane), ...bars];
  }

  keys(lane) { // the lane's name, with the colours of its bars
    return [["retry", "tried again", LEFT], ["fail", "failures, on top", LEFT + 90]].flatMap(([kind, words, x]) =>
      [draw("rect", { class: kind, x, y: lane.top - 16, width: 9, height: 9 }), draw("text", { class: "name", x: x + 14, y: lane.top - 7 }, words)]);
  }

  cursor(x) {
    if (this.at === null || this.at >= this.buckets.length) return [];
    const place = x(this.at + 0.5);
    return [draw("line", { class: "cursor", x1: place, x2: place, y1: TOP, y2: HEIGHT - 18 })];
  }

  tell(step) {
    const last = this.buckets.length - 1;
    const at = this.at === null ? last : Math.min(this.at, last);
    const words = this.words(at);
    this.readout.replaceChildren(make("b", {}, this.at === null ? "Latest" : "Here"), document.createTextNode(` ${words}`));
    const values = { "aria-valuemax": String(last), "aria-valuenow": String(at), "aria-valuetext": words };
    if (this.at === null && document.activeElement === this.picture) return;
    for (const [name, value] of Object.entries(values)) this.picture.setAttribute(name, value);
    if (this.rows.parentElement.open) this.fillTable(step);
  }

  fillTable(step) {
    const per = Math.max(1, Math.ceil(this.buckets.length / 20));
    const rows = [];
    for (let start = 0; start < this.buckets.length; start += per) {
      const group = this.buckets.slice(start, start + per);
      const sum = (field) => group.reduce((total, bucket) => total + bucket[field], 0);
      const seconds = group.length * step;
      const once = sum(SAMPLES) ? (sum(ONCE) / sum(SAMPLES)).toFixed(1) : "–";
      rows.push([`${duration(start * step)} to ${duration((start + group.length) * step)}`, `${size(sum(BYTES) / seconds)}/s`, count(sum(ITEMS)), once, count(sum(RETRIES)), count(sum(FAILURES))]);
    }
    put(this.rows, table("From the beginning of the command", ["when", "per second#", `${this.model.unit}#`, "at once#", "retries#", "failures#"], rows));
  }
}

function scale(most, base, steps = 4) {
  if (!(most > 0)) return { ticks: [0], most: 1 };
  const power = base ** Math.floor(Math.log(most) / Math.log(base));
  const tick = [0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5, 10, 20, 25, 50, 100, 200, 250, 500].map((each) => each * power).find((each) => most / each <= steps && (power > 1 || each >= 1)) ?? most / steps;
  const ticks = [];
  for (let at = 0; at < most + tick; at += tick) ticks.push(at);
  return { ticks, most: ticks[ticks.length - 1] };
}

function axisSize(bytes) {
  return size(bytes).replace(/\.0 /, " ");
}

function axisTime(seconds) {
  if (seconds >= 172800 && seconds % 86400 === 0) return `${seconds / 86400} d`;
  if (seconds >= 3600) return seconds % 3600 === 0 ? `${seconds / 3600} h` : `${Math.floor(seconds / 3600)}:${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")} h`;
  if (seconds >= 60) return seconds % 60 === 0 ? `${seconds / 60} min` : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} min`;
  return `${seconds} s`;
}
