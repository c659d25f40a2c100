// Parallel coordinates: every metric an axis, every network a line. A drag along an axis selects a range of it.

import { afterCalm, el, inNextFrame, onThemeChange, token } from "./dom.js";
import { label, mark } from "./format.js";
import { channels, Density, fit } from "./pixels.js";

const [TOP, BOTTOM, SIDE] = [46, 26, 46];
// Lines of the cloud that are drawn: more are one grey mass. Those of the front all are. While somebody drags, here or
// elsewhere, few stand for them until the hand rests: a frame must not wait for lines that nobody can follow.
const [CLOUD, HURRIED] = [1500, 250];
// Drawn again within such a time somebody drags; after such a rest all lines are drawn, in milliseconds.
const [HURRY_MS, CALM_MS] = [200, 120];
// Lines drawn in one go, so that a frame stays short.
const BATCH = 400;
// A pointer that moved less has clicked, and how near an axis it must be, in pixels.
const [STILL, REACH] = [4, 22];
// Axes that fit side by side: of more metrics the first ones.
const ROOM = 84;

export class Parallel {
  #card;
  #element;
  #canvas;
  #note;
  #brush;
  #keeps;
  #results = null;
  #selected = null;
  #axes = []; // {metric, x, low, high, up}
  #laid = false; // whether axes and size are those of the results and the window
  #beyond = 0; // axes that have no room
  #density = null;
  #drag = null;
  #round = 0;
  #last = -Infinity; // when it was drawn
  #draw;
  #calm = afterCalm(() => {
    this.#last = -Infinity;
    this.#draw();
  }, CALM_MS);

  /**
   * @param {{card: HTMLElement, element: HTMLElement, note: HTMLElement}} parts
   * @param {import("./brush.js").Brush} brush
   * @param {() => (point: object) => boolean} keeps tests whether points are within limits and selection
   */
  constructor({ card, element, note }, brush, keeps) {
    this.#card = card;
    this.#element = element;
    this.#note = note;
    this.#brush = brush;
    this.#keeps = keeps;
    this.#canvas = element.appendChild(el("canvas", { "aria-hidden": "true" }));
    this.#draw = inNextFrame(() => this.#render());
    brush.onChange(() => this.fade());
    onThemeChange(() => this.#draw());
    new ResizeObserver(() => this.#lose()).observe(element);
    element.addEventListener("pointerdown", (event) => this.#begin(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    element.addEventListener("pointerup", (event) => this.#end(event));
    element.addEventListener("pointercancel", () => (this.#drag = null));
    // Where an axis has a value, for scripts that drive the page.
    element.pixelOf = (metric, value) => {
      const axis = this.#axes.find((one) => one.metric === metric);
      return axis ? { x: axis.x, y: this.#yOf(axis, value) } : null;
    };
  }

  show(results) {
    this.#results = results;
    this.#lose();
  }

  #lose() {
    this.#laid = false;
    this.#draw();
  }

  /** Limits or the selection were moved: other lines on the same axes. */
  fade() {
    this.#draw();
  }

  select(id) {
    this.#selected = id;
    this.#draw();
  }

  // --- axes ---------------------------------------------------------------------------------------

  #lay() {
    const results = this.#results;
    const points = [...results.front, ...results.evaluated];
    const { clientWidth: width, clientHeight: height } = this.#element;
    if (!width) return;
    [this.#width, this.#height, this.#laid] = [width, height, true];
    const axes = [];
    for (const metric of results.metrics()) {
      let [low, high, known] = [Infinity, -Infinity, 0];
      for (const { metrics } of points) {
        const value = metrics[metric];
        if (value === undefined) continue;
        known += 1;
        if (value < low) low = value;
        if (value > high) high = value;
      }
      // An axis on which everything lies at one place, or that only few have, says nothing.
      if (low < high && known > 1) axes.push({ metric, low, high, up: results.goalOf(metric) !== "minimize" });
    }
    const fitting = Math.max(2, Math.floor((width - 2 * SIDE) / ROOM) + 1);
    const shown = axes.slice(0, fitting);
    const step = shown.length > 1 ? (width - 2 * SIDE) / (shown.length - 1) : 0;
    this.#axes = shown.map((axis, place) => ({ ...axis, x: SIDE + place * step }));
    this.#beyond = axes.length - shown.length;
  }

  // Of the element, as it was when the axes were laid out.
  #width = 0;
  #height = 0;

  /** Better is up on every axis, so that a good network is a line along the top. */
  #yOf({ low, high, up }, value) {
    const share = (value - low) / (high - low);
    return TOP + (up ? 1 - share : share) * (this.#height - TOP - BOTTOM);
  }

  #valueAt({ low, high, up }, y) {
    const share = Math.min(1, Math.max(0, (y - TOP) / (this.#height - TOP - BOTTOM)));
    return low + (up ? 1 - share : share) * (high - low);
  }

  // --- drawing ------------------------------------------------------------------------------------

  #render() {
    const results = this.#results;
    if (!results || results.isEmpty) return;
    this.#card.hidden = false;
    if (!this.#laid) this.#lay();
    if (!this.#laid) return;
    const ratio = window.devicePixelRatio || 1;
    const [wide, high] = [Math.round(this.#width * ratio), Math.round(this.#height * ratio)];
    if (fit(this.#canvas, wide, high) || !this.#density) this.#density = new Density(wide, high);
    else this.#density.clear();
    const hurried = performance.now() - this.#last < HURRY_MS;
    this.#last = performance.now();
    if (hurried) this.#calm();
    const { crowd, layers, left } = this.#layers(hurried ? HURRIED : CLOUD);
    this.#say(left, layers);
    const round = ++this.#round;
    const work = chunks(crowd.points, BATCH);
    const pen = this.#canvas.getContext("2d");
    const step = () => {
      if (round !== this.#round) return;
      const begun = performance.now();
      while (work.length && performance.now() - begun < 8) this.#crowd(work.shift(), ratio);
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.putImageData(this.#density.image(channels(crowd.colour), crowd.opacity), 0, 0);
      for (const layer of layers) this.#lines(pen, layer);
      this.#frame(pen);
      if (work.length) requestAnimationFrame(step);
    };
    step();
  }

  /**
   * What is drawn: the crowd, and before it layers from the back to the front; `left`: lines of the crowd that are not,
   * once the hand rests.
   */
  #layers(most = CLOUD) {
    const results = this.#results;
    const keeps = this.#keeps();
    const kept = results.evaluated.filter((point) => !point.onFront && keeps(point));
    const points = sampled(kept, most);
    const grain = token("--grain");
    const front = results.front;
    const selected = results.find(this.#selected);
    const crowd = { points, colour: token("--chaff"), opacity: Math.min(0.45, Math.max(0.07, 60 / points.length)), width: 1 };
    const layers = [
      { points: front.filter((point) => !keeps(point)), colour: grain, opacity: 0.12, width: 1 },
      { points: front.filter(keeps), colour: grain, opacity: 0.75, width: 1.4 },
      { points: selected ? [selected] : [], colour: token("--accent"), opacity: 1, width: 2.5 },
    ];
    return { crowd, layers, left: Math.max(0, kept.length - CLOUD) };
  }

  /** Lines of the crowd, counted in pixels; a line has a gap where its network lacks a number. */
  #crowd(points, ratio) {
    const axes = this.#axes;
    for (let place = 1; place < axes.length; place += 1) {
      const [one, other] = [axes[place - 1], axes[place]];
      const [from, to] = [one.x * ratio, other.x * ratio];
      for (const { metrics } of points) {
        const [a, b] = [metrics[one.metric], metrics[other.metric]];
        if (a !== undefined && b !== undefined) this.#density.line(from, this.#yOf(one, a) * ratio, to, this.#yOf(other, b) * ratio);
      }
    }
  }

  #lines(pen, { points, colour, opacity, width }) {
    pen.strokeStyle = colour;
    pen.globalAlpha = opacity;
    pen.lineWidth = width;
    pen.beginPath();
    for (const point of points) {
      let begun = false;
      for (const axis of this.#axes) {
        const value = point.metrics[axis.metric];
        if (value === undefined) {
          begun = false; // a line has a gap where its network lacks a number
          continue;
        }
        const y = this.#yOf(axis, value);
        if (begun) pen.lineTo(axis.x, y);
        else pen.moveTo(axis.x, y);
        begun = true;
      }
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }

  #frame(pen) {
    const [ink, ink2, line, accent, panel] = ["--ink", "--ink-2", "--line-2", "--accent", "--panel"].map(token);
    const bottom = this.#height - BOTTOM;
    pen.textAlign = "center";
    for (const axis of this.#axes) {
      pen.strokeStyle = line;
      pen.lineWidth = 1;
      pen.strokeRect(axis.x - 0.5, TOP, 0, bottom - TOP);
      pen.font = `600 11px ${token("--sans")}`;
      pen.fillStyle = ink;
      const words = wrapped(label(axis.metric));
      words.forEach((word, place) => pen.fillText(word, axis.x, 12 + 12 * place + (words.length === 1 ? 6 : 0)));
      pen.font = `11px ${token("--sans")}`;
      pen.fillStyle = ink2;
      pen.fillText(mark(axis.metric, axis.up ? axis.high : axis.low), axis.x, TOP - 7);
      pen.fillText(mark(axis.metric, axis.up ? axis.low : axis.high), axis.x, bottom + 16);
      const range = this.#drag?.axis.metric === axis.metric && this.#drag.range ? this.#drag.range : this.#brush.of(axis.metric);
      if (!range) continue;
      const [from, to] = range.map((value) => Math.min(bottom, Math.max(TOP, this.#yOf(axis, value)))).sort((a, b) => a - b);
      pen.fillStyle = accent;
      pen.globalAlpha = 0.25;
      pen.fillRect(axis.x - 8, from, 16, Math.max(2, to - from));
      pen.globalAlpha = 1;
      pen.strokeStyle = accent;
      pen.lineWidth = 1.5;
      pen.strokeRect(axis.x - 8, from, 16, Math.max(2, to - from));
      pen.strokeStyle = panel;
    }
  }

  #say(left, layers) {
    const [kept, beyond] = [layers[1].points.length, this.#beyond];
    this.#element.setAttribute("aria-label", `Parallel coordinates of ${this.#axes.length} metrics, better is up: ${kept} of ${this.#results.front.length} networks of the front are in the selection.`);
    this.#element.dataset.front = String(kept);
    const notes = [
      left > 0 ? `of ${(left + CLOUD).toLocaleString("en")} others ${CLOUD.toLocaleString("en")} are drawn` : "",
      beyond > 0 ? `${beyond} more ${beyond === 1 ? "metric needs" : "metrics need"} a wider window` : "",
    ];
    const said = `Better is up. Drag along an axis to select, click it to clear${notes.filter(Boolean).map((one) => `; ${one}`).join("")}.`;
    if (this.#note.textContent !== said) this.#note.textContent = said;
  }

  // --- selecting ----------------------------------------------------------------------------------

  #begin(event) {
    if (event.button !== 0) return;
    const { left, top } = this.#placeOf(event);
    const axis = this.#axes.find((one) => Math.abs(one.x - left) < REACH);
    if (!axis) return;
    this.#element.setPointerCapture(event.pointerId);
    this.#drag = { axis, from: top, range: null };
    event.preventDefault();
  }

  #move(event) {
    const { left, top } = this.#placeOf(event);
    if (!this.#drag) {
      this.#element.style.cursor = this.#axes.some((one) => Math.abs(one.x - left) < REACH) ? "ns-resize" : "";
      return;
    }
    const { axis, from } = this.#drag;
    if (Math.abs(top - from) < STILL) return;
    this.#drag.range = [this.#valueAt(axis, from), this.#valueAt(axis, top)].sort((a, b) => a - b);
    this.#brush.set({ [axis.metric]: this.#drag.range });
  }

  #end() {
    if (!this.#drag) return;
    const { axis, range } = this.#drag;
    this.#drag = null;
    if (!range) this.#brush.set({ [axis.metric]: null });
    this.#draw();
  }

  #placeOf(event) {
    const box = this.#element.getBoundingClientRect();
    return { left: event.clientX - box.left, top: event.clientY - box.top };
  }

  // --- saving -------------------------------------------------------------------------------------

  picture(kind) {
    if (!this.#results) return null;
    if (kind === "svg") return URL.createObjectURL(new Blob([this.#svg()], { type: "image/svg+xml" }));
    const copy = el("canvas", { width: this.#canvas.width, height: this.#canvas.height });
    const pen = copy.getContext("2d");
    pen.fillStyle = token("--panel");
    pen.fillRect(0, 0, copy.width, copy.height);
    pen.drawImage(this.#canvas, 0, 0);
    return copy.toDataURL("image/png");
  }

  #svg() {
    const [width, height] = [this.#width, this.#height];
    const bottom = height - BOTTOM;
    const { crowd, layers } = this.#layers();
    const lines = [crowd, ...layers].flatMap(({ points, colour, opacity, width: thick }) => {
      const paths = points.map((point) => this.#axes.map((axis) => ({ axis, value: point.metrics[axis.metric] })).filter(({ value }) => value !== undefined).map(({ axis, value }) => `${axis.x.toFixed(1)},${this.#yOf(axis, value).toFixed(1)}`).join(" "));
      return paths.map((places) => `<polyline points="${places}" fill="none" stroke="${colour}" stroke-opacity="${opacity}" stroke-width="${thick}"/>`);
    });
    const words = this.#axes.map((axis) => `<path d="M${axis.x} ${TOP}V${bottom}" stroke="${token("--line-2")}"/><text x="${axis.x}" y="16" font-weight="600">${escaped(label(axis.metric))}</text><text x="${axis.x}" y="${TOP - 7}">${escaped(mark(axis.metric, axis.up ? axis.high : axis.low))}</text><text x="${axis.x}" y="${bottom + 16}">${escaped(mark(axis.metric, axis.up ? axis.low : axis.high))}</text>`);
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11" text-anchor="middle" fill="${token("--ink")}"><rect width="100%" height="100%" fill="${token("--panel")}"/>${lines.join("")}${words.join("")}</svg>`;
  }

  rows() {
    const metrics = this.#axes.map((axis) => axis.metric);
    const points = this.#results.front.filter(this.#keeps());
    return { head: ["architecture_id", ...metrics], rows: points.map((point) => [point.id, ...metrics.map((metric) => point.metrics[metric] ?? null)]) };
  }
}

function chunks(all, size) {
  const found = [];
  for (let at = 0; at < all.length; at += size) found.push(all.slice(at, at + size));
  return found;
}

/** An even choice of at most so many. */
function sampled(all, most) {
  if (all.length <= most) return all;
  return Array.from({ length: most }, (_, place) => all[Math.floor((place * all.length) / most)]);
}

/** A name in at most two lines. */
function wrapped(words) {
  if (words.length < 13 || !words.includes(" ")) return [words];
  const middle = words.indexOf(" ", Math.floor(words.length / 2) - 3);
  const at = middle < 0 ? words.lastIndexOf(" ") : middle;
  return [words.slice(0, at), words.slice(at + 1)];
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
