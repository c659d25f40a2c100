// Networks that were trained further with the one that they were cut from: before, after, and what it cost.

import { get } from "./api.js";
import { el, throttle } from "./dom.js";
import { amount, duration, named } from "./format.js";

const LOAD_MS = 2000;

export class Healing {
  #table;
  #note;
  #select;
  #load;

  /**
   * @param {string} jobId
   * @param {HTMLTableElement} table
   * @param {HTMLElement} note says what became of the front
   * @param {(id: string) => void} select called with the network of a row that was clicked
   * @param {(answer: object) => void} found called with the answer of `/healing`, for the plot and the rungs
   */
  constructor(jobId, table, note, select, found) {
    this.#table = table;
    this.#note = note;
    this.#select = select;
    this.#load = throttle(async () => {
      const answer = await get(`/v1/jobs/${jobId}/healing`).catch(() => null);
      if (answer === null) return;
      this.#draw(answer);
      found(answer);
    }, LOAD_MS);
    this.hear();
  }

  /** A network got further. */
  hear() {
    this.#load();
  }

  #draw({ networks, points, front }) {
    const heads = ["Network", "Before", "Healed", "Shipped", "Steps", "Examples", "Time", "Teacher"];
    const end = (place) => (place > 0 && place !== 3 && place !== 7 ? "end" : null);
    this.#table.tHead.replaceChildren(el("tr", {}, ...heads.map((head, place) => el("th", { scope: "col", class: end(place) }, head))));
    this.#table.tBodies[0].replaceChildren(...networks.map((one) => this.#row(one)));
    this.#note.textContent = said(networks, points, front);
  }

  #row(one) {
    const value = (metrics) => (metrics?.[one.metric] === undefined ? "–" : amount(one.metric, metrics[one.metric]));
    const button = el("button", { type: "button", class: "pick", onclick: () => this.#select(one.architecture_id) }, el("code", {}, one.architecture_id));
    const cells = [
      value(one.before),
      one.refused ? el("span", { class: "quiet", title: one.refused }, "not healed") : value(one.after),
      one.better ? "healed" : "as found",
      one.steps.toLocaleString("en"),
      one.tokens === null ? one.examples.toLocaleString("en") : `${one.tokens.toLocaleString("en")} tokens`,
      duration(one.seconds),
      one.teacher,
    ];
    const kinds = ["num end", "num end", null, "num end", "num end", "num end", null];
    return el("tr", { "data-testid": "healed-row" }, el("th", { scope: "row" }, button), ...cells.map((cell, place) => el("td", { class: kinds[place] }, cell)));
  }
}

/** What became of the front, or how far the network is that heals now. */
function said(networks, points, front) {
  if (front !== null) {
    const healed = front.points.filter((point) => point.healed).length;
    const tau = front.rank_correlation === null ? "" : ` Rank correlation of the healed networks before and after: ${front.rank_correlation.toPrecision(2)}.`;
    const [before, after] = [front.hypervolume_before, front.hypervolume_after];
    const grown = before && after !== null ? ` Its hypervolume grew by ${(100 * (after / before - 1)).toPrecision(2)} %.` : "";
    return `With the better weights of each, the front has ${front.points.length} networks, ${healed} of them healed.${grown}${tau}`;
  }
  const last = points.at(-1);
  if (last === undefined || networks.some((one) => one.architecture_id === last.architecture_id)) return networks.length ? "" : "The first network begins to heal.";
  const [metric] = Object.keys(last).filter((name) => !["architecture_id", "step", "learning_rate"].includes(name) && !name.startsWith("loss"));
  return `${last.architecture_id} heals: ${named(metric)} ${amount(metric, last[metric])} after ${last.step} steps.`;
}
