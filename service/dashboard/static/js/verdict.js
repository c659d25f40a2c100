// The network to take, where a page begins: the best under the limits that are set, else the knee.

import { el, inNextFrame } from "./dom.js";
import { amount, label, spread, times } from "./format.js";

// Numbers that fit in the strip.
const MOST = 4;

export class Verdict {
  #element;
  #results;
  #limits;
  #exports;
  #choose;
  #page;
  #complain;
  #said = "";

  /**
   * @param {HTMLElement} element
   * @param {import("./results.js").Results} results
   * @param {import("./limits.js").Limits} limits
   * @param {import("./exports.js").Exports} exports
   * @param {(id: string) => void} choose called with the network that somebody looks at or exports
   * @param {(id: string) => string} page address of a network's page
   * @param {(error: Error) => void} complain says why an export was refused
   */
  constructor(element, results, limits, exports, choose, page, complain) {
    this.#element = element;
    this.#results = results;
    this.#limits = limits;
    this.#exports = exports;
    this.#choose = choose;
    this.#page = page;
    this.#complain = complain;
  }

  /** There are new results, limits, or news of an export. */
  show = inNextFrame(() => this.#render());

  #render() {
    const { front, knee, final, reference, objectives } = this.#results;
    const isLimited = this.#limits.isOn;
    const best = isLimited ? this.#limits.best : (front.find((point) => point.id === knee) ?? null);
    const made = best ? this.#exports.of(best.id) : null;
    const said = JSON.stringify([isLimited, final, best, made, front.length, reference?.id]);
    if (said === this.#said) return;
    this.#said = said;
    this.#element.hidden = !best && !(isLimited && front.length);
    if (this.#element.hidden) return;
    const title = el("h2", {}, isLimited ? "Best under your limits" : final ? "Recommended: the knee" : "Knee so far");
    if (!best) {
      this.#element.replaceChildren(el("div", { class: "verdict-name" }, title, el("p", { class: "quiet" }, "No network of the front keeps these limits together.")));
      return;
    }
    const numbers = objectives.map(({ metric }) => metric).filter((metric) => metric in best.metrics).slice(0, MOST);
    this.#element.replaceChildren(
      el("div", { class: "verdict-name" }, title, el("button", { type: "button", class: "pick plain", "data-testid": "verdict-network", onclick: () => this.#choose(best.id) }, best.id)),
      el("dl", { class: "verdict-numbers" }, ...numbers.map((metric) => el("div", {}, el("dt", {}, label(metric)), el("dd", {}, amount(metric, best.metrics[metric]), ...this.#beside(best, metric))))),
      el("div", { class: "verbs" }, this.#export(best, made), el("a", { class: "button", href: this.#page(best.id) }, "Its page")),
    );
  }

  #beside(point, metric) {
    const { reference } = this.#results;
    const wide = spread(metric, point.metrics[metric], point.intervals?.[metric]);
    const ratio = reference && reference.id !== point.id ? times(point.ratios?.[metric]) : "";
    return [
      wide ? el("small", { title: "95 % interval" }, wide) : null,
      ratio ? el("small", { title: `of the ${reference.name}'s` }, ratio) : null,
    ];
  }

  #export(best, made) {
    if (made?.state === "succeeded") return el("a", { class: "button primary", href: made.download_url, download: true }, "Download");
    const waits = made && made.state !== "failed";
    return el("button", { type: "button", class: "button primary", disabled: Boolean(waits), "data-testid": "verdict-export", onclick: () => this.#ask(best.id) }, waits ? "Exporting…" : "Export");
  }

  /** What becomes of it is said here and in the network's panel. */
  async #ask(id) {
    this.#choose(id);
    try {
      await this.#exports.request(id);
    } catch (error) {
      this.#complain(error);
    }
  }
}
