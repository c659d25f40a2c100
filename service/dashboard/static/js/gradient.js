// A search by gradient: probabilities of every block over time, latency and entropy, and every network on every target.

import { get } from "./api.js";
import { axis, font, makeChart, tooltip } from "./charts.js";
import { byId, el, throttle, token } from "./dom.js";
import { amount, milliseconds } from "./format.js";

// It is asked for at most this often while points arrive.
const REFRESH_MS = 2000;
// Height of a row of the heat map and of what stands around the rows, in pixels.
const ROW = 9;
const AROUND = 78;

export class Gradient {
  #jobId;
  #choose;
  #found = null;
  #shown = null; // number of the network, chosen by hand; null: the newest with points
  #heat = null;
  #course = null;
  #load;

  /** @param {(architectureId: string) => void} choose called with a network that was clicked */
  constructor(jobId, choose) {
    this.#jobId = jobId;
    this.#choose = choose;
    this.#load = throttle(() => this.#refresh(), REFRESH_MS);
    byId("gradient-network").addEventListener("change", (event) => {
      this.#shown = Number(event.target.value);
      this.#render();
    });
  }

  /** Something happened: ask for the whole, soon. */
  hear() {
    this.#load();
  }

  async #refresh() {
    try {
      this.#found = await get(`/v1/jobs/${this.#jobId}/gradient`);
    } catch {
      setTimeout(this.#load, REFRESH_MS); // the server is away for a moment
      return;
    }
    this.#render();
  }

  get #network() {
    const { networks } = this.#found;
    return networks[this.#shown ?? -1] ?? networks.findLast((one) => one.search.length) ?? networks[0];
  }

  #render() {
    const { networks } = this.#found;
    const begun = networks.some((one) => one.search.length);
    byId("gradient-waiting").hidden = begun;
    byId("gradient-body").hidden = !begun;
    this.#table();
    if (!begun) return;
    const select = byId("gradient-network");
    const offered = networks.filter((one) => one.search.length);
    select.replaceChildren(...offered.map((one) => el("option", { value: one.number }, title(one))));
    select.value = String(this.#network.number);
    this.#renderHeat();
    this.#renderCourse();
  }

  // --- heat map -----------------------------------------------------------------------------------

  /** One row for every option of every block, with an empty row between blocks. */
  #rows() {
    return this.#found.blocks.flatMap((block, b) => [
      ...(b ? [{ gap: true }] : []),
      ...block.options.map((option, o) => ({ block: block.name, b, o, option: String(option), middle: o === Math.floor((block.options.length - 1) / 2) })),
    ]);
  }

  #renderHeat() {
    const element = byId("gradient-heat");
    const rows = this.#rows();
    const points = this.#network.search;
    element.style.height = `${AROUND + ROW * rows.length}px`;
    this.#heat ??= makeChart(element, () => this.#renderHeat());
    this.#heat.resize();
    const narrow = element.clientWidth < 520;
    const data = points.flatMap((point, x) => rows.map((row, y) => (row.gap ? null : [x, y, point.probabilities[row.b][row.o]])).filter(Boolean));
    // A short search ends far from certain: colours reach to the largest probability, rounded up to a tenth.
    const most = Math.min(1, Math.ceil(10 * data.reduce((seen, [, , p]) => Math.max(seen, p), 0.1)) / 10);
    element.dataset.cells = String(data.length);
    element.setAttribute("aria-label", `Probabilities of operations by epoch. ${this.#inWords(points.at(-1))}`);
    this.#heat.setOption(
      {
        animation: false,
        textStyle: font(),
        grid: { left: narrow ? 104 : 132, right: 16, top: 8, bottom: 66 },
        tooltip: { trigger: "item", ...tooltip(({ value: [x, y, p] }) => this.#tip(rows[y], points[x], p)) },
        xAxis: {
          ...axis(),
          type: "category",
          data: points.map((point) => point.epoch),
          name: "epoch",
          nameGap: 26,
          axisLabel: { ...axis().axisLabel, formatter: (epoch) => String(Math.round(10 * epoch) / 10) },
          splitLine: { show: false },
          minorTick: { show: false },
          axisTick: { show: false },
        },
        yAxis: {
          ...axis(),
          type: "category",
          inverse: true,
          data: rows.map((row) => (row.middle ? row.block : "")),
          splitLine: { show: false },
          minorTick: { show: false },
          axisTick: { show: false },
          axisLine: { show: false },
          axisLabel: { ...axis().axisLabel, interval: 0, hideOverlap: false, fontSize: narrow ? 10 : 11, width: narrow ? 94 : 122, overflow: "truncate" },
        },
        visualMap: {
          min: 0,
          max: most,
          calculable: false,
          orient: "horizontal",
          left: "center",
          bottom: 0,
          itemWidth: 9,
          itemHeight: 120,
          text: [most === 1 ? "certain" : `${Math.round(100 * most)} %`, "never"],
          textStyle: { ...font(), fontSize: 11 },
          inRange: { color: [token("--sunk"), token("--grain-wash"), token("--grain"), token("--grain-ink")] },
        },
        series: [{ type: "heatmap", data, itemStyle: { borderWidth: 0 }, emphasis: { itemStyle: { borderColor: token("--ink"), borderWidth: 1 } } }],
      },
      { notMerge: true },
    );
  }

  #inWords(point) {
    if (!point) return "";
    const said = this.#found.blocks.map((block, b) => {
      const row = point.probabilities[b];
      const best = row.indexOf(Math.max(...row));
      return `${block.name} ${block.options[best]} ${Math.round(100 * row[best])} %`;
    });
    return `Epoch ${point.epoch}: ${said.join(", ")}.`;
  }

  #tip(row, point, p) {
    return el("div", { class: "tip" },
      el("strong", {}, `${row.block}: ${row.option}`),
      el("dl", {}, el("div", {}, el("dt", {}, `epoch ${point.epoch}`), el("dd", {}, `${(100 * p).toFixed(1)} %`))),
    );
  }

  // --- latency and entropy ------------------------------------------------------------------------

  #renderCourse() {
    const element = byId("gradient-course");
    const { search: points, budget_ms: budget, measured, target } = this.#network;
    this.#course ??= makeChart(element, () => this.#renderCourse());
    const sides = { left: 58, right: 18, outerBoundsMode: "none" };
    const lines = [
      ["expected", 0, "expected_ms", token("--series-1"), "solid"],
      ["most likely network", 0, "most_likely_ms", token("--series-3"), "solid"],
      ["entropy", 1, "entropy", token("--series-2"), "solid"],
    ];
    const last = points.at(-1)?.epoch ?? 1;
    const level = (name, y, color) => ({ type: "line", name, data: [[points[0].epoch, y], [last, y]], symbol: "none", lineStyle: { color, type: "dashed", width: 1.5 }, itemStyle: { color } });
    const levels = [
      ...(budget === null ? [] : [level("budget", budget, token("--bad"))]),
      // A table's own device is another machine.
      ...(measured === null || isFile(target) ? [] : [level("measured", measured.metrics.latency_ms, token("--good"))]),
    ];
    this.#course.setOption(
      {
        animation: false,
        textStyle: font(),
        legend: { top: 2, left: 8, right: 8, itemWidth: 20, itemHeight: 8, textStyle: font() },
        tooltip: { trigger: "axis", ...tooltip((items) => courseTip(items)) },
        axisPointer: { link: [{ xAxisIndex: "all" }], lineStyle: { color: token("--ink-3") } },
        grid: [{ ...sides, top: 56, height: "34%" }, { ...sides, bottom: 44, height: "24%" }],
        xAxis: [0, 1].map((i) => ({ ...axis(), type: "value", gridIndex: i, min: 0, max: last, splitLine: { show: false }, minorTick: { show: false }, name: i ? "epoch" : "", nameGap: 28, axisLabel: { ...axis().axisLabel, show: Boolean(i) } })),
        yAxis: ["ms", "entropy, nats"].map((name, i) => ({ ...axis(), type: "value", gridIndex: i, scale: !i, splitNumber: 3, minorTick: { show: false }, name, nameGap: 42 })),
        series: [
          ...lines.map(([name, panel, key, color, type]) => ({ type: "line", name, xAxisIndex: panel, yAxisIndex: panel, data: points.map((point) => [point.epoch, point[key]]), showSymbol: false, lineStyle: { width: 1.75, color, type }, itemStyle: { color } })),
          ...levels,
        ],
      },
      { notMerge: true },
    );
  }

  // --- networks -----------------------------------------------------------------------------------

  #table() {
    const { networks, baselines, cross_latency_ms: cross } = this.#found;
    const targets = [...new Set(networks.map((one) => one.target))];
    const head = ["Network", "Searched for", "Expected", "Table", "Measured here", "Accuracy", ...(targets.length > 1 ? targets.map((name) => `on ${short(name)}`) : [])];
    const rows = networks.map((one) => {
      const id = one.derived?.architecture_id;
      const name = id ? el("button", { type: "button", class: "pick", onclick: () => this.#choose(id) }, id) : el("span", { class: "quiet" }, state(one));
      return el("tr", { "data-testid": "gradient-row" },
        el("th", { scope: "row" }, name),
        el("td", {}, title(one)),
        cell(milliseconds(one.derived?.expected_ms ?? one.search.at(-1)?.expected_ms)),
        cell(milliseconds(one.derived?.table_ms)),
        cell(milliseconds(one.measured?.metrics.latency_ms)),
        cell(one.measured ? amount("accuracy", one.measured.metrics.accuracy) : "–"),
        ...(targets.length > 1 ? targets.map((target) => cell(milliseconds(cross[id]?.[target]))) : []),
      );
    });
    const published = baselines.map((one) =>
      el("tr", { class: "quiet" },
        el("th", { scope: "row" }, one.name),
        el("td", {}, one.source ? `published: ${one.source}` : "published"),
        cell("–"), cell("–"),
        cell(milliseconds(one.latency_ms)),
        cell(amount("accuracy", one.accuracy)),
        ...(targets.length > 1 ? targets.map(() => cell("–")) : []),
      ),
    );
    const table = byId("gradient-table");
    table.tHead.replaceChildren(el("tr", {}, ...head.map((text, i) => el("th", { scope: "col", class: i > 1 ? "end" : "" }, text))));
    table.tBodies[0].replaceChildren(...rows, ...published);
  }
}

function cell(text) {
  return el("td", { class: "num end" }, text);
}

function isFile(target) {
  return target.startsWith("/");
}

/** A target's own name, or that of its file. */
function short(target) {
  return target.replace(/^.*\//, "").replace(/\.csv$/, "");
}

function title({ target, latency_weight: weight, budget_ms: budget }) {
  return `${short(target)}, ${budget === null ? `weight ${weight}` : `within ${budget} ms`}`;
}

function state(network) {
  if (network.derived) return "training";
  return network.search.length ? "searching" : "to come";
}

function courseTip(items) {
  const lines = items.map((item) => el("div", {}, el("dt", {}, item.seriesName), el("dd", {}, item.seriesName === "entropy" ? item.value[1].toFixed(2) : milliseconds(item.value[1]))));
  return el("div", { class: "tip" }, el("strong", {}, `Epoch ${items[0]?.value[0] ?? ""}`), el("dl", {}, ...lines));
}
