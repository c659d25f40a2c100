// Networks side by side, and fronts of jobs in one plot with hypervolumes from one corner.

import { get } from "./api.js";
import { MOST as MOST_NETWORKS } from "./basket.js";
import { axis, font, makeChart, pictureOf, saving, tooltip } from "./charts.js";
import { byId, el, token } from "./dom.js";
import { amount, label, mark, named, spread } from "./format.js";
import { inWords } from "./layers.js";
import { pictureOfNetwork } from "./picture.js";

const MOST_JOBS = 6;
const LISTED = 40;
const COLOURS = ["--series-1", "--grain", "--series-3", "--series-4", "--good", "--series-2"];
const SYMBOLS = ["circle", "diamond", "triangle", "rect", "pin", "roundRect"];

const asked = new URLSearchParams(location.search);
const names = asked.getAll("network").slice(0, MOST_NETWORKS);
const jobIds = [...new Set(asked.getAll("job"))].slice(0, MOST_JOBS);

begin();

async function begin() {
  try {
    const left = Math.max(0, asked.getAll("network").length - names.length) + Math.max(0, new Set(asked.getAll("job")).size - jobIds.length);
    if (left) trouble(`At most ${MOST_NETWORKS} networks and ${MOST_JOBS} jobs are compared; ${left} more are left out.`);
    if (names.length) await showNetworks();
    if (jobIds.length) await showFronts();
    await offerJobs();
  } catch (error) {
    trouble(error.message);
  }
}

function trouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = false;
}

// --- networks -------------------------------------------------------------------------------------

async function showNetworks() {
  const all = await Promise.all(names.map(async (name) => {
    const [jobId, id] = name.split(":");
    const base = `/v1/jobs/${encodeURIComponent(jobId)}`;
    const [job, network, layers] = await Promise.all([get(base), get(`${base}/architectures/${encodeURIComponent(id)}`), get(`${base}/architectures/${encodeURIComponent(id)}/layers`)]);
    return { name, job, network, layers };
  }));
  byId("networks-card").hidden = byId("pictures-card").hidden = false;
  const only = byId("only-different");
  only.checked = new URLSearchParams(location.hash.slice(1)).get("only") === "1";
  only.addEventListener("change", () => {
    history.replaceState(null, "", only.checked ? "#only=1" : location.pathname + location.search);
    draw();
  });
  const draw = () => drawNetworks(all, only.checked);
  draw();
  saving(byId("save-networks"), "networks", { rows: () => networkRows(all) });
  byId("pictures").replaceChildren(...all.map(({ job, network, layers }) => el("figure", {}, el("figcaption", {}, el("a", { href: pageOf(job, network) }, el("code", {}, network.architecture_id)), ` ${job.name}`), pictureOfNetwork(layers.layers, layers.largest))));
}

function pageOf(job, network) {
  return `/jobs/${job.id}/networks/${encodeURIComponent(network.architecture_id)}`;
}

/** Sections of rows: [title, [[name, [cell text], [sort value or null]]]]. */
function sections(all) {
  const union = (lists) => [...new Set(lists.flat())];
  const metrics = union(all.map(({ network }) => Object.keys(network.metrics)));
  const slots = union(all.flatMap(({ layers }) => [layers.largest, layers.layers]).map((some) => some.map((layer) => layer.slot))).filter((slot) => all.some(({ layers }) => layers.layers.some((layer) => layer.slot === slot)));
  const choices = union(all.map(({ network }) => Object.keys(network.values)));
  const value = (network, metric) => network.metrics[metric];
  return [
    ["Numbers", metrics.map((metric) => [label(metric), all.map(({ network }) => {
      const wide = spread(metric, value(network, metric), network.intervals?.[metric]);
      return `${amount(metric, value(network, metric))}${wide ? ` ${wide}` : ""}`;
    }), all.map(({ network }) => network.sources[metric] ?? "")])],
    ["Layers", slots.map((slot) => [slot, all.map(({ layers }) => {
      const layer = layers.layers.find((one) => one.slot === slot);
      return layer ? [inWords(layer), ...new Set(Object.values(layer.policy))].join("  ") : "dropped";
    }), null])],
    ["Choices", choices.map((choice) => [choice, all.map(({ network }) => (choice in network.values ? JSON.stringify(network.values[choice]).replaceAll('"', "") : "–")), null])],
  ];
}

function drawNetworks(all, only) {
  const head = el("tr", {}, el("th", { scope: "col" }, ""), ...all.map(({ job, network }) => el("th", { scope: "col" }, el("a", { href: pageOf(job, network) }, el("code", {}, network.architecture_id)), el("small", {}, job.name))));
  let different = 0;
  const bodies = sections(all).map(([title, rows]) => {
    const shown = rows.map(([name, cells, sources]) => ({ name, cells, sources, differs: new Set(cells).size > 1 })).filter(({ differs }) => {
      if (differs) different += 1;
      return differs || !only;
    });
    if (!shown.length) return null;
    return el("tbody", {},
      el("tr", { class: "section" }, el("th", { scope: "rowgroup", colspan: all.length + 1 }, title)),
      ...shown.map(({ name, cells, sources, differs }) =>
        el("tr", { class: differs ? "differs" : null, "data-testid": "compared-row", "data-differs": String(differs) },
          el("th", { scope: "row" }, name),
          ...cells.map((cell, at) => el("td", { class: cell === cells[0] ? null : "odd" }, cell, sources?.[at] ? el("small", {}, sources[at]) : null)),
        ),
      ),
    );
  });
  byId("networks").replaceChildren(el("thead", {}, head), ...bodies.filter(Boolean));
  byId("about").textContent = `${all.length} networks differ in ${different} rows; what is not as in the first is marked.`;
}

function networkRows(all) {
  const head = ["what", ...all.map(({ name }) => name)];
  const numbers = [...new Set(all.flatMap(({ network }) => Object.keys(network.metrics)))].map((metric) => [metric, ...all.map(({ network }) => network.metrics[metric] ?? null)]);
  const others = sections(all).slice(1).flatMap(([, rows]) => rows.map(([name, cells]) => [name, ...cells]));
  return { head, rows: [...numbers, ...others] };
}

// --- fronts ---------------------------------------------------------------------------------------

async function showFronts() {
  const query = new URLSearchParams(jobIds.map((id) => ["job", id]));
  const [{ jobs, corner, metrics: shared }, ...fronts] = await Promise.all([get(`/v1/hypervolumes?${query}`), ...jobIds.map((id) => get(`/v1/jobs/${encodeURIComponent(id)}/front`))]);
  byId("fronts-card").hidden = false;
  const all = jobs.map((job, place) => ({ ...job, front: fronts[place] }));
  const known = [...new Set(all.flatMap(({ front }) => front.points.flatMap((point) => Object.keys(point.metrics))))];
  const goals = new Map(all.flatMap(({ front }) => front.objectives.map(({ metric, goal }) => [metric, goal])));
  const controls = { x: byId("axis-x"), y: byId("axis-y"), logx: byId("log-x"), logy: byId("log-y") };
  for (const select of [controls.x, controls.y]) select.replaceChildren(...known.map((metric) => el("option", { value: metric }, label(metric))));
  const view = new URLSearchParams(location.hash.slice(1));
  const first = (name, other) => (known.includes(view.get(name)) ? view.get(name) : (other ?? known[0]));
  controls.y.value = first("y", shared[0]);
  controls.x.value = first("x", shared[1] ?? known.find((metric) => metric !== controls.y.value));
  controls.logx.checked = view.get("logx") === "1";
  controls.logy.checked = view.get("logy") === "1";
  let chart = null;
  const draw = () => {
    chart ??= makeChart(byId("fronts"), draw);
    chart.setOption(option(all, controls, goals), { notMerge: true });
    byId("fronts").dataset.series = String(all.length);
  };
  for (const control of Object.values(controls)) {
    control.addEventListener("change", () => {
      const said = { x: controls.x.value, y: controls.y.value, ...(controls.logx.checked ? { logx: 1 } : {}), ...(controls.logy.checked ? { logy: 1 } : {}) };
      history.replaceState(null, "", `#${new URLSearchParams(said)}`);
      draw();
    });
  }
  draw();
  const box = Object.entries(corner).map(([metric, worst]) => `${named(metric)} ${amount(metric, worst)}`).join(", ");
  byId("fronts-note").textContent = box ? `Hypervolumes are measured from ${box} for all of them, as shares of the box to the best value of any.` : "";
  drawJobs(all);
  const rows = () => ({ head: ["job_id", "name", "architecture_id", ...known], rows: all.flatMap(({ id, name, front }) => front.points.map((point) => [id, name, point.architecture_id, ...known.map((metric) => point.metrics[metric] ?? null)])) });
  saving(byId("save-fronts"), "fronts", { picture: (kind) => pictureOf(chart, kind), rows });
}

function option(all, { x, y, logx, logy }, goals) {
  const [across, up] = [x.value, y.value];
  const can = ({ metrics }) => [[across, logx], [up, logy]].every(([metric, log]) => typeof metrics[metric] === "number" && (!log.checked || metrics[metric] > 0));
  const side = (metric, log) => ({ ...axis(), type: log.checked ? "log" : "value", scale: true, minorTick: { show: false }, axisLabel: { ...axis().axisLabel, formatter: (value) => mark(metric, value) }, name: `${label(metric)}${goals.get(metric) ? ` (${goals.get(metric) === "minimize" ? "less" : "more"} is better)` : ""}` });
  return {
    animation: false,
    textStyle: font(),
    grid: { left: 66, right: 22, top: 44, bottom: 50 },
    legend: { top: 4, left: 0, type: "scroll", textStyle: font(), pageTextStyle: font() },
    tooltip: { trigger: "item", ...tooltip(({ data }) => tip(data)) },
    xAxis: { ...side(across, logx), nameGap: 30 },
    yAxis: { ...side(up, logy), nameGap: 48 },
    series: all.flatMap(({ id, name, front }, place) => {
      const colour = token(COLOURS[place]);
      const points = front.points.filter(can).map((point) => ({ value: [point.metrics[across], point.metrics[up]], point, job: name }));
      const title = `${name} (${id})`;
      return [
        { type: "scatter", name: title, symbol: SYMBOLS[place], symbolSize: 9, data: points, itemStyle: { color: colour, borderColor: token("--panel"), borderWidth: 1 } },
        { type: "line", name: title, silent: true, showSymbol: false, step: false, data: edge(points.map(({ value }) => value), goals.get(across), goals.get(up)), lineStyle: { color: colour, width: 1.25, opacity: 0.7 }, itemStyle: { color: colour }, tooltip: { show: false } },
      ];
    }),
  };
}

/** Of places those that no other beats in both metrics, from left to right; none where a direction is unknown. */
function edge(places, goalX, goalY) {
  if (!goalX || !goalY) return [];
  const [signX, signY] = [goalX, goalY].map((goal) => (goal === "minimize" ? 1 : -1));
  let best = Infinity;
  const kept = [...places].sort((a, b) => signX * (a[0] - b[0]) || signY * (a[1] - b[1])).filter((place) => {
    if (signY * place[1] >= best) return false;
    best = signY * place[1];
    return true;
  });
  return kept.sort((a, b) => a[0] - b[0]);
}

function tip({ point, job }) {
  const lines = Object.entries(point.metrics).map(([metric, value]) => el("div", {}, el("dt", {}, label(metric)), el("dd", {}, amount(metric, value))));
  return el("div", { class: "tip" }, el("strong", {}, job), el("code", {}, point.architecture_id), el("dl", {}, ...lines));
}

function drawJobs(all) {
  const most = Math.max(...all.map(({ share }) => share ?? 0));
  const head = ["Job", "State", "On the front", "Evaluated", "Hypervolume", "Of it only here"];
  const rows = all.map(({ id, name, state, front, evaluations, share, only }, place) => {
    const swatch = el("i", { class: "dot", "aria-hidden": "true" });
    swatch.style.background = `var(${COLOURS[place]})`;
    return el("tr", { "data-testid": "front-of-job", "data-job-id": id },
      el("th", { scope: "row" }, swatch, el("a", { href: `/jobs/${id}` }, name)),
      el("td", {}, front.final ? "final, measured" : state),
      el("td", { class: "num end" }, String(front.points.length)),
      el("td", { class: "num end" }, String(evaluations)),
      el("td", { class: share === most ? "num end best" : "num end" }, share3(share)),
      el("td", { class: "num end" }, share3(only)),
    );
  });
  byId("fronts-table").replaceChildren(el("thead", {}, el("tr", {}, ...head.map((text, i) => el("th", { scope: "col", class: i > 1 ? "end" : null }, text)))), el("tbody", {}, ...rows));
}

function share3(share) {
  return share === null || share === undefined ? "–" : `${Number((100 * share).toPrecision(3))}\u00a0%`;
}

// --- choosing -------------------------------------------------------------------------------------

async function offerJobs() {
  const { jobs } = await get(`/v1/jobs?limit=${LISTED}`);
  const found = jobs.filter((job) => job.evaluations > 0);
  const boxes = found.map((job) => {
    const box = el("input", { type: "checkbox", name: "job", value: job.id });
    box.checked = jobIds.includes(job.id);
    return el("label", { class: "check" }, box, el("span", {}, job.name, el("small", {}, ` ${job.id} · ${job.recipe} · ${job.evaluations} evaluated`)));
  });
  byId("choices").replaceChildren(...(boxes.length ? boxes : [el("p", { class: "quiet" }, "No job has evaluated anything yet.")]));
  byId("choose").addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = new FormData(event.target).getAll("job");
    if (chosen.length === 0 || chosen.length > MOST_JOBS) {
      trouble(`Choose one to ${MOST_JOBS} jobs; ${chosen.length} are chosen.`);
      return;
    }
    location.assign(`/compare?${new URLSearchParams([...names.map((name) => ["network", name]), ...chosen.map((id) => ["job", id])])}`);
  });
}
