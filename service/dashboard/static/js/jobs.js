// The list of jobs: filter, order and page in the address, rows that follow the jobs, verbs for several at once.

import { del, get, patch, post } from "./api.js";
import { badge, byId, el } from "./dom.js";
import { ago, amount, duration, exactTime, left, named, percent, scaled } from "./format.js";
import { wantsNotice } from "./notify.js";

const PAGE = 25;
const LIVE = ["queued", "running", "pausing", "stopping", "cancelling"];
const ENDED = ["succeeded", "failed", "cancelled"];
const [BUSY_MS, CALM_MS] = [2000, 8000];
// How long a deletion can be taken back with one click.
const UNDO_MS = 20_000;
const NAMES = ["state", "text", "label", "recipe", "deleted", "sort", "order", "cursor"];
// Verbs for several jobs: what each is called, and whether it is asked about first.
const BULK = [["pause", "Pause"], ["resume", "Resume"], ["stop", "Stop"], ["retry", "Retry"], ["restore", "Restore"], ["cancel", "Cancel"], ["delete", "Delete"]];
const MOST_COMPARED = 6;

const rows = byId("rows");
const chosen = new Set();
let shown = []; // jobs of this page
let said = new Map(); // id -> how its row was drawn
let timer = null;
let round = 0; // answers to an earlier address are dropped
const notice = wantsNotice(byId("notify"));

const search = byId("filters").elements.text;

// --- address --------------------------------------------------------------------------------------

function asked() {
  const address = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, address.get(name) ?? ""]));
}

function addressOf(wanted) {
  const query = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
  return query.size ? `/?${query}` : "/";
}

/** Another filter or order begins at its first page. */
function goTo(changes, { replace = false, page = "" } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", addressOf({ ...asked(), ...changes, cursor: page }));
  start();
}

function showControls() {
  const now = asked();
  for (const chip of document.querySelectorAll(".chips .chip")) {
    const isChosen = now.deleted ? chip.dataset.deleted === "true" : !chip.dataset.deleted && chip.dataset.state === now.state;
    if (isChosen) chip.setAttribute("aria-current", "true");
    else chip.removeAttribute("aria-current");
    chip.href = addressOf({ ...now, cursor: "", state: chip.dataset.state ?? "", deleted: chip.dataset.deleted ?? "" });
  }
  if (search.value.trim() !== now.text) search.value = now.text;
  byId("label-filter").hidden = !now.label;
  byId("label-filter").replaceChildren(now.label ? `label ${now.label} ` : "", now.label ? el("button", { type: "button", class: "pick plain", "aria-label": `No longer only ${now.label}`, onclick: () => goTo({ label: "" }) }, "×") : "");
  const [sort, order] = [now.sort || "created", now.order || "desc"];
  for (const button of document.querySelectorAll("[data-sort]")) {
    const isSorted = button.dataset.sort === sort;
    const head = button.closest("th");
    if (isSorted) head.setAttribute("aria-sort", order === "asc" ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
    button.querySelector(".arrow").textContent = isSorted ? (order === "asc" ? "↑" : "↓") : "";
  }
}

// --- loading --------------------------------------------------------------------------------------

async function start() {
  round += 1;
  chosen.clear();
  shown = [];
  said = new Map();
  rows.replaceChildren();
  showControls();
  await refresh();
}

async function refresh() {
  clearTimeout(timer);
  const mine = round;
  const query = new URLSearchParams({ limit: PAGE, ...Object.fromEntries(Object.entries(asked()).filter(([, value]) => value)) });
  try {
    const page = await get(`/v1/jobs?${query}`);
    if (mine !== round) return;
    notice.hear(shown, page.jobs);
    shown = page.jobs;
    draw();
    present(page.next_cursor);
    trouble(null);
  } catch (error) {
    if (mine !== round) return;
    trouble(error.message);
  }
  const busy = shown.some((job) => LIVE.includes(job.state));
  timer = setTimeout(() => (document.hidden && !notice.isOn ? null : refresh()), busy ? BUSY_MS : CALM_MS);
}

function present(next) {
  const { state, text, label: word, deleted, cursor, recipe } = asked();
  const none = shown.length === 0;
  const filtered = Boolean(state || text || word || deleted || cursor || recipe);
  byId("list").hidden = none;
  byId("no-match").hidden = !(none && filtered);
  byId("empty").hidden = !(none && !filtered);
  byId("filters").hidden = none && !filtered;
  byId("demo-again").hidden = none && !filtered;
  byId("pages").hidden = !next && !cursor;
  byId("first-page").hidden = !cursor;
  byId("next-page").hidden = !next;
  byId("next-page").onclick = () => goTo({}, { page: next });
  showBulk();
}

function trouble(text) {
  byId("trouble").hidden = text === null;
  byId("trouble").textContent = text ?? "";
  const link = byId("link-state");
  link.dataset.state = text === null ? "live" : "lost";
  link.textContent = text === null ? "Live" : "No connection";
}

// --- rows -----------------------------------------------------------------------------------------

function draw() {
  const known = new Map([...rows.children].map((row) => [row.dataset.jobId, row]));
  const focused = document.activeElement?.closest?.("[data-job-id]")?.dataset.jobId;
  const wanted = shown.map((job) => {
    const text = JSON.stringify(job);
    const row = said.get(job.id) === text ? known.get(job.id) : null;
    said.set(job.id, text);
    if (!row) return makeRow(job);
    row.querySelector("time").textContent = ago(job.created_at);
    return row;
  });
  for (const id of chosen) if (!shown.some((job) => job.id === id)) chosen.delete(id);
  if (wanted.length === rows.children.length && wanted.every((row, at) => row === rows.children[at])) return;
  rows.replaceChildren(...wanted);
  if (focused && !document.activeElement?.closest("[data-job-id]")) rows.querySelector(`[data-job-id="${CSS.escape(focused)}"] a`)?.focus({ preventScroll: true });
}

function makeRow(job) {
  const cell = (name, ...children) => el("td", { role: "cell", class: name }, ...children.filter(Boolean));
  const box = el("input", { type: "checkbox", "aria-label": `Select ${job.name}`, "data-testid": "select-job", onchange: (event) => choose(job.id, event.target.checked) });
  box.checked = chosen.has(job.id);
  const labels = job.labels.map((word) => el("button", { type: "button", class: "chip tiny", onclick: () => goTo({ label: word }), title: `Only jobs with the label ${word}` }, word));
  const row = el(
    "tr",
    { role: "row", "data-testid": "job-row", "data-job-id": job.id },
    cell("c-select", box),
    cell("c-job", el("a", { href: `/jobs/${job.id}`, class: "name" }, job.name), el("span", { class: "under" }, el("code", { class: "id" }, job.id), ...labels), job.notes ? el("span", { class: "notes quiet", title: job.notes }, job.notes) : null),
    cell("c-state", stateOf(job)),
    cell("c-progress", ...progressOf(job)),
    cell("c-result", ...resultOf(job)),
    cell("c-recipe", job.recipe, job.priority ? el("span", { class: "quiet" }, `priority ${job.priority}`) : null),
    cell("c-time end", el("time", { datetime: job.created_at, title: exactTime(job.created_at) }, ago(job.created_at))),
  );
  // The whole row leads to the job; the link in it serves keyboards and screen readers.
  row.addEventListener("click", (event) => {
    if (!event.target.closest("a, button, input, .c-select") && !getSelection().toString()) location.assign(`/jobs/${job.id}`);
  });
  return row;
}

function stateOf(job) {
  const node = badge(job.deleted_at ? "deleted" : job.state);
  node.dataset.testid = "state-badge";
  return node;
}

function progressOf(job) {
  const ended = ENDED.includes(job.state);
  const took = job.started_at && job.finished_at ? (Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000 : null;
  const words = ended
    ? [job.state === "succeeded" ? "done" : job.stage ? `ended in ${job.stage}` : "never started", took === null ? null : `took ${duration(took)}`]
    : [job.stage ?? "waits for a worker", itemsOf(job), left(job) === null ? null : `${left(job)} left`];
  const bar = el("div", { class: "bar small", "data-state": job.state, "data-testid": "progress", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.floor(100 * job.progress) }, el("i"));
  bar.firstChild.style.width = `${100 * job.progress}%`;
  return [
    el("div", { class: "bar-row" }, bar, el("span", { class: "num" }, percent(job.progress))),
    el("span", { class: "quiet" }, words.filter(Boolean).join(" · ")),
  ];
}

/** How many of what a stage counts are done: "3 of 16". */
function itemsOf(job) {
  return job.stage_total && !ENDED.includes(job.state) ? `${job.stage_done} of ${job.stage_total}` : null;
}

function resultOf(job) {
  if (!job.evaluations) return [el("span", { class: "quiet" }, "–")];
  const evaluated = el("span", { class: "quiet" }, `${job.evaluations} evaluated`);
  if (!job.front_size) return [evaluated];
  const metric = job.best_metric ?? "accuracy";
  return [
    el("span", { class: "num", title: `Best ${named(metric)} on the front` }, amount(metric, job.best_value ?? job.best_accuracy)),
    el("span", { class: "quiet", title: `${job.evaluations} evaluated` }, `${job.front_size} on the front`),
    job.hypervolume == null ? null : el("span", { class: "quiet", "data-testid": "hypervolume", title: "Hypervolume: in the objectives' units multiplied, up to the worst values of the front" }, `volume ${scaled(job.hypervolume, "")}`),
  ];
}

// --- several at once ------------------------------------------------------------------------------

function choose(id, isChosen) {
  if (isChosen) chosen.add(id);
  else chosen.delete(id);
  showBulk();
}

function showBulk() {
  const jobs = shown.filter((job) => chosen.has(job.id));
  byId("bulk").hidden = jobs.length === 0;
  byId("select-all").checked = jobs.length > 0 && jobs.length === shown.length;
  byId("select-all").indeterminate = jobs.length > 0 && jobs.length < shown.length;
  if (!jobs.length) return;
  const able = (verb) => jobs.filter((job) => job.verbs.includes(verb));
  const buttons = BULK.filter(([verb]) => able(verb).length).map(([verb, word]) => {
    const count = able(verb).length;
    return el("button", { type: "button", class: ["delete", "cancel"].includes(verb) ? "button small danger" : "button small", "data-bulk": verb, onclick: () => all(verb, able(verb)) }, count === jobs.length ? word : `${word} ${count}`);
  });
  const withFront = jobs.filter((job) => job.evaluations);
  const compare = withFront.length > 1 && withFront.length <= MOST_COMPARED ? [el("a", { class: "button small", href: `/compare?${new URLSearchParams(withFront.map((job) => ["job", job.id]))}` }, "Compare fronts")] : [];
  const tag = el("button", { type: "button", class: "button small", "data-bulk": "label", onclick: () => tagAll(jobs) }, "Label…");
  byId("bulk").replaceChildren(el("strong", {}, `${jobs.length} selected`), ...buttons, tag, ...compare, el("button", { type: "button", class: "pick plain", onclick: () => { chosen.clear(); redraw(); } }, "Clear"));
}

function redraw() {
  for (const box of rows.querySelectorAll(".c-select input")) box.checked = chosen.has(box.closest("tr").dataset.jobId);
  showBulk();
}

/** One verb for several jobs: those that are refused are named, the others are done. */
async function all(verb, jobs) {
  if (["cancel", "stop"].includes(verb) && !window.confirm(`${verb === "stop" ? "Stop" : "Cancel"} ${jobs.length === 1 ? jobs[0].name : `${jobs.length} jobs`}?`)) return;
  const { done, failed } = await each(jobs, (job) => (verb === "delete" ? del(`/v1/jobs/${job.id}`) : post(`/v1/jobs/${job.id}/${verb}`)));
  chosen.clear();
  await refresh();
  redraw();
  say(done, failed, verb);
}

async function tagAll(jobs) {
  const word = window.prompt("Label to add; with a minus before it, to take away");
  if (!word?.trim()) return;
  const [minus, name] = word.trim().startsWith("-") ? [true, word.trim().slice(1)] : [false, word.trim()];
  const { done, failed } = await each(jobs, (job) => patch(`/v1/jobs/${job.id}`, { labels: minus ? job.labels.filter((one) => one !== name) : [...new Set([...job.labels, name])] }));
  await refresh();
  say(done, failed, "label");
}

async function each(jobs, work) {
  const [done, failed] = [[], []];
  for (const job of jobs) {
    try {
      await work(job);
      done.push(job);
    } catch (error) {
      failed.push(`${job.name}: ${error.message}`);
    }
  }
  return { done, failed };
}

const PAST = { pause: "paused", resume: "resumed", stop: "stopped", retry: "queued again", restore: "restored", cancel: "cancelled", delete: "deleted", label: "changed" };

function say(done, failed, verb) {
  const words = done.length ? `${done.length === 1 ? done[0].name : `${done.length} jobs`} ${PAST[verb]}.` : "";
  const undo = verb === "delete" && done.length
    ? el("button", { type: "button", class: "button small", "data-testid": "undo", onclick: async () => {
      byId("toast").hidden = true;
      const again = await each(done, (job) => post(`/v1/jobs/${job.id}/restore`));
      await refresh();
      say(again.done, again.failed, "restore");
    } }, "Undo")
    : null;
  const toast = byId("toast");
  toast.replaceChildren(el("span", {}, [words, ...failed].filter(Boolean).join(" ")), ...(undo ? [undo] : []), el("button", { type: "button", class: "pick plain", "aria-label": "Close", onclick: () => (toast.hidden = true) }, "×"));
  toast.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => (toast.hidden = true), UNDO_MS);
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
for (const chip of document.querySelectorAll(".chips .chip")) {
  chip.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    goTo({ state: chip.dataset.state ?? "", deleted: chip.dataset.deleted ?? "" });
  });
}
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const { sort, order } = asked();
    const isSorted = (sort || "created") === button.dataset.sort;
    const first = button.dataset.first;
    const wanted = isSorted ? ((order || "desc") === "desc" ? "asc" : "desc") : first;
    goTo({ sort: button.dataset.sort === "created" ? "" : button.dataset.sort, order: wanted === "desc" ? "" : wanted });
  });
}
byId("select-all").addEventListener("change", (event) => {
  for (const job of shown) if (event.target.checked) chosen.add(job.id); else chosen.delete(job.id);
  redraw();
});
let typing = null;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => goTo({ text: search.value.trim() }, { replace: true }), 250);
});
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("first-page").addEventListener("click", () => goTo({}));
addEventListener("popstate", start);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
// Keys of a list: / to search, j and k through the rows, x to select.
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    search.focus();
  }
  const links = [...rows.querySelectorAll("a.name")];
  const at = links.indexOf(document.activeElement);
  if (event.key === "j") links[Math.min(links.length - 1, at + 1)]?.focus();
  if (event.key === "k") links[Math.max(0, at - 1)]?.focus();
  if (event.key === "x" && at >= 0) links[at].closest("tr").querySelector(".c-select input").click();
});
start();
