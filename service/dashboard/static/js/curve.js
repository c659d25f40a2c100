// The training curve: losses above, validation accuracies below, by epoch.

import { axis, font, makeChart, pictureOf, tooltip } from "./charts.js";
import { el, throttle, token } from "./dom.js";
import { isShare, scaled } from "./format.js";

// What is drawn: losses and scores, or one of the numbers that come with every point.
const FITS = "losses and scores";
const isFit = (key) => /^(loss|accuracy|perplexity)/.test(key);

const ORDER = ["largest", "median", "random", "smallest"];

export class Curve {
  #chart = null;
  #points = new Map(); // epoch -> numbers; a resumed training says some epochs again
  #element;
  #select;
  #draw;

  /** @param {HTMLSelectElement} select what is drawn */
  constructor(element, select) {
    this.#element = element;
    this.#select = select;
    this.#draw = throttle(() => this.#render(), 200);
    select.addEventListener("change", () => this.#render());
  }

  picture(kind) {
    return this.#chart ? pictureOf(this.#chart, kind) : null;
  }

  rows() {
    const rows = [...this.#points].sort(([a], [b]) => a - b);
    const keys = [...new Set(rows.flatMap(([, numbers]) => Object.keys(numbers)))];
    return { head: ["epoch", ...keys], rows: rows.map(([epoch, numbers]) => [epoch, ...keys.map((key) => numbers[key] ?? null)]) };
  }

  /** Offers every number that the points have. */
  #offer(keys) {
    const others = keys.filter((key) => !isFit(key));
    const offered = [...(keys.some(isFit) ? [FITS] : []), ...others];
    if ([...this.#select.options].map((option) => option.value).join() === offered.join()) return;
    const before = this.#select.value;
    this.#select.replaceChildren(...offered.map((key) => el("option", { value: key }, key.replaceAll("_", " "))));
    if (offered.includes(before)) this.#select.value = before;
  }

  get isEmpty() {
    return this.#points.size === 0;
  }

  /** Add a point; one with the same epoch takes the place of the old one. */
  add({ epoch, at: _at, ...numbers }) {
    this.#points.set(epoch, numbers);
    this.#draw();
  }

  #render() {
    this.#element.hidden = false;
    this.#chart ??= makeChart(this.#element, this.#draw);
    const rows = [...this.#points].sort(([a], [b]) => a - b);
    const all = [...new Set(rows.flatMap(([, numbers]) => Object.keys(numbers)))];
    this.#offer(all);
    const one = this.#select.value === FITS ? null : this.#select.value;
    const keys = all.filter((key) => (one ? key === one : isFit(key)));
    const losses = keys.filter((key) => one || key === "loss" || key.startsWith("loss_"));
    const scores = keys.filter((key) => /^(accuracy|perplexity)/.test(key));
    // Fixed sides, so that an epoch stands at the same place in both.
    const sides = { left: 62, right: 18, outerBoundsMode: "none" };
    const shares = scores.every((key) => key.startsWith("accuracy"));
    const split = losses.length && scores.length;
    const grids = split
      ? [{ ...sides, top: 40, height: "37%" }, { ...sides, bottom: 44, height: "32%" }]
      : [{ ...sides, top: 40, bottom: 44 }];
    const panels = [losses, scores].filter((panel) => panel.length);
    const last = rows.length ? rows.at(-1)[0] : 1;
    this.#element.setAttribute("aria-label", `Training curve. ${this.#inWords(rows.at(-1))}`);
    this.#chart.setOption(
      {
        animation: false,
        textStyle: font(),
        legend: { top: 4, left: 56, itemWidth: 22, itemHeight: 8, textStyle: font(), data: names(keys), inactiveColor: token("--line-2") },
        tooltip: { trigger: "axis", ...tooltip((items) => this.#tip(items)) },
        axisPointer: { link: [{ xAxisIndex: "all" }], lineStyle: { color: token("--ink-3") } },
        grid: grids,
        xAxis: panels.map((_, i) => ({
          ...axis(),
          type: "value",
          gridIndex: i,
          min: Math.min(1, last),
          max: Math.max(2, last),
          minInterval: 1,
          splitLine: { show: false },
          minorTick: { show: false },
          name: i === panels.length - 1 ? "epoch" : "",
          nameGap: 28,
          axisLabel: { ...axis().axisLabel, show: i === panels.length - 1 },
        })),
        yAxis: panels.map((panel, i) => ({
          ...axis(),
          type: "value",
          gridIndex: i,
          scale: true,
          splitNumber: 4,
          minorTick: { show: false },
          name: one ? one.replaceAll("_", " ") : panel === losses ? "loss" : shares ? "accuracy" : "perplexity",
          nameGap: 46,
          axisLabel: { ...axis().axisLabel, formatter: panel === scores && shares ? (v) => `${Math.round(100 * v)} %` : one ? (v) => scaled(v) : undefined },
        })),
        series: panels.flatMap((panel, i) => panel.map((key) => series(key, i, rows))),
      },
      { notMerge: true },
    );
  }

  #inWords(row) {
    if (!row) return "No epoch yet.";
    const parts = Object.entries(row[1]).filter(([key]) => key !== "learning_rate");
    return `Epoch ${row[0]}: ${parts.map(([key, value]) => `${key.replaceAll("_", " ")} ${say(key, value)}`).join(", ")}.`;
  }

  #tip(items) {
    const epoch = items[0]?.value[0];
    const numbers = this.#points.get(epoch) ?? {};
    const lines = Object.entries(numbers).map(([key, value]) =>
      el("div", {}, el("dt", {}, key.replaceAll("_", " ")), el("dd", {}, say(key, value))),
    );
    return el("div", { class: "tip" }, el("strong", {}, `Epoch ${epoch}`), el("dl", {}, ...lines));
  }
}

function say(key, value) {
  return isShare(key.replace(/_.*/, "")) ? `${(100 * value).toFixed(1)} %` : String(Number(value.toPrecision(3)));
}

function names(keys) {
  const found = new Set(keys.filter((key) => key !== "learning_rate").map(nameOf));
  return [...ORDER.filter((name) => found.has(name)), ...[...found].filter((name) => !ORDER.includes(name))];
}

function nameOf(key) {
  return key.replace(/^(loss|accuracy|perplexity)_?/, "") || key;
}

function series(key, panel, rows) {
  const name = nameOf(key);
  const style = {
    largest: { color: token("--series-1"), type: "solid" },
    random: { color: token("--series-2"), type: "dashed" },
    smallest: { color: token("--series-3"), type: "solid" },
    median: { color: token("--series-2"), type: "solid" },
  }[name] ?? { color: token("--series-1"), type: "solid" };
  const data = rows.filter(([, numbers]) => numbers[key] !== undefined).map(([epoch, numbers]) => [epoch, numbers[key]]);
  return {
    type: "line",
    name,
    xAxisIndex: panel,
    yAxisIndex: panel,
    data,
    showSymbol: data.length < 30,
    symbol: name === "smallest" ? "rect" : "circle",
    symbolSize: 5,
    lineStyle: { width: 1.75, type: style.type, color: style.color },
    itemStyle: { color: style.color },
  };
}
