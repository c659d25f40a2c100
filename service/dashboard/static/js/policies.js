// What a search of quantization policies has besides its front: the baselines, and how sensitive each layer is.

import { axis, font, makeChart, tooltip } from "./charts.js";
import { el, token } from "./dom.js";
import { amount, label } from "./format.js";

/** The networks that the front is compared with, as a table below it. */
export class Baselines {
  #card;
  #table;
  #results;
  #found = new Map(); // name -> event

  constructor(card, table, results) {
    this.#card = card;
    this.#table = table;
    this.#results = results;
  }

  /** A `baseline` event. */
  add(data) {
    this.#found.set(data.name, data);
    this.draw();
  }

  /** Draw again: which metrics there are is known from the front. */
  draw() {
    if (!this.#found.size) return;
    this.#card.hidden = false;
    const all = [...this.#found.values()];
    const order = this.#results.metrics();
    const metrics = order.filter((metric) => all.some((one) => metric in one.metrics));
    this.#table.tHead.replaceChildren(
      el("tr", {}, el("th", { scope: "col" }, "Network"), ...metrics.map((metric) => el("th", { scope: "col", class: "end" }, label(metric)))),
    );
    this.#table.tBodies[0].replaceChildren(
      ...all.map((one) =>
        el("tr", { "data-testid": "baseline-row" },
          el("th", { scope: "row" }, one.name),
          ...metrics.map((metric) => el("td", { class: "num end" }, amount(metric, one.metrics[metric]))),
        ),
      ),
    );
  }
}

const COLOURS = ["--series-1", "--series-3", "--series-2"];
// Divergences below this are noise; they stand at the left edge. The axis shows decades above it: bars on the chart's own
// logarithmic axis would begin at 1 and grow to the left.
const LEAST = 1e-7;
const decades = (divergence) => Math.log10(Math.max(divergence, LEAST * 1.1) / LEAST);

/** Bars of divergence, one group per layer in forward order, one colour per width. */
export class Sensitivity {
  #card;
  #element;
  #chart = null;
  #layers = [];

  constructor(card, element) {
    this.#card = card;
    this.#element = element;
  }

  /** The layers of a `sensitivity` event. */
  show(layers) {
    if (!layers.length) return;
    this.#layers = layers;
    this.#card.hidden = false;
    this.#draw();
  }

  #draw() {
    const names = [...new Set(this.#layers.map((one) => one.layer))].reverse(); // the first layer on top
    const widths = [...new Set(this.#layers.map((one) => one.bits))].sort((a, b) => b - a);
    this.#element.style.height = `${90 + 14 * names.length * Math.max(1, widths.length * 0.7)}px`;
    this.#chart ??= makeChart(this.#element, () => this.#draw());
    this.#chart.resize();
    const worst = this.#layers.reduce((a, b) => (a.divergence > b.divergence ? a : b));
    this.#element.setAttribute("aria-label", `Sensitivity of ${names.length} layers. The most sensitive is ${worst.layer} with ${worst.bits} bits: ${say(worst.divergence)} nats.`);
    const of = new Map(this.#layers.map((one) => [`${one.layer} ${one.bits}`, one]));
    this.#chart.setOption(
      {
        animation: false,
        textStyle: font(),
        legend: { top: 0, textStyle: font(), itemWidth: 14, itemHeight: 8 },
        grid: { left: 8, right: 22, top: 30, bottom: 40, containLabel: true },
        tooltip: { trigger: "item", ...tooltip(({ data }) => tip(data.one)) },
        xAxis: { ...axis(), type: "value", min: 0, interval: 1, name: "divergence, nats", nameGap: 26, minorTick: { show: false }, axisLabel: { ...axis().axisLabel, formatter: (above) => say(LEAST * 10 ** above) } },
        yAxis: { ...axis(), type: "category", data: names, splitLine: { show: false }, minorTick: { show: false }, axisLabel: { ...font(), fontSize: 10, interval: 0 } },
        series: widths.map((bits, i) => ({
          name: `${bits} bits`,
          type: "bar",
          itemStyle: { color: token(COLOURS[i % COLOURS.length]) },
          barGap: "10%",
          barCategoryGap: "25%",
          data: names.map((name) => {
            const one = of.get(`${name} ${bits}`);
            return one ? { value: decades(one.divergence), one } : { value: null };
          }),
        })),
      },
      { notMerge: true },
    );
  }
}

function say(value) {
  return value >= 0.01 ? String(Number(value.toPrecision(3))) : value.toExponential(0);
}

function tip(one) {
  if (!one) return null;
  const lines = [["divergence", one.divergence === null ? "no number" : `${Number(one.divergence.toPrecision(3))} nats`], ["same answers", amount("accuracy", one.agreement)]];
  return el("div", { class: "tip" }, el("strong", {}, `${one.layer}, ${one.precision}`), el("dl", {}, ...lines.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
}
