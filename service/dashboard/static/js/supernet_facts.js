// What is said of a supernet wherever it stands.

import { el } from "./dom.js";
import { amount, label, scaled } from "./format.js";

/** Where a job that searches it again is written. */
export function againAddress({ recipe, id }) {
  return `/jobs/new?${new URLSearchParams({ recipe, supernet: id })}`;
}

/** Space, data, training, file and scores as a list. */
export function factsOf(one) {
  const scores = Object.entries(one.scores).filter(([, value]) => typeof value === "number");
  const facts = [
    ["Space", one.space],
    ["Data", one.data?.source ?? "–"],
    ["Epochs", one.training?.epochs ?? "–"],
    ["File", scaled(one.size_bytes, "B")],
    ...scores.map(([name, value]) => [`${label(one.metric)}, ${name}`, amount(one.metric, value)]),
  ];
  return el("dl", { class: "facts" }, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
}
