// The Pareto plot: everything evaluated in grey, the front in gold, the knee as a diamond.

import { axis, font, makeChart, tooltip } from "./charts.js";
import { el, throttle, token } from "./dom.js";
import { amount, isShare, label, mark } from "./format.js";

// How near a click must be to a point, in pixels: more generous for the front, and for fingers.
const [REACH_FRONT, REACH_OTHER] = [18, 9];
// Room on both sides of a logarithmic axis, as a factor.
const LOG_MARGIN = 1.25;
// What is beyond the limits of whoever looks.
const FAINT = 0.12;
// Room on both sides of the only value there is, as a share of it.
const LONE_MARGIN = 0.05;

export class ParetoPlot {
  #chart = null;
  #element;
  #controls;
  #note;
  #choose;
  #keeps;
  #draw;
  #results = null;
  #selected = null;
  #chosenByHand = false;

  /**
   * @param {HTMLElement} element
   * @param {{x: HTMLSelectElement, y: HTMLSelectElement, logX: HTMLInputElement, logY: HTMLInputElement}} controls
   * @param {HTMLElement} note says what the chosen axes cannot show
   * @param {(id: string) => void} choose called with the architecture that was clicked
   * @param {(point: object) => boolean} keeps whether a point is within the viewer's limits; others are faint
   */
  constructor(element, controls, note, choose, keeps = () => true) {
    this.#keeps = keeps;
    this.#note = note;
    this.#element = element;
    this.#controls = controls;
    this.#choose = choose;
    this.#draw = throttle(() => this.#render(), 250);
    for (const control of Object.values(controls)) {
      control.addEventListener("change", () => {
        this.#chosenByHand = true;
        this.#render();
      });
    }
    // A chart's points are pixels; this says where one is, for scripts that drive the page.
    element.pixelOf = (id) => this.#pixelOf(id);
  }

  /** Show new results; drawn a moment later, so that a burst of evaluations is drawn once. */
  show(results) {
    this.#results = results;
    this.#draw();
  }

  select(id) {
    this.#selected = id;
    if (this.#chart) this.#render();
  }

  /** The plot as a PNG data address. */
  image() {
    return this.#chart?.getDataURL({ pixelRatio: 2, backgroundColor: token("--panel") }) ?? null;
  }

  // --- axes ---------------------------------------------------------------------------------------

  #offerAxes() {
    const { x, y } = this.#controls;
    const metrics = this.#results.metrics();
    const said = metrics.join();
    if (x.dataset.offered !== said) {
      for (const select of [x, y]) {
        const before = select.value;
        select.replaceChildren(...metrics.map((metric) => el("option", { value: metric }, label(metric))));
        if (metrics.includes(before)) select.value = before;
      }
      x.dataset.offered = said;
    }
    if (this.#chosenByHand) return;
    const [first, second] = this.#results.objectives.map((objective) => objective.metric);
    y.value = metrics.includes(first) ? first : metrics[0];
    x.value = metrics.includes(second) ? second : (metrics.find((metric) => metric !== y.value) ?? metrics[0]);
  }

  // --- drawing ------------------------------------------------------------------------------------

  #render() {
    const results = this.#results;
    if (!results || results.isEmpty) return;
    this.#offerAxes();
    if (!this.#chart) {
      this.#chart = makeChart(this.#element, () => this.#render());
      this.#chart.getZr().on("click", (event) => this.#click(event));
      this.#chart.getZr().on("mousemove", (event) => {
        this.#element.style.cursor = this.#nearest(event.offsetX, event.offsetY) ? "pointer" : "";
      });
    }
    const { x, y, logX, logY } = this.#controls;
    const place = (point) => [point.metrics[x.value], point.metrics[y.value]];
    const can = (point) => {
      const [across, up] = place(point);
      return across !== undefined && up !== undefined && (!logX.checked || across > 0) && (!logY.checked || up > 0);
    };
    const item = (point) => ({ value: place(point), id: point.id, ...(this.#keeps(point) ? {} : { itemStyle: { opacity: FAINT } }) });
    const front = results.front.filter(can);
    const onFront = new Set(front.map((point) => point.id));
    const others = results.evaluated.filter((point) => !onFront.has(point.id) && can(point));
    const selected = results.find(this.#selected);
    const isFrontView = this.#showsObjectives(x.value, y.value);
    const grain = token("--grain");
    this.#describe(front.length, others.length);
    this.#chart.setOption(
      {
        animation: false,
        textStyle: font(),
        grid: { left: 62, right: 22, top: 18, bottom: 50 },
        tooltip: { trigger: "item", ...tooltip((params) => this.#tip(params.data.id)) },
        dataZoom: [
          { type: "inside", xAxisIndex: 0, filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseMove: "shift", preventDefaultMouseMove: false },
          { type: "inside", yAxisIndex: 0, filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseMove: "shift", preventDefaultMouseMove: false },
        ],
        xAxis: { ...this.#axis(x.value, logX.checked, "x"), nameGap: 30 },
        yAxis: { ...this.#axis(y.value, logY.checked, "y"), nameGap: 46 },
        series: [
          {
            name: "evaluated",
            type: "scatter",
            data: others.map(item),
            symbolSize: 6,
            itemStyle: { color: token("--chaff"), opacity: 0.65 },
            large: others.length > 3000,
            emphasis: { itemStyle: { color: token("--ink-3"), opacity: 1 } },
            z: 2,
            markLine: this.#limits(x.value, y.value),
          },
          {
            name: "front line",
            type: "line",
            step: isFrontView ? "end" : false,
            data: isFrontView ? front.map(place).sort((a, b) => a[0] - b[0]) : [],
            showSymbol: false,
            silent: true,
            lineStyle: { color: grain, width: 1.25, opacity: 0.7 },
            z: 3,
          },
          {
            name: "front",
            type: "scatter",
            data: front.filter((point) => point.id !== results.knee).map(item),
            symbolSize: 11,
            itemStyle: { color: grain, borderColor: token("--panel"), borderWidth: 1.5 },
            emphasis: { scale: 1.25 },
            z: 4,
          },
          {
            name: "knee",
            type: "scatter",
            data: front.filter((point) => point.id === results.knee).map(item),
            symbol: "diamond",
            symbolSize: 19,
            itemStyle: { color: grain, borderColor: token("--ink"), borderWidth: 1.5 },
            label: { show: true, formatter: "knee", position: "bottom", distance: 9, ...font(), color: token("--ink"), fontSize: 11, fontWeight: 600 },
            emphasis: { scale: 1.15 },
            z: 5,
          },
          {
            name: "reference",
            type: "scatter",
            data: results.reference && can(results.reference) ? [item(results.reference)] : [],
            symbol: "rect",
            symbolSize: 12,
            itemStyle: { color: "transparent", borderColor: token("--ink"), borderWidth: 1.75 },
            label: { show: true, formatter: results.reference?.name ?? "", position: "left", distance: 8, ...font(), color: token("--ink-2"), fontSize: 11 },
            z: 5,
          },
          {
            // Each network joined to its healed self; a gap between one and the next.
            name: "healed",
            type: "line",
            data: results.healed.flatMap(({ before, after }) => [
              { value: [before[x.value], before[y.value]], symbol: "none" },
              { value: [after[x.value], after[y.value]] },
              "-",
            ]),
            symbol: "circle",
            symbolSize: 9,
            silent: true,
            itemStyle: { color: token("--panel"), borderColor: grain, borderWidth: 2 },
            lineStyle: { color: grain, width: 1.25, type: "dotted" },
            z: 4,
          },
          {
            name: "selected",
            type: "scatter",
            data: selected && can(selected) ? [item(selected)] : [],
            symbol: "circle",
            symbolSize: selected?.id === results.knee ? 28 : 22,
            silent: true,
            itemStyle: { color: "transparent", borderColor: token("--accent"), borderWidth: 2.5 },
            z: 6,
          },
        ],
      },
      { replaceMerge: ["series"] },
    );
    this.#element.dataset.points = String(front.length + others.length);
    this.#element.dataset.front = String(front.length);
  }

  #axis(metric, logarithmic, name) {
    const goal = this.#results.goalOf(metric);
    const steps = logarithmic ? this.#steps(metric) : undefined;
    const better = { "maximize x": "more is better →", "minimize x": "← less is better", "maximize y": "more is better →", "minimize y": "← less is better" }[`${goal} ${name}`];
    return {
      ...axis(),
      type: logarithmic ? "log" : "value",
      scale: true,
      min: logarithmic ? (range) => range.min / LOG_MARGIN : (range) => lone(range, -LONE_MARGIN),
      max: logarithmic ? (range) => range.max * LOG_MARGIN : (range) => lone(range, LONE_MARGIN, isShare(metric) ? 1 : Infinity),
      axisTick: { ...axis().axisTick, customValues: steps },
      name: better ? `${label(metric)}  {dim|${better}}` : label(metric),
      nameTextStyle: { ...font(), color: token("--ink"), fontWeight: 600, rich: { dim: { ...font(), color: token("--ink-3") } } },
      axisLabel: { ...axis().axisLabel, customValues: steps, formatter: (value) => mark(metric, value) },
    };
  }

  /** Marks of a logarithmic axis: 1, 2 and 5 times the powers of ten, in a short range every digit. */
  #steps(metric) {
    const values = this.#results.evaluated.map((point) => point.metrics[metric]).filter((value) => value > 0);
    const [low, high] = [values.reduce((a, b) => Math.min(a, b), Infinity) / LOG_MARGIN, values.reduce((a, b) => Math.max(a, b), 0) * LOG_MARGIN];
    for (const digits of [[1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) {
      const steps = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
        steps.push(...digits.map((digit) => Number(`${digit}e${power}`)).filter((step) => step >= low && step <= high));
      }
      if (steps.length > 2) return steps;
    }
    return undefined;
  }

  /** Limits of the job as lines: what lies beyond is not feasible. */
  #limits(x, y) {
    const lines = this.#results.objectives
      .filter((objective) => objective.limit !== null && [x, y].includes(objective.metric))
      .map((objective) => ({
        [objective.metric === x ? "xAxis" : "yAxis"]: objective.limit,
        label: { formatter: `limit ${amount(objective.metric, objective.limit)}`, position: "insideEndTop", ...font(), fontSize: 11 },
      }));
    return { silent: true, symbol: "none", animation: false, lineStyle: { color: token("--bad"), type: "dashed", width: 1 }, data: lines };
  }

  #showsObjectives(x, y) {
    const metrics = this.#results.objectives.map((objective) => objective.metric);
    const goalX = this.#results.goalOf(x);
    // The step from one point to the next covers what the left one dominates only when x is a cost.
    return metrics.length === 2 && metrics.includes(x) && metrics.includes(y) && x !== y && goalX === "minimize";
  }

  #describe(front, others) {
    const { x, y } = this.#controls;
    const text = `Pareto plot of ${label(y.value)} against ${label(x.value)}: ${front} architectures on the front, ${others} others. The table below holds the front.`;
    if (this.#element.getAttribute("aria-label") !== text) this.#element.setAttribute("aria-label", text);
    const missing = this.#results.count - front - others;
    const lacking = [x.value, y.value].find((metric) => this.#results.evaluated.some((point) => !(metric in point.metrics)));
    this.#note.textContent = missing && lacking ? `${missing} not shown: only the front has ${label(lacking).toLowerCase()}` : "";
  }

  #tip(id) {
    const point = this.#results.find(id);
    if (!point) return "";
    const place = id === this.#results.knee ? "knee of the front" : point.onFront ? "on the front" : point.breaks?.length ? "beside the front" : "evaluated";
    const role = id === this.#results.reference?.id ? `${this.#results.reference.name}, ${point.onFront ? place : "for comparison"}` : place;
    const metrics = this.#results.metrics().filter((metric) => metric in point.metrics);
    const lines = metrics.map((metric) =>
      el("div", {}, el("dt", {}, label(metric)), el("dd", {}, amount(metric, point.metrics[metric]))),
    );
    return el("div", { class: "tip" }, el("strong", {}, role), el("code", {}, id), el("dl", {}, ...lines));
  }

  // --- pointing -----------------------------------------------------------------------------------

  #click(event) {
    const id = this.#nearest(event.offsetX, event.offsetY);
    if (id) this.#choose(id);
  }

  #nearest(left, top) {
    let best = null;
    for (const series of this.#chart.getOption().series) {
      if (!["evaluated", "front", "knee", "reference"].includes(series.name)) continue;
      const reach = series.name === "evaluated" ? REACH_OTHER : REACH_FRONT;
      for (const { value, id } of series.data) {
        const [x, y] = this.#chart.convertToPixel("grid", value);
        const distance = Math.hypot(x - left, y - top);
        // A point of the front wins over a grey one that is a little nearer.
        const cost = series.name === "evaluated" ? distance + 4 : distance;
        if (distance <= reach && (!best || cost < best.cost)) best = { id, cost };
      }
    }
    return best?.id ?? null;
  }

  #pixelOf(id) {
    const point = this.#results?.find(id);
    if (!this.#chart || !point) return null;
    const { x, y } = this.#controls;
    const [left, top] = this.#chart.convertToPixel("grid", [point.metrics[x.value], point.metrics[y.value]]);
    return { x: left, y: top };
  }
}

/** An end of an axis beside the only value there is; null, which leaves it to the chart, if there are several. */
function lone(range, margin, most = Infinity) {
  return range.min === range.max && range.min ? Math.min(most, range.min + margin * Math.abs(range.min)) : null;
}
