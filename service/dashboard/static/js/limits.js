// Limits on the front's metrics: what remains, the network to take, and what a little more would buy.

import { inside } from "./brush.js";
import { afterCalm, el, throttle } from "./dom.js";
import { amount, label, named } from "./format.js";

// A limit in the address: `max.latency_ms=5`, or `min.` where more is better.
const CALM_MS = 120;
const WORDS = { minimize: "max", maximize: "min" };
// While a slider moves, the network that would be best is asked for at most this often.
const SOLVE_MS = 200;

export class Limits {
  #element;
  #results;
  #view;
  #changed;
  #choose;
  #solve;
  #ask = throttle(() => this.#solved(), SOLVE_MS);
  #asked = new Map(); // metric -> limit
  #offered = "";
  #rows = new Map(); // metric -> {input, said, values}

  /**
   * @param {HTMLElement} element
   * @param {import("./results.js").Results} results
   * @param {import("./view.js").View} view where limits are kept
   * @param {() => void} changed called when limits were moved
   * @param {(id: string) => void} choose called with the network that somebody takes
   * @param {((limits: object) => Promise<object>) | null} solve asks for the best of all networks, evaluated or not
   */
  constructor(element, results, view, changed, choose, solve = null) {
    this.#view = view;
    this.#element = element;
    this.#results = results;
    this.#changed = changed;
    this.#choose = choose;
    this.#solve = solve;
    this.read();
    view.onChange(() => {
      this.read();
      this.show();
      changed();
    });
  }

  get isOn() {
    return this.#asked.size > 0;
  }

  /** The best network within all limits, or null. */
  get best() {
    return this.#best(this.#results.front.filter(inside(this.ranges)));
  }

  /** All limits as [metric, low, high]. */
  get ranges() {
    return this.#rangesBut(null);
  }

  #rangesBut(left) {
    const asked = [...this.#asked].filter(([metric]) => metric !== left);
    return asked.map(([metric, limit]) => (this.#results.goalOf(metric) === "maximize" ? [metric, limit, Infinity] : [metric, -Infinity, limit]));
  }

  /** Limits from the address; those of unknown metrics are left alone. */
  read() {
    this.#asked.clear();
    for (const [name, value] of this.#view.entries()) {
      const [word, ...metric] = name.split(".");
      if (Object.values(WORDS).includes(word) && metric.length && value !== "" && Number.isFinite(Number(value))) this.#asked.set(metric.join("."), Number(value));
    }
    this.#offered = "";
  }

  // Not with every step of a drag: browsers refuse an address that changes too often.
  #write = afterCalm(() => {
    this.#view.replace(/^(min|max)\./, Object.fromEntries([...this.#asked].map(([metric, limit]) => [`${this.#word(metric)}.${metric}`, limit])));
  }, CALM_MS);

  /** Draws a slider for each metric in which networks of the front differ. */
  show() {
    const front = this.#results.front;
    const metrics = this.#results.metrics().filter((metric) => this.#results.goalOf(metric) && this.#values(metric).length > 1 && !metric.startsWith("predicted_"));
    const offered = JSON.stringify(metrics.map((metric) => [metric, this.#values(metric)]));
    this.#element.hidden = front.length < 2 || metrics.length === 0;
    if (offered !== this.#offered) {
      this.#offered = offered;
      this.#rows.clear();
      const rows = metrics.map((metric) => this.#row(metric));
      this.#element.replaceChildren(
        el("div", { class: "limit-rows" }, ...rows),
        el("p", { class: "remains", "data-testid": "remains", "aria-live": "polite" }),
        ...(this.#solve ? [el("p", { class: "solved quiet small", "data-testid": "solved", "aria-live": "polite" })] : []),
      );
    }
    this.#say();
  }

  // --- sliders ------------------------------------------------------------------------------------

  #row(metric) {
    const values = this.#values(metric); // from the strictest limit to none
    const said = el("output", {});
    const asked = this.#asked.get(metric);
    const place = asked === undefined ? values.length - 1 : Math.max(0, this.#placeOf(metric, values, asked));
    const input = el("input", { type: "range", min: 0, max: values.length - 1, step: 1, value: place, "data-metric": metric });
    input.addEventListener("input", () => {
      const at = Number(input.value);
      if (at === values.length - 1) this.#asked.delete(metric);
      else this.#asked.set(metric, values[at]);
      this.#write();
      this.#say();
      this.#changed();
    });
    this.#rows.set(metric, { input, said, values });
    const word = this.#results.goalOf(metric) === "minimize" ? "at most" : "at least";
    return el("label", {}, el("span", {}, `${label(metric)} ${word} `, said), input);
  }

  #placeOf(metric, values, asked) {
    let found = -1;
    values.forEach((value, at) => {
      if (this.#within(metric, value, asked)) found = at;
    });
    return found;
  }

  #values(metric) {
    const found = [...new Set(this.#results.front.map((point) => point.metrics[metric]).filter((value) => value !== undefined))];
    const sign = this.#results.goalOf(metric) === "maximize" ? -1 : 1;
    return found.sort((a, b) => sign * (a - b));
  }

  // --- words --------------------------------------------------------------------------------------

  #say() {
    for (const [metric, { input, said, values }] of this.#rows) {
      const limit = this.#asked.get(metric);
      said.textContent = limit === undefined ? "any" : amount(metric, limit);
      input.setAttribute("aria-valuetext", said.textContent);
      if (limit === undefined) input.value = values.length - 1;
    }
    if (this.#solve) this.#ask();
    const line = this.#element.querySelector(".remains");
    if (!line) return;
    const kept = this.#results.front.filter(inside(this.ranges));
    this.#element.dataset.remaining = String(kept.length);
    const count = `${kept.length} of ${this.#results.front.length} networks remain.`;
    if (!this.isOn) {
      line.replaceChildren("Move a slider to see what remains under your limits.");
      return;
    }
    const best = this.#best(kept);
    if (!best) {
      line.replaceChildren(`${count} No network of the front keeps these limits together.`);
      return;
    }
    const metric = this.#quality();
    const take = el("button", { type: "button", class: "pick plain", "data-testid": "take", onclick: () => this.#choose(best.id) }, best.id);
    line.replaceChildren(`${count} Take `, take, `: ${named(metric)} ${amount(metric, best.metrics[metric])}. `, this.#more(best));
  }

  /** What is predicted to be best of all networks, those too that nobody has evaluated. */
  async #solved() {
    const line = this.#element.querySelector(".solved");
    if (!line) return;
    if (!this.isOn) {
      line.replaceChildren();
      return;
    }
    const limits = Object.fromEntries([...this.#asked].filter(([metric]) => !metric.startsWith("test_")));
    try {
      const { objective, solutions, distrust } = await this.#solve(limits);
      const [best] = solutions;
      const { value, low, high, exact } = best.predicted[objective];
      const range = exact || low === null ? "" : ` (${amount(objective, low)} to ${amount(objective, high)})`;
      const found = best.feasible ? "The best of all networks, evaluated or not, is" : "No network at all keeps these limits. The nearest is";
      const doubt = distrust.length ? ` Do not trust that: ${distrust[0]}` : "";
      line.replaceChildren(`${found} ${best.architecture_id}: predicted ${named(objective)} ${amount(objective, value)}${range}.${doubt}`);
    } catch (error) {
      line.replaceChildren(error.message);
    }
  }

  /** What the cheapest relaxation of one limit buys. */
  #more(best) {
    const metric = this.#quality();
    const said = [];
    for (const [limited, limit] of this.#asked) {
      if (limited === metric) continue;
      const others = this.#results.front.filter(inside(this.#rangesBut(limited)));
      const sign = this.#results.goalOf(metric) === "minimize" ? -1 : 1;
      const better = others.filter((point) => sign * point.metrics[metric] > sign * best.metrics[metric] && point.metrics[limited] !== undefined);
      const price = (point) => Math.abs(point.metrics[limited] - limit);
      const next = better.sort((a, b) => price(a) - price(b))[0];
      if (next) said.push(`${label(limited)} of ${amount(limited, next.metrics[limited])} would give ${amount(metric, next.metrics[metric])}.`);
    }
    return said.join(" ");
  }

  #best(points) {
    const metric = this.#quality();
    const sign = this.#results.goalOf(metric) === "minimize" ? -1 : 1;
    return points.reduce((best, point) => (best && sign * best.metrics[metric] >= sign * (point.metrics[metric] ?? -sign * Infinity) ? best : point), null);
  }

  #quality() {
    return this.#results.objectives[0]?.metric ?? "accuracy";
  }

  #word(metric) {
    return WORDS[this.#results.goalOf(metric)] ?? "max";
  }

  #within(metric, value, limit) {
    if (value === undefined) return false;
    return this.#results.goalOf(metric) === "maximize" ? value >= limit : value <= limit;
  }
}
