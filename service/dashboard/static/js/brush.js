// A selection by ranges of metrics. Plot, parallel coordinates and table show the same one.

import { afterCalm } from "./dom.js";

const NAME = /^in\./;
const CALM_MS = 120;

export class Brush {
  #view;
  #ranges = new Map(); // metric -> [low, high]
  #heard = new Set();

  /** @param {import("./view.js").View} view where it is kept, as `in.METRIC=LOW..HIGH` */
  constructor(view) {
    this.#view = view;
    this.read();
    view.onChange(() => {
      this.read();
      this.#tell();
    });
  }

  read() {
    this.#ranges.clear();
    for (const [name, value] of this.#view.entries()) {
      if (!NAME.test(name)) continue;
      const ends = value.split("..").map(Number);
      if (ends.length === 2 && ends.every(Number.isFinite) && ends[0] <= ends[1]) this.#ranges.set(name.replace(NAME, ""), ends);
    }
  }

  get isOn() {
    return this.#ranges.size > 0;
  }

  /** The range of a metric, or null. */
  of(metric) {
    return this.#ranges.get(metric) ?? null;
  }

  /** All ranges as [metric, low, high]. */
  get ranges() {
    return [...this.#ranges].map(([metric, ends]) => [metric, ...ends]);
  }

  /** Sets ranges of metrics; null takes one away. */
  set(ranges) {
    for (const [metric, range] of Object.entries(ranges)) {
      if (range === null) this.#ranges.delete(metric);
      else this.#ranges.set(metric, range);
    }
    this.#write();
    this.#tell();
  }

  // Not with every step of a drag: browsers refuse an address that changes too often.
  #write = afterCalm(() => {
    const short = (value) => String(Number(value.toPrecision(7)));
    this.#view.replace(NAME, Object.fromEntries([...this.#ranges].map(([metric, [low, high]]) => [`in.${metric}`, `${short(low)}..${short(high)}`])));
  }, CALM_MS);

  clear() {
    this.set(Object.fromEntries([...this.#ranges.keys()].map((metric) => [metric, null])));
  }

  onChange(hear) {
    this.#heard.add(hear);
  }

  #tell() {
    for (const hear of this.#heard) hear();
  }
}

/**
 * A test of points: whether they lie within ranges of metrics; one without the number lies in none.
 *
 * @param {[metric: string, low: number, high: number][]} ranges
 * @returns {(point: {metrics: object}) => boolean}
 */
export function inside(ranges) {
  return ({ metrics }) => {
    for (const [metric, low, high] of ranges) {
      const value = metrics[metric];
      if (!(value >= low && value <= high)) return false;
    }
    return true;
  };
}
