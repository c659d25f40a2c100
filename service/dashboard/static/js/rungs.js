// Networks that healed a little in the search, to be chosen by that: their scores on every rung, and how alike rungs rank.

import { el } from "./dom.js";
import { amount, duration, named } from "./format.js";

export class Rungs {
  #region;
  #table;
  #note;
  #select;

  /**
   * @param {HTMLElement} region hidden while nothing has climbed
   * @param {HTMLTableElement} table
   * @param {HTMLElement} note says what was chosen
   * @param {(id: string) => void} select called with the network of a row that was clicked
   */
  constructor(region, table, note, select) {
    this.#region = region;
    this.#table = table;
    this.#note = note;
    this.#select = select;
  }

  /** @param {object} answer of `/healing` */
  draw({ fidelities, fidelity_scores: scores, fidelity_found: found }) {
    this.#region.hidden = scores.length === 0;
    if (scores.length === 0) return;
    const levels = [...new Set(scores.map((score) => score.level))].sort((a, b) => a - b);
    const networks = new Map();
    for (const score of scores) networks.set(score.architecture_id, { ...networks.get(score.architecture_id), [score.level]: score });
    const metric = moved(scores, found);
    const steps = (level) => Math.max(...scores.filter((score) => score.level === level).map((score) => score.steps));
    const heads = ["Network", "As found", ...levels.map((level) => `After ${steps(level).toLocaleString("en")} steps`), "Time", "Chosen"];
    this.#table.tHead.replaceChildren(el("tr", {}, ...heads.map((head, place) => el("th", { scope: "col", class: place > 0 && place < heads.length - 1 ? "end" : null }, head))));
    const chosen = new Set(fidelities?.points ?? []);
    this.#table.tBodies[0].replaceChildren(...[...networks].map(([id, rungs]) => this.#row(id, rungs, levels, metric, found[id], chosen.has(id))));
    this.#note.textContent = said(fidelities, metric);
  }

  #row(id, rungs, levels, metric, found, isChosen) {
    const value = (metrics) => (metric === null || typeof metrics?.[metric] !== "number" ? "–" : amount(metric, metrics[metric]));
    const cell = (score) => (score?.refused ? el("span", { class: "quiet", title: score.refused }, "cannot heal") : value(score?.metrics));
    const button = el("button", { type: "button", class: "pick", onclick: () => this.#select(id) }, el("code", {}, id));
    const numbers = [value(found), ...levels.map((level) => cell(rungs[level])), duration(Math.max(...Object.values(rungs).map((score) => score.seconds)))];
    const cells = numbers.map((number) => el("td", { class: "num end" }, number));
    return el("tr", { "data-testid": "rung-row" }, el("th", { scope: "row" }, button), ...cells, el("td", {}, isChosen ? "on the front of the last rung" : ""));
  }
}

/** The first metric that healing changes. */
function moved(scores, found) {
  for (const { architecture_id: id, metrics } of scores) {
    const metric = Object.keys(metrics).find((name) => found[id] !== undefined && typeof metrics[name] === "number" && metrics[name] !== found[id][name]);
    if (metric !== undefined) return metric;
  }
  return null;
}

/** What was chosen, and how alike the rungs rank. */
function said(fidelities, metric) {
  if (fidelities === null) return "Networks of the search heal a little, to be chosen by what they then score on validation examples.";
  const spent = fidelities.rungs.reduce((sum, rung) => sum + rung.spent_steps, 0);
  const alike = fidelities.correlations
    .filter((one) => one.metric === metric && one.kendall !== null)
    .map((one) => `${one.low} and ${one.high} steps: ${one.kendall.toFixed(2)} and ${one.spearman.toFixed(2)} of ${one.networks} networks`);
  const ranks = alike.length ? ` Rank correlations of ${named(metric)} (Kendall's tau, Spearman's rho) between ${alike.join("; ")}.` : "";
  const fresh = fidelities.not_found_before.length;
  return `Chosen by validation scores on the last rung (${fidelities.chosen_by}): ${fidelities.points.length} networks, ${fresh} of them not on the front as found; ${spent.toLocaleString("en")} steps of healing in all.${ranks}`;
}
