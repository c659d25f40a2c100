// The front as a table: the same points as the plot, for eyes, keyboards and screen readers.

import { afterCalm, el, inNextFrame } from "./dom.js";
import { amount, label, spread, times } from "./format.js";

// While somebody drags, rows wait.
const CALM_MS = 150;
// Rows of a selection beyond the front: more are in the files. So many are made in one frame.
const [LISTED, AT_ONCE] = [200, 25];

export class FrontTable {
  #table;
  #choose;
  #keeps;
  #brush;
  #title;
  #draw = inNextFrame(() => this.#results && this.#render());
  #later = afterCalm(this.#draw, CALM_MS);
  #results = null;
  #selected = null;
  #sort = null; // {metric, down}
  #round = 0;

  /**
   * @param {HTMLTableElement} table
   * @param {HTMLElement} title says what is listed
   * @param {import("./brush.js").Brush} brush while something is selected, the table lists that, evaluated or on the front
   */
  constructor(table, title, choose, keeps, brush) {
    this.#keeps = keeps;
    this.#table = table;
    this.#title = title;
    this.#brush = brush;
    this.#choose = choose;
    brush.onChange(this.#later);
    table.tBodies[0].addEventListener("keydown", (event) => this.#move(event));
  }

  show(results) {
    this.#results = results;
    this.#draw();
  }

  /** Limits were moved: rows of the front stay, those beyond are faint; a selection is listed anew. */
  fade() {
    if (this.#brush.isOn) this.#later();
    else this.#pale();
  }

  #pale = inNextFrame(() => {
    const keeps = this.#keeps();
    for (const row of this.#table.tBodies[0].rows) {
      const point = this.#results?.find(row.dataset.architectureId);
      if (point) row.classList.toggle("beyond", !keeps(point));
    }
  });

  select(id) {
    this.#selected = id;
    for (const row of this.#table.tBodies[0].querySelectorAll("[data-architecture-id]")) mark(row, row.dataset.architectureId === id);
  }

  #render() {
    const { front, evaluated } = this.#results;
    const metrics = this.#results.metrics().filter((metric) => front.some((point) => metric in point.metrics));
    const focused = document.activeElement?.closest?.("#front-table [data-focus]")?.dataset.focus;
    const heads = metrics.map((metric) => this.#head(metric));
    this.#table.tHead.replaceChildren(el("tr", {}, el("th", { scope: "col" }, "Network"), ...heads));
    const round = ++this.#round;
    const body = this.#table.tBodies[0];
    if (this.#brush.isOn) {
      const rows = this.#selection(evaluated, metrics);
      const add = () => {
        if (round !== this.#round) return;
        body.append(...rows.splice(0, AT_ONCE).map((make) => make()));
        if (rows.length) requestAnimationFrame(add);
      };
      body.replaceChildren();
      add();
    } else {
      body.replaceChildren(...this.#ofFront(metrics));
    }
    if (focused) this.#table.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  }

  #ofFront(metrics) {
    const { front, reference, beside } = this.#results;
    this.#title.textContent = "Networks on the front";
    const rows = this.#sorted(front).map((point) => this.#row(point, metrics));
    // The reference stands first, whether or not it is on the front too.
    if (reference) rows.unshift(this.#row(reference, metrics, reference.name));
    for (const one of beside) rows.push(this.#row(one, metrics, "beside the front"));
    return front.length ? rows : [this.#none("No network that was evaluated meets the limits."), ...rows];
  }

  /** What is selected, as functions that make a row each: of the front first, then of everything evaluated. */
  #selection(evaluated, metrics) {
    const keeps = this.#keeps();
    const front = this.#results.front.filter(keeps);
    const others = evaluated.filter((point) => !point.onFront && keeps(point));
    this.#title.textContent = `Selected: ${front.length} on the front, ${others.length} others`;
    const listed = this.#sorted(others).slice(0, LISTED);
    const left = others.length - listed.length;
    return [
      ...this.#sorted(front).map((point) => () => this.#row(point, metrics)),
      ...listed.map((point) => () => this.#row(point, metrics, "evaluated")),
      ...(left ? [() => this.#none(`${left} more are selected; sort by a column to bring others up, or save the plot's data.`)] : []),
      ...(front.length + others.length ? [] : [() => this.#none("No network lies in the selection.")]),
    ];
  }

  #none(words) {
    return el("tr", { class: "none" }, el("td", { colspan: 20 }, words));
  }

  #sorted(points) {
    if (!this.#sort) return points;
    const { metric, down } = this.#sort;
    const of = (point) => point.metrics[metric] ?? (down ? -Infinity : Infinity);
    return [...points].sort((a, b) => (down ? of(b) - of(a) : of(a) - of(b)));
  }

  #head(metric) {
    const current = this.#sort?.metric === metric;
    const order = current ? (this.#sort.down ? "descending" : "ascending") : null;
    const button = el(
      "button",
      { type: "button", "data-focus": `head ${metric}`, onclick: () => this.#sortBy(metric) },
      label(metric),
      el("span", { class: "arrow", "aria-hidden": "true" }, current ? (this.#sort.down ? "↓" : "↑") : ""),
    );
    const isHeldOut = this.#results.heldOut.includes(metric);
    const on = isHeldOut ? el("small", { class: "wide", title: "on what no search has seen" }, "held out") : null;
    return el("th", { scope: "col", class: "end", "aria-sort": order }, button, on);
  }

  #sortBy(metric) {
    const first = this.#results.goalOf(metric) === "maximize"; // best first
    const down = this.#sort?.metric === metric ? !this.#sort.down : first;
    this.#sort = { metric, down };
    this.#render();
  }

  /** @param {string | null} role what it is beside the front; null: a network of it */
  #row(point, metrics, role = null) {
    const isKnee = role === null && point.id === this.#results.knee;
    const rivals = role === null ? (point.rivals ?? []) : [];
    const name = el("button", { type: "button", class: "pick", "data-focus": `row ${point.id}` }, point.id);
    const row = el(
      "tr",
      { "data-testid": role === null ? "front-row" : "beside-row", class: role === null ? "" : "beside", "data-architecture-id": point.id, onclick: () => this.#choose(point.id) },
      el("th", { scope: "row" }, name,
        isKnee ? el("span", { class: "tag grain" }, "knee") : null,
        role ? el("span", { class: "tag dim" }, role) : null,
        rivals.length ? el("span", { class: "tag dim", title: `clearly better in nothing than ${rivals.join(", ")}: the intervals overlap` }, "within error") : null,
      ),
      ...metrics.map((metric) => this.#cell(metric, point)),
    );
    row.classList.toggle("beyond", !this.#keeps()(point));
    mark(row, point.id === this.#selected);
    return row;
  }

  #cell(metric, point) {
    const value = point.metrics[metric];
    const isBroken = this.#results.breaks(metric, value);
    const how = point.sources?.[metric] ?? null;
    const title = isBroken ? `${how ?? ""} value breaks the limit` : how;
    const wide = spread(metric, value, point.intervals?.[metric]);
    const isReference = point.id === this.#results.reference?.id;
    const ratio = isReference || !this.#results.objectives.some((one) => one.metric === metric) ? "" : times(point.ratios?.[metric]);
    return el("td", { class: isBroken ? "num end broken" : "num end", title, "data-name": label(metric) },
      amount(metric, value),
      wide ? el("small", { class: "wide", title: "95 % interval" }, wide) : null,
      ratio ? el("small", { class: "ratio", title: `of the ${this.#results.reference?.name}'s` }, ratio) : null,
    );
  }

  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const buttons = [...this.#table.tBodies[0].querySelectorAll("button.pick")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}

function mark(row, isSelected) {
  row.classList.toggle("selected", isSelected);
  const button = row.querySelector("button.pick");
  button.setAttribute("aria-pressed", String(isSelected));
}
