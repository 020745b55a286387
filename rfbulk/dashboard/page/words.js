// Words and elements. Text from files and servers goes into textContent and nowhere else.

export const count = (value) => Math.round(value).toLocaleString("en-US");

export function size(bytes) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (Math.abs(bytes) < 1024) return unit === "B" ? `${bytes.toFixed(0)} B` : `${bytes.toFixed(1)} ${unit}`;
    bytes /= 1024;
  }
  return `${bytes.toFixed(2)} TiB`;
}

export function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds) % 60} s`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const day = (unix) => new Date(unix * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
export const percent = (part, whole) => (whole > 0 ? `${Math.min(100, (100 * part) / whole).toFixed(part < whole && part / whole > 0.99 ? 1 : 0)} %` : "");
export const many = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
export const plural = (value, nouns) => `${count(value)} ${value === 1 ? nouns.replace(/s$/, "") : nouns}`;

export const visible = (text) => String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
  (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Make an element: its text or its children, and its attributes. `class`, `data-…`, `aria-…` go as attributes. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) element.append(child.nodeType ? child : document.createTextNode(visible(child)));
  return element;
}

export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  for (const child of children.flat(Infinity)) element.append(child.nodeType ? child : document.createTextNode(visible(child)));
  return element;
}

/** Put children into a place, unless they would look the same: a reader's place and a selection stay then. */
export function put(place, ...children) {
  const fresh = make("div", {}, ...children);
  if (place.dataset.same === fresh.textContent && place.childElementCount === fresh.childElementCount) return false;
  place.dataset.same = fresh.textContent;
  const scrolled = [...place.querySelectorAll(".scroll")].map((each) => each.scrollTop);
  place.replaceChildren(...fresh.childNodes);
  [...place.querySelectorAll(".scroll")].forEach((each, index) => { each.scrollTop = scrolled[index] ?? 0; });
  return true;
}

/** A table with a caption. A column whose heading ends with `#` holds numbers. Cells are text or elements. */
export function table(caption, headings, rows) {
  const isNumber = headings.map((heading) => heading.endsWith("#"));
  const head = headings.map((heading, index) => make(heading ? "th" : "td", !heading ? {} : { scope: "col", class: isNumber[index] ? "num" : null }, heading.replace(/#$/, "")));
  const body = rows.map((row) => make("tr", {}, row.map((cell, index) =>
    index === 0 ? make("th", { scope: "row", class: isNumber[0] ? "num" : null }, cell) : make("td", { class: isNumber[index] ? "num" : null }, cell))));
  return make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, head)), make("tbody", {}, body));
}

export function gauge(share, tone = "") {
  const inner = make("span");
  inner.style.width = `${Math.max(0, Math.min(100, 100 * share))}%`;
  return make("span", { class: `gauge ${tone}`, "aria-hidden": "true" }, inner);
}

export const pairs = (rows) => make("dl", { class: "pairs" }, rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
export const empty = (text) => make("p", { class: "empty" }, text);
export const scrolled = (label, inner) => make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, inner);
