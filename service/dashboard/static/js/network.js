// One network: what it looks like, what it costs, where every number is from, who its neighbours are, and how to get it.

import { get, post } from "./api.js";
import { compareButton } from "./basket.js";
import { saving } from "./charts.js";
import { badge, byId, el } from "./dom.js";
import { exportPart, Exports } from "./exports.js";
import { ago, amount, exactTime, label, milliseconds, named, scaled, spread, times } from "./format.js";
import { costRows, layerCosts } from "./layers.js";
import { pictureOfNetwork } from "./picture.js";
import { Results } from "./results.js";

// Networks of the front on either side.
const NEIGHBOURS = 2;
// How often it is asked whether a measurement is there.
const READINGS_MS = 2000;
const ENDED = ["succeeded", "failed", "cancelled"];

const { job, architecture_id: id } = JSON.parse(byId("network-data").textContent);
const base = `/v1/jobs/${job.id}`;
const results = new Results();
const exports = new Exports(job.id, byId("exports"), showExport, (other) => location.assign(`/jobs/${job.id}/networks/${encodeURIComponent(other)}`));
let network = null;
let catalog = null;

begin();

async function begin() {
  try {
    const [found, front, layers] = await Promise.all([
      get(`${base}/architectures/${encodeURIComponent(id)}`),
      get(`${base}/front`),
      get(`${base}/architectures/${encodeURIComponent(id)}/layers`),
    ]);
    network = found;
    results.setFront(front);
    showHead();
    showLayers(layers);
    byId("content").hidden = false;
    catalog = await get("/v1/catalog");
    showNumbers();
    showNeighbours();
    showChoices();
    showExport();
    await Promise.all([exports.load(), showReadings()]);
  } catch (error) {
    complain(error);
  }
}

function showHead() {
  const point = results.find(id);
  const tags = [
    id === results.knee ? el("span", { class: "tag grain" }, "knee") : null,
    id === results.reference?.id ? el("span", { class: "tag dim" }, results.reference.name) : null,
    el("span", { class: point?.onFront ? "tag" : "tag dim" }, point?.onFront ? "on the front" : point?.breaks?.length ? "beyond a limit" : "not on the front"),
  ];
  byId("tags").replaceChildren(...tags.filter(Boolean), compareButton(job.id, id));
}

function showLayers(found) {
  byId("picture").replaceChildren(pictureOfNetwork(found.layers, found.largest));
  byId("costs").replaceChildren(layerCosts(found));
  saving(byId("save-costs"), `layers-${id}`, { rows: () => costRows(found) });
  const { latency } = found;
  if (!latency) {
    byId("costs-note").textContent = "No latency of its layers is known: the job has no target whose layers were measured, or no table.";
    return;
  }
  const whole = network.metrics.latency_ms;
  const how = latency.source === "measured" ? "Each layer was measured alone and pays for a call of its own, so that they take longer together than the network" : "An uploaded table has these";
  const beside = whole === undefined || whole === null ? "" : `: ${milliseconds(latency.sum_ms)} beside ${milliseconds(whole)} (${network.sources.latency_ms})`;
  const missing = latency.missing.length ? ` Not measured alone: ${latency.missing.join(", ")}.` : "";
  byId("costs-note").textContent = `${how}${beside}. ${conditions(latency.conditions)}.${missing}`;
}

function conditions(facts) {
  const versions = facts.engine_version ? ` ${facts.engine_version}` : "";
  const { device, gpu, runtime, threads, batch, table } = facts;
  const parts = [device, gpu, runtime ? `${runtime}${versions}` : null, table ? `table ${table}` : null, threads ? `${threads} ${threads === 1 ? "thread" : "threads"}` : null, batch ? `batch ${batch}` : null];
  return parts.filter(Boolean).join(" · ");
}

// --- numbers --------------------------------------------------------------------------------------

function showNumbers() {
  const order = results.metrics();
  const metrics = Object.keys(network.metrics).sort((a, b) => order.indexOf(a) - order.indexOf(b));
  const { reference } = results;
  const compares = reference && reference.id !== id;
  const head = ["Number", "Value, 95 % interval", ...(compares ? [`Of the ${reference.name}'s`] : []), "How"];
  const rows = metrics.map((metric) =>
    el("tr", { "data-metric": metric },
      el("th", { scope: "row", class: "meaning" }, label(metric), el("span", { class: "quiet" }, meaning(metric))),
      el("td", { class: "num end" }, amount(metric, network.metrics[metric]), el("small", { class: "wide" }, interval(metric))),
      ...(compares ? [el("td", { class: "num end" }, metric.startsWith("predicted_") ? "" : times(network.ratios?.[metric]))] : []),
      el("td", { class: "source", "data-source": network.sources[metric] }, network.sources[metric] ?? "–"),
    ),
  );
  byId("numbers").replaceChildren(
    el("thead", {}, el("tr", {}, ...head.map((text, i) => el("th", { scope: "col", class: i === 0 || i === head.length - 1 ? null : "end" }, text)))),
    el("tbody", {}, ...rows),
  );
}

function interval(metric) {
  const [low, high] = network.intervals?.[metric] ?? [];
  if (low === undefined || low === null || high === null) return network.sources[metric] === "analytic" ? "exact" : "";
  return `${amount(metric, low)} to ${amount(metric, high)} (${spread(metric, network.metrics[metric], [low, high])})`;
}

function meaning(metric) {
  if (metric.startsWith("predicted_")) return "As the search predicted it.";
  const words = catalog.metrics[metric.replace(/^test_/, "")]?.meaning ?? "";
  if (!metric.startsWith("test_")) return words;
  return `On what no search has seen. ${words.replace("validation split", "test split")}`;
}

// --- measured, and measured again ------------------------------------------------------------------

/** Every time that it was measured, oldest first; while a job measures it, again and again. */
async function showReadings() {
  const { readings } = await get(`${base}/architectures/${encodeURIComponent(id)}/readings`);
  const waits = readings.some((one) => !one.measurements.length && !ENDED.includes(one.state));
  byId("measurements-card").hidden = readings.length === 0 && !job.measures;
  byId("measure-again").hidden = !job.measures;
  byId("measure-again").disabled = waits;
  const head = ["When", "Device and conditions", "Median", "95 %", "p95", "Runs"];
  byId("measurements").replaceChildren(
    el("thead", {}, el("tr", {}, ...head.map((text, i) => el("th", { scope: "col", class: i > 1 ? "end" : null }, text)))),
    el("tbody", {}, ...readings.flatMap((one) => readingRows(one, readings[0], head.length))),
  );
  byId("measurements-note").textContent = readings.length ? "" : "It was not measured yet.";
  if (waits) setTimeout(() => showReadings().catch(complain), READINGS_MS);
}

function readingRows(one, first, width) {
  const isFirst = one.job_id === job.id;
  const when = (at) => [el("time", { datetime: at, title: exactTime(at) }, ago(at)), isFirst ? null : el("a", { class: "quiet small", href: `/jobs/${one.job_id}` }, " again")];
  if (!one.measurements.length) {
    const words = one.message ?? (ENDED.includes(one.state) ? "It was not measured." : "It is being measured.");
    return [el("tr", { "data-testid": "reading", "data-state": one.state }, el("th", { scope: "row" }, ...when(one.created_at)), el("td", { colspan: width - 1, class: "wraps" }, badge(one.state), ` ${words}`))];
  }
  return one.measurements.map((measured) => {
    const versions = Object.entries(measured.versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", ");
    const where = [measured.device, measured.runtime, `${measured.threads} ${measured.threads === 1 ? "thread" : "threads"}`, `batch ${measured.batch}`, measured.dtype, measured.phase, versions].filter(Boolean).join(" · ");
    const ends = measured.interval_ms ? `${milliseconds(measured.interval_ms[0])} to ${milliseconds(measured.interval_ms[1])}` : "–";
    const before = isFirst ? undefined : first.measurements.find((other) => sameConditions(other, measured));
    const beside = before ? el("small", { class: "wide", title: "beside the first time, in the same conditions" }, signed(measured.median_ms, before.median_ms)) : null;
    return el("tr", { "data-testid": "reading", "data-state": one.state },
      el("th", { scope: "row" }, ...when(one.measured_at)),
      el("td", { class: "wraps" }, where),
      el("td", { class: "num end" }, milliseconds(measured.median_ms), beside),
      el("td", { class: "num end" }, ends),
      el("td", { class: "num end" }, milliseconds(measured.p95_ms)),
      el("td", { class: "num end" }, scaled(measured.runs)),
    );
  });
}

function sameConditions(one, other) {
  return ["device", "runtime", "threads", "batch", "dtype", "phase"].every((name) => one[name] === other[name]);
}

function complain(error) {
  byId("trouble").textContent = error.message;
  byId("trouble").hidden = false;
}

byId("measure-again").addEventListener("click", async () => {
  byId("measure-again").disabled = true;
  try {
    await post(`${base}/architectures/${encodeURIComponent(id)}/measure`);
    await showReadings();
  } catch (error) {
    complain(error);
    byId("measure-again").disabled = false;
  }
});

// --- neighbours -----------------------------------------------------------------------------------

/** Who stands beside it on the front, by the first cost that is an objective. */
function showNeighbours() {
  const goals = results.objectives;
  const cost = goals.find(({ goal }) => goal === "minimize")?.metric ?? goals.at(-1)?.metric;
  const value = network.metrics[cost];
  const others = results.front.filter((point) => point.id !== id && point.metrics[cost] !== undefined);
  if (!others.length || value === undefined) return;
  const sorted = [...others].sort((a, b) => a.metrics[cost] - b.metrics[cost]);
  const below = sorted.filter((point) => point.metrics[cost] <= value).slice(-NEIGHBOURS);
  const above = sorted.filter((point) => point.metrics[cost] > value).slice(0, NEIGHBOURS);
  const metrics = goals.map(({ metric }) => metric);
  const line = (point, isThis) =>
    el("tr", { class: isThis ? "selected" : null, "data-testid": isThis ? null : "neighbour" },
      el("th", { scope: "row" }, isThis ? el("code", {}, id) : el("a", { href: `/jobs/${job.id}/networks/${point.id}` }, el("code", {}, point.id)), point.id === results.knee ? el("span", { class: "tag grain" }, "knee") : null),
      ...metrics.map((metric) => el("td", { class: "num end" }, amount(metric, point.metrics[metric]), isThis ? null : el("small", { class: better(metric, point) }, change(metric, point)))),
    );
  byId("neighbours-card").hidden = false;
  byId("neighbours").replaceChildren(
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, `By ${named(cost)}`), ...metrics.map((metric) => el("th", { scope: "col", class: "end" }, label(metric))))),
    el("tbody", {}, ...below.map((point) => line(point, false)), line({ id, metrics: network.metrics }, true), ...above.map((point) => line(point, false))),
  );
}

function change(metric, point) {
  const [other, mine] = [point.metrics[metric], network.metrics[metric]];
  if (other === undefined || mine === undefined || mine === null) return "";
  if (/accuracy/.test(metric)) return `${other >= mine ? "+" : "−"}${Math.abs(100 * (other - mine)).toFixed(2)} points`;
  return signed(other, mine);
}

/** A number beside another one, in per cent of it. */
function signed(value, of) {
  const share = (100 * (value - of)) / Math.abs(of || 1);
  return `${share >= 0 ? "+" : "−"}${Math.abs(share).toFixed(1)}\u00a0%`;
}

function better(metric, point) {
  const sign = results.goalOf(metric) === "minimize" ? -1 : 1;
  const by = sign * (point.metrics[metric] - network.metrics[metric]);
  return by > 0 ? "good" : by < 0 ? "worse" : "";
}

// --- the rest -------------------------------------------------------------------------------------

function showChoices() {
  byId("choices").replaceChildren(...Object.entries(network.values).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value)))));
  byId("choices-title").textContent = `Choices (${Object.keys(network.values).length})`;
}

function showExport() {
  if (!network || !catalog) return;
  const one = exports.of(id);
  const ask = (formats) => exports.request(id, formats);
  byId("export").replaceChildren(exportPart(one, id, id === results.knee, ask, network.formats ?? []));
  byId("load-card").hidden = one?.state !== "succeeded";
  if (one?.state === "succeeded") byId("load").replaceChildren(...loading(one).map(([title, code]) => el("div", {}, el("h3", {}, title), el("pre", { tabindex: 0 }, el("code", {}, code)))));
}

/** How an export is opened: commands that work where it was downloaded to. */
function loading(one) {
  const folder = [one.job_id, one.architecture_id, ...one.formats].join("-");
  const named = one.formats.length > 0;
  const formats = named ? one.formats : ["safetensors", "onnx"];
  const code = (name) => {
    const words = catalog.export_loads[name] ?? "";
    if (named) return words.replace(/^python load\.py/, `python ${name}/load.py`);
    return words.replaceAll(`${name}/`, "");
  };
  return [
    ["Unpack, and check that it is what was verified", `tar -xzf ${folder}.tar.gz && cd ${folder}\nsha256sum -c SHA256SUMS`],
    ...formats.filter((name) => catalog.export_loads[name]).map((name) => [name, code(name)]),
  ];
}
