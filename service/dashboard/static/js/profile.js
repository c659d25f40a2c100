// What a profile says of a space, before anything is trained.

import { el } from "./dom.js";
import { amount, label } from "./format.js";

const ANSWERS = { feasible: ["good", "Can be met"], infeasible: ["bad", "Cannot be met"], "not found": ["grain", "Not found"] };

/** A whole number, or its digits as text, in groups of three. */
export function grouped(digits) {
  return String(digits).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** The sizes that images are resized to, where they are elastic. */
export function sizes(input) {
  const [low, high] = input.sizes ?? [];
  return low === high ? "" : `, resized to ${low} to ${high} pixels`;
}

/** A profile as elements: sizes and costs of the space, and whether limits can be met. */
export function profileNodes(profile) {
  const known = new Map(profile.limits.map((limit) => [limit.metric, limit]));
  const head = ["", "Smallest", "Median", "Largest"].map((text) => el("th", { scope: "col", class: text ? "end" : null }, text));
  const rows = profile.metrics.map(({ metric, smallest, median, largest }) =>
    el("tr", {}, el("th", { scope: "row" }, label(metric)), ...[smallest, median, largest].map((value) => el("td", { class: "num end", title: grouped(value) }, amount(metric, value)))),
  );
  const how = profile.counted_how === "every network" ? "all networks" : `${grouped(profile.counted)} random networks`;
  return [
    el("p", {}, `${grouped(profile.architectures)} networks of ${profile.num_choices} choices. Takes ${profile.takes}${sizes(profile.input)}.`),
    el("table", { class: "numbers" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)),
    ...(profile.feasibility ? verdict(profile.feasibility, known) : []),
    el("p", { class: "quiet small" }, `Counted from ${how} (seed ${profile.seed}) and the ends of the space, in ${profile.seconds.toFixed(2)} s.`),
  ];
}

function verdict({ answer: said, reason, share, share_low: low, share_high: high, nearest }, known) {
  const [style, words] = ANSWERS[said];
  const interval = low === high ? "" : ` (95\u00a0% interval ${share3(low)} to ${share3(high)})`;
  const numbers = Object.entries(nearest.metrics).map(([metric, value]) => {
    const limit = known.get(metric);
    const note = limit ? `${metric in nearest.beyond ? "over" : "within"} ${amount(metric, limit.limit)}` : "";
    return el("tr", {}, el("th", { scope: "row" }, label(metric)), el("td", { class: "num end" }, amount(metric, value)), el("td", { class: `end ${metric in nearest.beyond ? "bad" : "quiet"}` }, note));
  });
  const values = Object.entries(nearest.values).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value))));
  return [
    el("p", { "data-testid": "verdict", "data-answer": said }, el("span", { class: `tag ${style}` }, words), ` ${share3(share)} of the networks meet all limits${interval}. ${reason}`),
    el("h3", {}, said === "feasible" ? "A network that does" : "The nearest network"),
    el("table", { class: "numbers" }, el("tbody", {}, ...numbers)),
    el("details", { class: "inner" }, el("summary", {}, nearest.architecture_id), el("dl", { class: "values" }, ...values)),
  ];
}

function share3(share) {
  return `${Number((100 * share).toPrecision(3))}\u00a0%`;
}
