// The list of jobs: filter in the address, pages by cursor, rows that follow the jobs.

import { get, post } from "./api.js";
import { badge, byId, el } from "./dom.js";
import { ago, amount, duration, exactTime, percent, roughly } from "./format.js";

const PAGE = 25;
// The API's largest page; rows beyond it are refreshed when they are loaded again.
const MOST = 200;
const LIVE = ["queued", "running", "pausing", "stopping", "cancelling"];
const [BUSY_MS, CALM_MS] = [2000, 8000];

const rows = byId("rows");
const shown = new Map(); // id -> {job, row, said}
let nextCursor = null;
let timer = null;
let round = 0; // answers to an earlier filter are dropped

const search = byId("filters").elements.text;

// --- filter ---------------------------------------------------------------------------------------

function filter() {
  const address = new URLSearchParams(location.search);
  return Object.fromEntries(["state", "text", "label"].map((name) => [name, address.get(name) ?? ""]));
}

function goTo(wanted, replace) {
  const query = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
  const address = query.size ? `/?${query}` : "/";
  history[replace ? "replaceState" : "pushState"](null, "", address);
  start();
}

function showFilter() {
  const { state, text, label } = filter();
  for (const chip of document.querySelectorAll(".chip")) {
    const chosen = chip.dataset.state === state;
    if (chosen) chip.setAttribute("aria-current", "true");
    else chip.removeAttribute("aria-current");
    const query = new URLSearchParams(Object.entries({ state: chip.dataset.state, text, label }).filter(([, value]) => value));
    chip.href = query.size ? `/?${query}` : "/";
  }
  if (search.value.trim() !== text) search.value = text;
}

function pathOf(limit, cursor) {
  const query = new URLSearchParams({ limit });
  for (const [name, value] of Object.entries({ ...filter(), cursor })) if (value) query.set(name, value);
  return `/v1/jobs?${query}`;
}

// --- loading --------------------------------------------------------------------------------------

async function start() {
  round += 1;
  shown.clear();
  rows.replaceChildren();
  nextCursor = null;
  showFilter();
  await refresh();
}

async function refresh() {
  clearTimeout(timer);
  const mine = round;
  const limit = Math.min(MOST, Math.max(PAGE, shown.size));
  try {
    const page = await get(pathOf(limit));
    if (mine !== round) return;
    forgetLost(page);
    page.jobs.forEach(show);
    if (shown.size <= page.jobs.length) nextCursor = page.next_cursor;
    trouble(null);
    await present();
  } catch (error) {
    if (mine !== round) return;
    trouble(error.message);
  }
  const busy = [...shown.values()].some(({ job }) => LIVE.includes(job.state));
  timer = setTimeout(() => (document.hidden ? null : refresh()), busy ? BUSY_MS : CALM_MS);
}

/** Rows that should have been on the page and are not have left the filter. */
function forgetLost(page) {
  const present = new Set(page.jobs.map((job) => job.id));
  const oldest = page.next_cursor === null ? "" : page.jobs.at(-1).created_at;
  for (const [id, { job, row }] of shown) {
    if (present.has(id) || job.created_at < oldest) continue;
    row.remove();
    shown.delete(id);
  }
}

async function more() {
  const mine = round;
  byId("more").disabled = true;
  try {
    const page = await get(pathOf(PAGE, nextCursor));
    if (mine !== round) return;
    page.jobs.forEach(show);
    nextCursor = page.next_cursor;
    await present();
  } catch (error) {
    trouble(error.message);
  } finally {
    byId("more").disabled = false;
  }
}

async function present() {
  const { state, text, label } = filter();
  const none = shown.size === 0;
  const filtered = Boolean(state || text || label);
  byId("list").hidden = none;
  byId("no-match").hidden = !(none && filtered);
  byId("empty").hidden = !(none && !filtered);
  byId("filters").hidden = none && !filtered;
  byId("demo-again").hidden = none && !filtered;
  byId("more").hidden = nextCursor === null;
}

function trouble(text) {
  byId("trouble").hidden = text === null;
  byId("trouble").textContent = text ?? "";
  const link = byId("link-state");
  link.dataset.state = text === null ? "live" : "lost";
  link.textContent = text === null ? "Live" : "No connection";
}

// --- rows -----------------------------------------------------------------------------------------

function show(job) {
  const known = shown.get(job.id);
  const said = JSON.stringify(job);
  if (known?.said === said) {
    const time = known.row.querySelector("time");
    time.textContent = ago(job.created_at);
    return;
  }
  const fresh = makeRow(job);
  if (known) {
    // Keep the keyboard where it is.
    const focused = known.row.contains(document.activeElement);
    known.row.replaceWith(fresh);
    if (focused) fresh.querySelector("a").focus();
  } else {
    const next = [...shown.values()].find(({ job: other }) => comesAfter(other, job));
    rows.insertBefore(fresh, next?.row ?? null);
  }
  shown.set(job.id, { job, row: fresh, said });
  if (!known) sortShown();
}

function comesAfter(other, job) {
  return other.created_at < job.created_at || (other.created_at === job.created_at && other.id < job.id);
}

function sortShown() {
  const sorted = [...shown].sort(([, a], [, b]) => (comesAfter(a.job, b.job) ? 1 : -1));
  shown.clear();
  for (const [id, entry] of sorted) shown.set(id, entry);
}

function makeRow(job) {
  const cell = (name, ...children) => el("td", { role: "cell", class: name }, ...children);
  const row = el(
    "tr",
    { role: "row", "data-testid": "job-row", "data-job-id": job.id },
    cell("c-job", el("a", { href: `/jobs/${job.id}`, class: "name" }, job.name), el("code", { class: "id" }, job.id)),
    cell("c-state", stateOf(job)),
    cell("c-progress", ...progressOf(job)),
    cell("c-result", ...resultOf(job)),
    cell("c-recipe", job.recipe),
    cell("c-time end", el("time", { datetime: job.created_at, title: exactTime(job.created_at) }, ago(job.created_at))),
  );
  // The whole row leads to the job; the link in it serves keyboards and screen readers.
  row.addEventListener("click", (event) => {
    if (!event.target.closest("a") && !getSelection().toString()) location.assign(`/jobs/${job.id}`);
  });
  return row;
}

function stateOf(job) {
  const node = badge(job.state);
  node.dataset.testid = "state-badge";
  return node;
}

function progressOf(job) {
  const ended = ["succeeded", "failed", "cancelled"].includes(job.state);
  const took = job.started_at && job.finished_at ? (Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000 : null;
  const words = ended
    ? [job.state === "succeeded" ? "done" : job.stage ? `ended in ${job.stage}` : "never started", took === null ? null : `took ${duration(took)}`]
    : [job.stage ?? "waits for a worker", job.state === "running" && job.eta_seconds !== null ? `about ${roughly(job.eta_seconds)} left` : null];
  const bar = el("div", { class: "bar small", "data-state": job.state, "data-testid": "progress", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.floor(100 * job.progress) }, el("i"));
  bar.firstChild.style.width = `${100 * job.progress}%`;
  return [
    el("div", { class: "bar-row" }, bar, el("span", { class: "num" }, percent(job.progress))),
    el("span", { class: "quiet" }, words.filter(Boolean).join(" · ")),
  ];
}

function resultOf(job) {
  if (!job.evaluations) return [el("span", { class: "quiet" }, "–")];
  const evaluated = el("span", { class: "quiet" }, `${job.evaluations} evaluated`);
  if (!job.front_size) return [evaluated];
  return [
    el("span", { class: "num", title: "Best validation accuracy on the front" }, amount("accuracy", job.best_accuracy)),
    el("span", { class: "quiet", title: `${job.evaluations} evaluated` }, `${job.front_size} on the front`),
  ];
}

// --- wiring ---------------------------------------------------------------------------------------

async function runDemo(event) {
  const button = event.currentTarget;
  button.disabled = true;
  try {
    const job = await post("/v1/jobs", JSON.parse(button.dataset.demo));
    location.assign(`/jobs/${job.id}`);
  } catch (error) {
    button.disabled = false;
    trouble(error.message);
  }
}

for (const button of document.querySelectorAll("[data-demo]")) button.addEventListener("click", runDemo);
for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    goTo({ ...filter(), state: chip.dataset.state }, false);
  });
}
let typing = null;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => goTo({ ...filter(), text: search.value.trim() }, true), 250);
});
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", more);
addEventListener("popstate", start);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
start();
