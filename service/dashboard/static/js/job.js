// One job: what it does now, what it has found, and what may be done with it.

import { del, get, patch, post } from "./api.js";
import { Brush, inside } from "./brush.js";
import { saving } from "./charts.js";
import { Curve } from "./curve.js";
import { DataCard } from "./data.js";
import { Detail } from "./detail.js";
import { byId, el, throttle } from "./dom.js";
import { Exports } from "./exports.js";
import { ago, amount, duration, exactTime, left, named, percent, timeOfDay } from "./format.js";
import { Gradient } from "./gradient.js";
import { Healing } from "./healing.js";
import { HypervolumeCard } from "./hypervolume.js";
import { Insight } from "./insight.js";
import { Limits } from "./limits.js";
import { follow } from "./live.js";
import { Logs } from "./logs.js";
import { wantsNotice } from "./notify.js";
import { Parallel } from "./parallel.js";
import { FrontPlot } from "./plot.js";
import { Baselines, Sensitivity } from "./policies.js";
import { PredictorCard } from "./predictor.js";
import { Results } from "./results.js";
import { Rungs } from "./rungs.js";
import { Sharing } from "./sharing.js";
import { showSpec } from "./spec.js";
import { Stages } from "./stages.js";
import { FrontTable } from "./table.js";
import { Verdict } from "./verdict.js";
import { View } from "./view.js";

// Kinds of events that people read, and what of each. A job has others, which this page reads as rows or not at all.
const LOGGED = {
  state: (data) => (data.message ? `${data.state}: ${data.message}` : data.state),
  stage: (data) => data.stage,
  message: (data) => data.text,
  verb: (data) => `${data.verb} by ${data.by}`,
};

// The front is asked for at most this often while architectures arrive.
const FRONT_MS = 2000;
const ENDED = ["succeeded", "failed", "cancelled"];
// What cannot be taken back is asked for twice.
const FINAL = ["stop", "cancel", "delete"];
// After these the page begins anew: its stream of events has ended, or the job is another one.
const BEGIN_ANEW = ["retry", "delete", "restore"];

let isRead = false; // what was found until now

const submitted = JSON.parse(byId("job-data").textContent);
let job = submitted;

const results = new Results();
const stages = new Stages(byId("stages"));
const curve = new Curve(byId("curve"), byId("curve-what"));
const exports = new Exports(job.id, byId("exports"), heardOfExport, select);
const detail = new Detail(byId("detail"), job.id, results, exports);
const view = new View();
const brush = new Brush(view);
const keeps = () => inside([...limits.ranges, ...brush.ranges]);
const controls = { x: byId("axis-x"), y: byId("axis-y"), colour: byId("colour"), logX: byId("log-x"), logY: byId("log-y"), dominated: byId("dominated"), bars: byId("bars") };
const parts = { plot: byId("plot"), note: byId("plot-note"), scale: byId("scale"), reset: byId("reset-zoom"), clear: byId("clear-selection"), tools: byId("plot-drag"), guessed: byId("key-guessed"), healed: byId("key-healed") };
const plot = new FrontPlot(parts, controls, view, brush, select, keeps);
const solve = submitted.spec.search.algorithm === "blocks" ? (asked) => post(`/v1/jobs/${job.id}/solve`, { limits: asked }) : null;
const limits = new Limits(byId("limits"), results, view, showLimits, select, solve);
const pageOf = (id) => `/jobs/${job.id}/networks/${encodeURIComponent(id)}`;
const verdict = new Verdict(byId("verdict"), results, limits, exports, select, pageOf, complain);
const parallel = new Parallel({ card: byId("parallel-card"), element: byId("parallel"), note: byId("parallel-note") }, brush, keeps);
const hypervolume = new HypervolumeCard({ card: byId("hypervolume-card"), element: byId("hypervolume"), note: byId("hypervolume-note") }, job.id);
const gradient = submitted.spec.gradient ? new Gradient(job.id, select) : null;
const rungs = submitted.spec.healing ? new Rungs(byId("rungs"), byId("rungs-table"), byId("rungs-note"), select) : null;
const healing = submitted.spec.healing
  ? new Healing(job.id, byId("healing-table"), byId("healing-note"), select, (answer) => {
      results.setHealed(answer.networks);
      rungs.draw(answer);
      plot.show(results);
    })
  : null;
const insight = new Insight(job.id, byId("insight-card"), byId("insight"), byId("insight-group"), byId("insight-note"));
const table = new FrontTable(byId("front-table"), byId("table-title"), select, keeps, brush);
const baselines = new Baselines(byId("baselines-card"), byId("baselines"), results);
const sensitivity = new Sensitivity(byId("sensitivity-card"), byId("sensitivity"));
const predictor = new PredictorCard();
const sharing = new Sharing(byId("sharing-card"), byId("sharing"));
const notice = wantsNotice(byId("notify"));
const dataCard = new DataCard(byId("data-card"), byId("data"));

// --- the job itself -------------------------------------------------------------------------------

function showJob() {
  const state = byId("state");
  if (state.textContent !== job.state) state.textContent = job.state;
  state.dataset.state = job.state;
  const message = byId("job-message");
  const said = [job.deleted_at ? "This job is deleted and will be removed with its files; restore it to keep it." : null, job.message, job.waits].filter(Boolean).join(" ");
  message.hidden = !said;
  message.textContent = said;
  message.classList.toggle("bad", job.state === "failed");
  byId("environment-card").hidden = !job.environment;
  if (job.environment) byId("environment").textContent = JSON.stringify(job.environment, null, 2);
  stages.show(job);
  byId("run").dataset.ended = String(ENDED.includes(job.state));
  const bar = byId("bar");
  bar.dataset.state = job.state;
  bar.setAttribute("aria-valuenow", String(Math.floor(100 * job.progress)));
  bar.firstElementChild.style.width = `${100 * job.progress}%`;
  byId("r-progress").textContent = percent(job.progress);
  document.title = `${ENDED.includes(job.state) ? job.state : percent(job.progress)} · ${job.name} · Winnow`;
  showTimes();
  showPhase();
}

function showTimes() {
  byId("submitted").textContent = ago(job.created_at);
  byId("r-elapsed").textContent = duration(stages.elapsed);
  byId("r-left").textContent = left(job) ?? "–";
  stages.tick(job);
}

function showVerbs() {
  for (const button of document.querySelectorAll("[data-verb]")) {
    const { verb } = button.dataset;
    // There is something to keep once a network is evaluated.
    button.hidden = !job.verbs.includes(verb) || (verb === "stop" && results.isEmpty);
  }
  // A search by gradient leaves networks, not a supernet.
  byId("extend").hidden = !job.verbs.includes("extend") || results.isEmpty || gradient !== null;
  byId("rerun").hidden = !job.verbs.includes("rerun");
  byId("heal").hidden = !job.verbs.includes("heal") || gradient !== null;
}

function showPhase() {
  const found = !results.isEmpty;
  showVerbs();
  byId("bench").dataset.phase = found ? "results" : "before";
  byId("plot-waiting").textContent = found ? "" : expectation();
  byId("curve-waiting").textContent = curve.isEmpty ? curveExpectation() : "";
  byId("curve").hidden = curve.isEmpty;
}

/** What is going on while there is nothing to plot. */
function expectation() {
  if (!isRead) return "What was found so far is being read.";
  const rest = left(job) === null ? "" : `, ${left(job)} left for the whole job`;
  if (job.state === "queued") return job.waits ?? "The job waits for a worker. It starts as soon as one is free.";
  if (job.state === "paused" || job.state === "pausing") return "The job is paused before its first evaluation. Resume it to go on.";
  if (ENDED.includes(job.state)) return `The job ${job.state === "failed" ? "failed" : "ended"} before an architecture was evaluated.`;
  if (job.stage === "train supernet") {
    return `The supernet is being trained: one set of weights for every architecture of the space. ${percent(job.stage_progress)} of the training is done${rest}. Then the first points appear here.`;
  }
  if (job.stage === "measure hardware") return `Layers and networks are being measured on the target: ${percent(job.stage_progress)}${rest}. A job on the same device later finds them measured.`;
  if (job.stage === "fit predictors") return "A predictor is being fitted to what was measured.";
  if (job.stage === "search") return "The search has begun. The first architectures are being evaluated.";
  return "The data is being loaded and split into training, validation and test.";
}

function curveExpectation() {
  if (!isRead) return "";
  if (ENDED.includes(job.state)) return "No epoch was finished.";
  return job.stage === "train supernet" ? "The first epoch is running." : "Begins with the first epoch of training.";
}

// --- what was found -------------------------------------------------------------------------------

function showResults() {
  if (results.isEmpty) return;
  const metric = results.objectives[0]?.metric ?? "accuracy";
  byId("r-best-name").textContent = `Best ${named(metric)}`;
  byId("r-best").textContent = amount(metric, results.best(metric));
  const asked = job.spec?.search?.evaluations ?? submitted.spec.search?.evaluations;
  byId("r-evaluated").textContent = [results.count, asked].filter(Boolean).map((count) => count.toLocaleString("en")).join(" of ");
  byId("r-front").textContent = results.front.length ? String(results.front.length) : "–";
  showCaption();
  showPhase();
  limits.show();
  verdict.show();
  plot.show(results);
  parallel.show(results);
  hypervolume.refresh();
}

/** Limits were moved: plot and table follow. */
function showLimits() {
  if (results.isEmpty) return;
  verdict.show();
  plot.fade();
  parallel.fade();
  table.fade();
}

function heardOfExport(id) {
  detail.refresh(id);
  verdict.show();
}

function showCaption() {
  byId("key-chaff").textContent = `${results.count} evaluated`;
  const how = results.front.some((point) => point.measured) ? ", measured" : ", not measured";
  byId("key-grain").textContent = `${results.front.length} on the front${results.final ? how : ENDED.includes(job.state) ? "" : " so far"}`;
}

const loadFront = throttle(async () => {
  try {
    results.setFront(await get(`/v1/jobs/${job.id}/front`));
    byId("key-reference").hidden = results.reference === null;
    byId("key-reference").textContent = results.reference?.name ?? "";
  } catch (error) {
    const isRefused = error.status >= 400 && error.status < 500;
    if (isRefused) complain(error);
    else setTimeout(loadFront, FRONT_MS); // the server is away for a moment
    return;
  }
  if (results.isEmpty) return;
  showResults();
  table.show(results);
  insight.refresh();
  baselines.draw();
  if (detail.shown === null && results.final && results.knee) choose(results.knee);
  else detail.refresh(detail.shown);
}, FRONT_MS);

const showSoon = throttle(showResults, 250);

// --- selection: plot, table, panel and address agree ----------------------------------------------

function choose(id, isAsked = false) {
  plot.select(id);
  parallel.select(id);
  table.select(id);
  return detail.show(id, isAsked);
}

function select(id) {
  view.set({ architecture: id });
  choose(id, true);
}

function fromAddress() {
  const id = view.get("architecture");
  if (id) choose(id);
}

// --- events ---------------------------------------------------------------------------------------

function hear(kind, data) {
  if (kind === "job") {
    const before = job.state;
    notice.hear([job], [{ ...job, ...data }]);
    job = { ...job, ...data };
    showJob();
    if (before !== job.state && ENDED.includes(job.state)) loadFront();
  } else if (kind === "curve") {
    curve.add(data);
    const epochs = submitted.spec.training?.epochs;
    if (epochs) stages.count("train supernet", `epoch ${Math.floor(data.epoch)} of ${epochs}`);
    showPhase();
  } else if (kind === "gradient") {
    gradient?.hear();
  } else if (kind === "healing") {
    healing?.hear();
  } else if (kind === "evaluation") {
    results.add(data);
    showSoon();
    loadFront();
  } else if (kind === "sensitivity") {
    sensitivity.show(data.layers);
  } else if (kind === "sharing cost") {
    sharing.add(data);
  } else if (kind === "baseline") {
    baselines.add(data);
  } else if (kind === "finalist") {
    loadFront();
    if (data.architecture_id === detail.shown) detail.show(data.architecture_id);
  } else if (kind === "predictor") {
    predictor.add(data);
  } else if (kind === "data") {
    dataCard.show(data);
  } else if (kind === "violations") {
    predictor.count(data); // jobs of older versions
  } else if (kind === "front") {
    predictor.count({ broken: data.beyond, finalists: data.points.length + data.beaten.length + data.beyond.length });
    predictor.turnedOut(data.predictions);
    loadFront();
  } else if (kind in LOGGED) {
    stages.hear(kind, data);
    stages.show(job);
    log(kind, data);
  }
}

/** What went wrong without ending the job stands at the top. */
function warn(data) {
  const card = byId("warnings");
  card.hidden = false;
  card.querySelector("ul").append(el("li", {}, el("time", { datetime: data.at, title: exactTime(data.at) }, timeOfDay(data.at)), ` ${data.text}`));
  const count = card.querySelectorAll("li").length;
  card.querySelector("summary").textContent = count === 1 ? `A warning: ${data.text}` : `${count} warnings; the last: ${data.text}`;
}

function log(kind, data) {
  if (data.level === "warning") warn(data);
  const text = LOGGED[kind](data);
  const list = byId("log");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
  list.append(
    el("li", { "data-kind": kind, "data-level": data.level ?? (data.state === "failed" ? "error" : null) },
      el("time", { datetime: data.at, title: exactTime(data.at) }, timeOfDay(data.at)),
      el("span", { class: "log-kind" }, kind),
      el("span", {}, text),
    ),
  );
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function sayLink(link) {
  const node = byId("link-state");
  node.dataset.state = link;
  node.textContent = { live: "Live", lost: "Reconnecting…", ended: "", gone: "" }[link];
  if (link === "gone") complain(new Error("This job was removed while its page was open. What still stands here is how it was."));
}

// --- verbs ----------------------------------------------------------------------------------------

async function act(verb) {
  const buttons = document.querySelectorAll("[data-verb]");
  for (const button of buttons) button.disabled = true;
  try {
    const path = `/v1/jobs/${job.id}`;
    job = { ...job, ...(await (verb === "delete" ? del(path) : post(`${path}/${verb}`))) };
    if (BEGIN_ANEW.includes(verb)) {
      location.reload();
      return;
    }
    byId("trouble").hidden = true;
    showJob();
  } catch (error) {
    complain(error);
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

function complain(error) {
  byId("trouble").textContent = error.message;
  byId("trouble").hidden = false;
}

const confirm = byId("confirm");
confirm.addEventListener("close", () => {
  if (confirm.returnValue === "yes") act(confirm.dataset.asks);
});
for (const button of document.querySelectorAll("[data-verb]")) {
  const { verb } = button.dataset;
  button.addEventListener("click", () => {
    if (!FINAL.includes(verb)) {
      act(verb);
      return;
    }
    confirm.dataset.asks = verb;
    for (const part of confirm.querySelectorAll("[data-of]")) part.hidden = part.dataset.of !== verb;
    confirm.setAttribute("aria-labelledby", `confirm-${verb}`);
    confirm.returnValue = "";
    confirm.showModal();
  });
}

byId("share")?.addEventListener("click", async (event) => {
  try {
    await post(`/v1/jobs/${job.id}/sharing`, { shared: event.target.dataset.shared !== "true" });
    location.reload();
  } catch (error) {
    complain(error);
  }
});

byId("rerun").addEventListener("click", () => {
  byId("rerun-dialog").returnValue = "";
  byId("rerun-dialog").showModal();
});
byId("rerun-dialog").addEventListener("close", async () => {
  if (byId("rerun-dialog").returnValue !== "yes") return;
  try {
    const { id } = await post(`/v1/jobs/${job.id}/rerun`, { from_stage: byId("rerun-stage").value });
    location.assign(`/jobs/${id}`);
  } catch (error) {
    complain(error);
  }
});

byId("heal").addEventListener("click", () => {
  byId("heal-dialog").returnValue = "";
  byId("heal-dialog").showModal();
});
byId("heal-dialog").addEventListener("close", async () => {
  if (byId("heal-dialog").returnValue !== "yes") return;
  const { networks, steps } = byId("heal-dialog").querySelector("form").elements;
  const named = networks.value === "selected" ? [detail.shown ?? results.knee] : networks.value;
  try {
    const { id } = await post(`/v1/jobs/${job.id}/heal`, { healing: { networks: named, steps: Number(steps.value) } });
    location.assign(`/jobs/${id}`);
  } catch (error) {
    complain(error);
  }
});

const editing = byId("edit-dialog");
byId("edit").addEventListener("click", () => {
  editing.returnValue = "";
  editing.showModal();
});
editing.addEventListener("close", async () => {
  if (editing.returnValue !== "yes") return;
  const { name, labels, priority, notes } = editing.querySelector("form").elements;
  const words = labels.value.split(/\s+/).filter(Boolean);
  const changes = { name: name.value, labels: words, priority: Number(priority.value), notes: notes.value };
  try {
    await patch(`/v1/jobs/${job.id}`, changes);
    location.reload();
  } catch (error) {
    complain(error);
  }
});

// --- begin ----------------------------------------------------------------------------------------

byId("submitted").title = exactTime(job.created_at);
showSpec(submitted);
new Logs(job.id, view);
showJob();
exports.load().catch(() => {});
// Of a supernet that is reused, no event of this job tells.
get(`/v1/jobs/${job.id}/sharing-cost`).then(({ networks }) => sharing.set(networks)).catch(() => {});
fromAddress();
view.onChange(fromAddress);
setInterval(showTimes, 1000);
saving(byId("save-plot"), `front-${job.id}`, { picture: (kind) => plot.picture(kind), rows: () => plot.rows() });
saving(byId("save-parallel"), `metrics-${job.id}`, { picture: (kind) => parallel.picture(kind), rows: () => parallel.rows() });
saving(byId("save-curve"), `curve-${job.id}`, { picture: (kind) => curve.picture(kind), rows: () => curve.rows() });
saving(byId("save-hypervolume"), `hypervolume-${job.id}`, { picture: (kind) => hypervolume.picture(kind), rows: () => hypervolume.rows() });
begin();

/** What has happened so far in three answers, then what comes. Nothing is heard twice: only the asking is repeated. */
async function begin() {
  let past, columns;
  try {
    past = await get(`/v1/jobs/${job.id}/history`);
    // Asked for after the history, so that what came between is in one of them, or in both.
    loadFront();
    columns = await get(`/v1/jobs/${job.id}/evaluations/columns`);
  } catch (error) {
    if (error.status >= 400 && error.status < 500) complain(error);
    else setTimeout(begin, FRONT_MS); // the server is away for a moment
    return;
  }
  results.addColumns(columns);
  for (const { kind, data } of past.events) hear(kind, data);
  isRead = true;
  showResults();
  showPhase();
  follow(job.id, past.last, hear, sayLink);
}
