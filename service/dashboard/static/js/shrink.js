// A whole job from one sentence: what was decided, why, and what it takes.

import { post } from "./api.js";
import { byId, el } from "./dom.js";
import { between, scaled } from "./format.js";

/** Calls `take` with the job that the form's sentence means, and shows what was decided. */
export function planned(take, trouble) {
  byId("shrink").addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.target.querySelector("button");
    button.disabled = true;
    try {
      const { model, data, under, device } = Object.fromEntries(new FormData(event.target));
      const plan = await post("/v1/shrink", { model: model.trim(), data: data.trim(), under: limits(under), device: device.trim() });
      trouble(null);
      byId("plan").replaceChildren(...shown(plan));
      take(plan.job);
    } catch (error) {
      byId("plan").replaceChildren();  // nobody takes an earlier plan for this one
      trouble(error.message);
    }
    button.disabled = false;
  });
}

/** `latency_ms=5, size_bytes=2e6` as numbers by metric. */
function limits(words) {
  const found = {};
  for (const word of words.split(/[,;\s]+/).filter(Boolean)) {
    const [metric, value, ...more] = word.split("=");
    if (!metric || !value || more.length || !Number.isFinite(Number(value))) {
      throw new Error(`At most takes metrics and numbers, such as latency_ms=5; got ${word}.`);
    }
    if (metric in found) throw new Error(`${metric} is limited twice; give it one limit.`);
    found[metric] = Number(value);
  }
  return found;
}

function shown({ decisions, warnings, estimate }) {
  const rows = decisions.map(({ what, value, why, change }) =>
    el("tr", {}, el("th", { scope: "row" }, what), el("td", { class: "wraps" }, value), el("td", { class: "wraps" }, why), el("td", {}, el("code", {}, change))),
  );
  const head = ["What", "Decided", "Because", "Change it in"].map((word) => el("th", { scope: "col" }, word));
  const table = el("table", { class: "data still" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  const time = estimate.seconds === null ? "" : `Takes ${between(estimate.low, estimate.high)}. `;
  const told = `${time}${estimate.told} Stores at most ${scaled(estimate.disk_bytes, "B")} at a time.`;
  return [
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "What was decided" }, table),
    ...warnings.map((text) => el("p", { class: "warning" }, text)),
    el("p", {}, told),
  ];
}
