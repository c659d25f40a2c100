// Targets: which devices latency can be measured on, who is online, and tables of devices that cannot run Python.

import { del, get, post } from "./api.js";
import { badge, byId, el } from "./dom.js";
import { ago, exactTime, scaled } from "./format.js";

const REFRESH_MS = 5000;
const form = byId("table-form");

load();
setInterval(load, REFRESH_MS);

async function load() {
  if (document.hidden) return;
  try {
    const { targets } = await get("/v1/targets");
    show(targets);
    trouble(null);
  } catch (error) {
    trouble(error.message);
  }
  byId("targets").removeAttribute("aria-busy");
}

function trouble(text) {
  byId("trouble").textContent = text ?? "";
  byId("trouble").hidden = !text;
}

function show(targets) {
  const own = targets.filter(({ kind }) => kind !== "runtime");
  byId("own").replaceChildren(...(own.length ? own.map(row) : [el("tr", { class: "none" }, el("td", {}, "No machine and no table has been added."))]));
  byId("runtimes").replaceChildren(...targets.filter(({ kind }) => kind === "runtime").map(({ name }) => el("li", {}, jobOn(name))));
}

/** A device's name, which leads to a new job that is fast on it. */
function jobOn(name) {
  return el("a", { href: `/jobs/new?${new URLSearchParams({ target: name })}`, title: `New job for ${name}`, "data-testid": "new-job-of" }, el("code", {}, name));
}

function row({ name, kind, state, facts, seen_at: seen, waiting }) {
  const has = kind === "table" ? `${facts.rows} rows, keys as ${facts.form} writes them` : (facts.runtimes ?? []).join(", ");
  const device = [facts.gpu, facts.device, facts.cores && `${facts.cores} cores`, facts.memory_bytes && scaled(facts.memory_bytes, "B")].filter(Boolean).join(" · ");
  const heard = seen ? el("time", { datetime: seen, title: exactTime(seen) }, ago(seen)) : "–";
  return el(
    "tr",
    { "data-testid": "target", "data-target": name },
    el("th", { scope: "row" }, jobOn(name)),
    el("td", {}, badge(state), seen && state === "offline" ? el("span", { class: "quiet small" }, " ", heard) : null),
    el("td", { class: "takes", "data-name": "Device" }, device),
    el("td", { class: "takes", "data-name": "Has" }, has),
    el("td", { class: "num end", "data-name": "Waiting" }, kind === "table" ? "–" : String(waiting)),
    el("td", { class: "end" }, el("button", { type: "button", class: "pick plain", onclick: () => remove(name), "aria-label": `Remove ${name}` }, "Remove")),
  );
}

async function remove(name) {
  try {
    await del(`/v1/targets/${encodeURIComponent(name)}`);
    await load();
  } catch (error) {
    trouble(error.message);
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = byId("upload-says");
  const file = form.elements.file.files[0];
  if (!file) {
    said.textContent = "Choose a CSV file.";
    return;
  }
  try {
    const made = await post("/v1/targets", { name: form.elements.name.value, table: await file.text() });
    said.textContent = `${made.name}: ${made.facts.rows} rows.`;
    form.reset();
    await load();
  } catch (error) {
    said.textContent = error.message;
  }
});
