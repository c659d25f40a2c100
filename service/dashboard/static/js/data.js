// What a job's data are: splits and where they come from, classes, what is left out, and what was taken for what.

import { el } from "./dom.js";

// Classes that are listed; the API has all of them.
const LISTED = 20;

export class DataCard {
  #card;
  #element;

  constructor(card, element) {
    this.#card = card;
    this.#element = element;
  }

  /** A `data` event: the newest reading counts. */
  show(read) {
    this.#card.hidden = false;
    this.#element.replaceChildren(splits(read), facts(read), ...classes(read));
  }
}

function splits(read) {
  const rows = Object.entries(read.splits).map(([name, split]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, count(split.samples)), el("td", {}, split.source ?? "the data source does not say")),
  );
  return table(["split", "samples", "where from"], rows);
}

function facts(read) {
  const said = [["Source", `${read.source}: ${read.origin}`]];
  if (read.seen !== null) said.push(["Read", `${count(read.used)} of ${count(read.seen)} ${read.unit} are used`]);
  for (const one of read.left_out) {
    const names = one.some.join(", ") + (one.count > one.some.length && one.some.length ? ", …" : "");
    said.push([`Left out: ${count(one.count)}`, names ? `${one.why}: ${names}` : one.why]);
  }
  for (const [role, column] of Object.entries(read.columns)) said.push([`Column of ${role}`, column]);
  if (read.mean.length) said.push(["Mean and deviation", `${numbers(read.mean)}; ${numbers(read.std)}`]);
  said.push(["Prepared", read.preprocessing]);
  for (const remark of read.remarks) said.push(["Note", remark]);
  return el("dl", { class: "facts" }, ...said.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function classes(read) {
  if (!read.classes.length) return [];
  const shown = read.classes.slice(0, LISTED);
  const parts = Object.entries(read.splits);
  const rows = shown.map((name, i) => el("tr", {}, el("th", { scope: "row" }, name), ...parts.map(([, split]) => el("td", {}, count(split.classes[i])))));
  const more = read.num_classes > shown.length ? [el("p", { class: "quiet" }, `${count(read.num_classes - shown.length)} more classes are in the JSON.`)] : [];
  const all = table(["class", ...parts.map(([name]) => name)], rows);
  return [el("details", { class: "inner" }, el("summary", {}, `By class (${count(read.num_classes)})`), all, ...more)];
}

function table(names, rows) {
  const head = el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `By ${names[0]}` }, el("table", { class: "data" }, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function numbers(values) {
  return values.map((value) => Number(value.toPrecision(5))).join(", ");
}

function count(value) {
  return value === undefined || value === null ? "–" : value.toLocaleString("en");
}
