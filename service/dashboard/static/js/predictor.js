// How far the predictor of a job's target can be trusted: its numbers, and its errors on networks it did not see.

import { axis, font, makeChart, tooltip } from "./charts.js";
import { byId, el, token } from "./dom.js";
import { amount, named } from "./format.js";

export class PredictorCard {
  #chart = null;
  #report = null;
  #violations = null;
  #turnedOut = [];

  /** A `predictor` event; of several metrics the latency is shown. */
  add(report) {
    if (this.#report?.metric === "latency_ms" && report.metric !== "latency_ms") return;
    this.#report = report;
    this.#render();
  }

  /** How predictions turned out, of the final front. */
  turnedOut(predictions) {
    this.#turnedOut = predictions ?? [];
    if (this.#report) this.#render();
  }

  /** A `violations` event. */
  count(violations) {
    this.#violations = violations;
    if (this.#report) this.#render();
  }

  #render() {
    const report = this.#report;
    byId("predictor-card").hidden = false;
    byId("predictor-title").textContent = `Predicted ${named(report.metric)} on ${report.target}`;
    byId("predictor-says").textContent = this.#inWords();
    byId("predictor-numbers").replaceChildren(...rows(report, this.#violations, this.#turnedOut).map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value)),
    ));
    const plot = byId("residuals");
    plot.hidden = !report.true;
    if (!report.true) return;
    this.#chart ??= makeChart(plot, () => this.#draw());
    this.#draw();
  }

  #inWords() {
    const { used, model, margin, target } = this.#report;
    if (model === "uploaded table") return `Layers of the uploaded table ${target} are added up. Nothing can be measured there, so how far this is off is not known.`;
    if (!used) return "It is not good enough, so every network of the search is measured.";
    return `It drives the search. Limits leave ${share(margin)} of room for its errors; networks of the front are measured.`;
  }

  #draw() {
    const { metric, true: truth, predicted, architecture_ids: ids } = this.#report;
    const points = truth.map((value, i) => [value, (predicted[i] - value) / value, ids?.[i] ?? "", predicted[i]]);
    const far = Math.max(0.12, ...points.map(([, error]) => Math.abs(error) * 1.1));
    byId("residuals").setAttribute("aria-label", `Errors of ${points.length} held-out networks; the largest is ${share(Math.max(...points.map(([, e]) => Math.abs(e))))}.`);
    this.#chart.setOption(
      {
        animation: false,
        textStyle: font(),
        grid: { left: 58, right: 18, top: 14, bottom: 44, outerBoundsMode: "none" },
        tooltip: { trigger: "item", ...tooltip(({ value }) => tip(metric, value)) },
        xAxis: { ...axis(), type: "value", scale: true, name: `measured ${named(metric)}`, nameGap: 28, axisLabel: { ...axis().axisLabel, formatter: (v) => amount(metric, v) } },
        yAxis: { ...axis(), type: "value", min: -far, max: far, splitNumber: 4, minorTick: { show: false }, axisLabel: { ...axis().axisLabel, formatter: (v) => share(v) } },
        series: [
          {
            type: "scatter",
            data: points,
            symbolSize: 7,
            itemStyle: { color: token("--series-1"), opacity: 0.8 },
            markArea: { silent: true, itemStyle: { color: token("--accent-wash"), opacity: 0.6 }, data: [[{ yAxis: -0.1 }, { yAxis: 0.1 }]] },
            markLine: { silent: true, symbol: "none", label: { show: false }, lineStyle: { color: token("--line-2"), type: "solid" }, data: [{ yAxis: 0 }] },
          },
        ],
      },
      { notMerge: true },
    );
  }
}

function tip(metric, [measured, error, id, predicted]) {
  const lines = [["measured", amount(metric, measured)], ["predicted", amount(metric, predicted)], ["error", share(error)]];
  return el("div", { class: "tip" }, el("strong", {}, id), el("dl", {}, ...lines.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
}

function rows(report, violations, turnedOut) {
  const found = [["Model", report.model]];
  if (report.layers_in_table) found.push(["Layers in the table", String(report.layers_in_table)]);
  if (report.true) {
    found.push(["Networks held out", `${report.num_examples}, ${report.method}`]);
    found.push(["RMSPE", report.rmspe_percent === null ? "–" : `${report.rmspe_percent.toFixed(1)} %`]);
    const within = report.within_percent ?? {};
    found.push(["Within 5, 10, 15 %", ["5", "10", "15"].map((k) => (within[k] === undefined ? "–" : share(within[k]))).join(", ")]);
    found.push(["Kendall tau", report.kendall_tau.toFixed(3)], ["Spearman", report.spearman.toFixed(3)]);
  }
  const error = turnedOut.find((one) => one.metric === report.metric);
  if (error) found.push([`As measured, of ${error.networks} networks`, `${error.bias > 0 ? "+" : ""}${share(error.bias)} in the mean, deviation ${share(error.spread)}`]);
  if (violations) found.push(["Break the limit as measured", `${violations.broken.length} of ${violations.finalists}`]);
  return found;
}

function share(value) {
  return `${Number((100 * value).toFixed(1))}\u00a0%`;
}
