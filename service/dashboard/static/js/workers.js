// Workers: who is there, what they have, and which job each runs.

import { get } from "./api.js";
import { badge, byId, el } from "./dom.js";
import { ago, exactTime, scaled } from "./format.js";

const REFRESH_MS = 5000;

load();
setInterval(load, REFRESH_MS);

async function load() {
  if (document.hidden) return;
  try {
    const { workers } = await get("/v1/workers");
    show(workers);
    trouble(null);
  } catch (error) {
    trouble(error.message);
  }
  byId("workers").removeAttribute("aria-busy");
}

function trouble(text) {
  byId("trouble").textContent = text ?? "";
  byId("trouble").hidden = !text;
}

function show(workers) {
  byId("rows").replaceChildren(...(workers.length ? workers.map(row) : [el("tr", { class: "none" }, el("td", {}, "No worker is there. Start one, as below."))]));
}

function row({ name, state, seen_at: seen, facts, gpus, memory_bytes: memory, labels, queues, job_id: job }) {
  const cores = facts.cores && `${facts.cores} cores`;
  const has = [...(facts.gpus ?? []), gpus === 0 && "no GPU", facts.device, cores, scaled(memory, "B")].filter(Boolean).join(" · ");
  const heard = el("time", { datetime: seen, title: exactTime(seen) }, ago(seen));
  return el(
    "tr",
    { "data-testid": "worker", "data-worker": name },
    el("th", { scope: "row" }, el("code", {}, name)),
    el("td", {}, badge(state), state === "offline" ? el("span", { class: "quiet small" }, " ", heard) : null),
    el("td", { class: "takes", "data-name": "Has" }, has),
    el("td", { class: "takes", "data-name": "Labels" }, labels.join(" ") || "–"),
    el("td", { class: "takes", "data-name": "Queues" }, queues.join(" ")),
    el("td", { "data-name": "Job" }, job ? el("a", { href: `/jobs/${job}` }, el("code", {}, job)) : "–"),
  );
}
