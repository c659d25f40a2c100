// The front plot: everything evaluated as a cloud, the front in gold, whatever two metrics are its axes and a third its colour.

import { axis, font, makeChart, pictureOf, ramp } from "./charts.js";
import { Cloud } from "./cloud.js";
import { el, inNextFrame, token } from "./dom.js";
import { amount, isShare, label, mark, named } from "./format.js";
import { Nearest } from "./nearest.js";

// How near a click must be to a point, in pixels: more generous for the front, and for fingers.
const [REACH_FRONT, REACH_OTHER] = [18, 9];
// A point of the front wins over a grey one that is a little nearer.
const COST_OTHER = 4;
// Room on both sides of a logarithmic axis, as a factor, and of any other, as a share of its span.
const [LOG_MARGIN, MARGIN] = [1.15, 0.05];
// What is beyond the limits of whoever looks, or outside of the selection.
const FAINT = 0.12;
// Of so many points each is a small square: a crowd is read by where it is dense.
const MANY = 3000;
// A pointer that moved less has clicked.
const STILL = 5;
const GRID = { left: 62, right: 22, top: 22, bottom: 50 };
// Sources of numbers that nobody has measured or counted.
const GUESSED = "predicted";

export class FrontPlot {
  #chart = null;
  #element;
  #controls;
  #parts;
  #view;
  #choose;
  #keeps;
  #brush;
  #draw;
  #hover;
  #results = null;
  #selected = null;
  #nearest = null; // built when the pointer first moves after a drawing
  #shown = { cloud: [], front: [], marks: [] };
  #looks = null; // {across, up, places, looks, kinds, colours}: how the cloud is drawn, for its points in their order
  #cloud;
  #size = { width: 0, height: 0 }; // of the element, as it was laid out
  #frame = null; // {x: [low, high], y: [low, high]} of the axes as they are drawn
  #fade;
  #pointer = null;
  #drag = null;

  /**
   * @param {object} parts elements: `plot`, `note`, `scale` (the legend of colours), `reset`, `clear`, `tools`
   * @param {object} controls `x`, `y`, `colour` (selects), `logX`, `logY`, `dominated`, `bars` (boxes)
   * @param {import("./view.js").View} view where axes, zoom and boxes are kept
   * @param {import("./brush.js").Brush} brush what is selected by ranges
   * @param {(id: string) => void} choose called with the network that was clicked
   * @param {() => (point: object) => boolean} keeps tests whether points are within limits and selection; others are
   *   faint
   */
  constructor(parts, controls, view, brush, choose, keeps) {
    this.#parts = parts;
    this.#element = parts.plot;
    this.#cloud = new Cloud(parts.plot);
    this.#controls = controls;
    this.#view = view;
    this.#brush = brush;
    this.#choose = choose;
    this.#keeps = keeps;
    this.#draw = inNextFrame(() => this.#render());
    this.#fade = inNextFrame(() => this.#paint());
    this.#hover = inNextFrame(() => this.#point());
    for (const [name, control] of Object.entries(controls)) control.addEventListener("change", () => this.#changed(name));
    parts.reset.addEventListener("click", () => this.#zoom(null));
    parts.clear.addEventListener("click", () => brush.clear());
    view.onChange(() => this.#draw());
    brush.onChange(() => this.fade());
    new ResizeObserver(() => this.#draw()).observe(parts.plot);
    this.#listen();
    // A chart's points are pixels; this says where one is, for scripts that drive the page.
    this.#element.pixelOf = (id) => this.#pixelOf(id);
  }

  /** Show new results; drawn with the next frame, so that a burst of evaluations is drawn once. */
  show(results) {
    this.#results = results;
    this.#draw();
  }

  /** Limits or the selection were moved: the same points, others of them faint. */
  fade() {
    this.#fade();
  }

  select(id) {
    this.#selected = id;
    if (this.#chart) this.#draw();
  }

  /** The plot as the address of a file. */
  picture(kind) {
    return this.#chart ? pictureOf(this.#chart, kind, this.#series()) : null;
  }

  /** What is drawn, as rows. */
  rows() {
    const results = this.#results;
    const metrics = results?.metrics() ?? [];
    const { front, marks, cloud } = this.#shown;
    const names = new Map(marks.map((point) => [point.id, point.name]));
    const onFront = new Set(front.map((point) => point.id));
    const role = ({ id }) => [onFront.has(id) ? "front" : null, names.get(id)].filter(Boolean).join(", ") || "evaluated";
    // One row a network, though it may have several roles.
    const all = [...new Map([...marks, ...cloud, ...front].map((point) => [point.id, point])).values()].reverse();
    return { head: ["architecture_id", "number", "role", ...metrics], rows: all.map((point) => [point.id, point.number ?? null, role(point), ...metrics.map((metric) => point.metrics[metric] ?? null)]) };
  }

  // --- view ---------------------------------------------------------------------------------------

  /** A control was changed: the address follows. Another axis has another range, so the zoom goes. */
  #changed(name) {
    const { x, y, colour, logX, logY, dominated, bars } = this.#controls;
    const [first, second] = this.#defaults();
    this.#view.set({
      x: x.value === first ? null : x.value,
      y: y.value === second ? null : y.value,
      colour: colour.value || null,
      logx: logX.checked ? 1 : null,
      logy: logY.checked ? 1 : null,
      dominated: dominated.checked ? null : 0,
      bars: bars.checked ? null : 0,
      ...(["x", "y"].includes(name) ? { zoom: null } : {}),
    });
    this.#draw();
  }

  #defaults() {
    const metrics = this.#results?.metrics() ?? [];
    const [first, second] = this.#results?.objectives.map((objective) => objective.metric) ?? [];
    const y = metrics.includes(first) ? first : metrics[0];
    const x = metrics.includes(second) ? second : (metrics.find((metric) => metric !== y) ?? metrics[0]);
    return [x, y];
  }

  /** Controls as the address has them. */
  #read() {
    const { x, y, colour, logX, logY, dominated, bars } = this.#controls;
    const metrics = this.#results.metrics();
    const said = metrics.join();
    if (x.dataset.offered !== said) {
      const options = () => metrics.map((metric) => el("option", { value: metric }, label(metric)));
      x.replaceChildren(...options());
      y.replaceChildren(...options());
      colour.replaceChildren(el("option", { value: "" }, "none"), ...options());
      x.dataset.offered = said;
    }
    const [first, second] = this.#defaults();
    const known = (name, other) => (metrics.includes(this.#view.get(name)) ? this.#view.get(name) : other);
    x.value = known("x", first);
    y.value = known("y", second);
    colour.value = known("colour", "");
    logX.checked = this.#view.get("logx") === "1";
    logY.checked = this.#view.get("logy") === "1";
    dominated.checked = this.#view.get("dominated") !== "0";
    bars.checked = this.#view.get("bars") !== "0";
  }

  /** The part of the plane that is shown, as the address has it; null: all of it. */
  get #part() {
    const ends = (this.#view.get("zoom") ?? "").split(",").map(Number);
    const [left, right, low, high] = ends;
    return ends.length === 4 && ends.every(Number.isFinite) && left < right && low < high ? { x: [left, right], y: [low, high] } : null;
  }

  #zoom(part) {
    const short = (value) => Number(value.toPrecision(7));
    this.#view.set({ zoom: part ? [...part.x, ...part.y].map(short).join(",") : null });
    this.#draw();
  }

  // --- drawing ------------------------------------------------------------------------------------

  #render() {
    const results = this.#results;
    if (!results || results.isEmpty || !this.#element.clientWidth) return;
    this.#size = { width: this.#element.clientWidth, height: this.#element.clientHeight };
    this.#read();
    if (!this.#chart) {
      this.#chart = makeChart(this.#element, () => this.#draw());
      this.#chart.on("finished", () => (this.#element.dataset.drawnAt = String(performance.now())));
    }
    const { x, y, colour, logX, logY, dominated, bars } = this.#controls;
    const [across, up] = [x.value, y.value];
    const can = ({ metrics }) => {
      const [a, b] = [metrics[across], metrics[up]];
      return a !== undefined && b !== undefined && (!logX.checked || a > 0) && (!logY.checked || b > 0);
    };
    const front = results.front.filter(can);
    const marks = [...(results.reference ? [results.reference] : []), ...results.baselines].filter(can);
    const others = results.evaluated.filter((point) => !point.onFront && can(point));
    const cloud = dominated.checked ? others : [];
    const healed = results.healed.filter(({ before, after }) => [before, after].every((metrics) => can({ metrics })));
    const selected = results.find(this.#selected);
    this.#shown = { cloud, front, marks };
    this.#frame = { x: this.#range(across, logX.checked, "x"), y: this.#range(up, logY.checked, "y") };
    const colours = colour.value ? ramp([...cloud, ...front].map((point) => point.metrics[colour.value]), this.#isWide(colour.value)) : null;
    this.#looks = this.#look(cloud, across, up, colours, colour.value);
    this.#describe(front.length, others.length, cloud.length);
    this.#legend(colour.value, colours);
    this.#nearest = null;
    this.#hideTip();
    this.#chart.setOption(
      {
        animation: false,
        textStyle: font(),
        grid: GRID,
        xAxis: { ...this.#axis(across, logX.checked, "x"), nameGap: 30 },
        yAxis: { ...this.#axis(up, logY.checked, "y"), nameGap: 46 },
        // Lines lie between both canvases of the points, marks and words above them.
        series: [
          this.#line(front, across, up),
          ...(bars.checked ? [this.#bars(front, across, up)] : []),
          this.#names(front, marks, across, up),
          this.#marks(marks, across, up),
          this.#healed(healed, across, up),
          {
            id: "selected",
            type: "scatter",
            silent: true,
            data: selected && can(selected) ? [[selected.metrics[across], selected.metrics[up]]] : [],
            symbolSize: selected?.id === results.knee ? 28 : 22,
            itemStyle: { color: "transparent", borderColor: token("--accent"), borderWidth: 2.5 },
            z: 7,
          },
        ].map((series) => ({ zlevel: 2, ...series })),
      },
      { replaceMerge: ["series"] },
    );
    this.#paint();
    this.#parts.reset.hidden = this.#part === null;
    this.#element.dataset.points = String(front.length + cloud.length);
    this.#element.dataset.front = String(front.length);
    this.#element.dataset.healed = String(healed.length);
    this.#parts.healed.hidden = healed.length === 0;
    this.#parts.healed.textContent = `${healed.length} after healing`;
  }

  /** Places of points in pixels, and the kind of each: a step of colour, measured or predicted. */
  #look(points, across, up, colours, metric) {
    const many = points.length > MANY;
    const kinds = [];
    const known = new Map(); // step and hollow -> place in kinds
    const looks = new Uint8Array(points.length);
    const places = new Float32Array(2 * points.length);
    const [left, top] = this.#axesInPixels();
    points.forEach((point, at) => {
      const step = colours ? (colours.of(point.metrics[metric]) ?? -1) : -1;
      const hollow = isGuessed(point, across, up);
      const key = step * 2 + hollow;
      if (!known.has(key)) {
        known.set(key, kinds.length);
        kinds.push({ colour: step < 0 ? token("--chaff") : colours.colours[step], opacity: hollow ? 0.85 : step < 0 ? 0.65 : 0.9, size: many ? (hollow ? 4.5 : 3.5) : 6, hollow, square: many });
      }
      looks[at] = known.get(key);
      places[2 * at] = left(point.metrics[across]);
      places[2 * at + 1] = top(point.metrics[up]);
    });
    return { across, up, colours, metric, places, looks, kinds };
  }

  /** Draws the points: all that changes while somebody drags. Nothing here asks how the page is laid out. */
  #paint() {
    if (!this.#looks) return;
    const { cloud, front } = this.#shown;
    const keeps = this.#keeps();
    const [left, top] = this.#axesInPixels();
    const { across, up } = this.#looks;
    const dots = front.map((point) => ({ x: left(point.metrics[across]), y: top(point.metrics[up]), ...this.#dot(point, keeps) }));
    dots.sort((a, b) => a.diamond - b.diamond);
    this.#cloud.draw({ ...this.#size, plane: this.#plane }, this.#looks, (at) => keeps(cloud[at]), FAINT, dots);
    this.#parts.clear.hidden = !this.#brush.isOn;
  }

  /** How a point of the front looks. */
  #dot(point, keeps) {
    const { across, up, colours, metric } = this.#looks;
    const [grain, panel] = [token("--grain"), token("--panel")];
    const step = colours ? colours.of(point.metrics[metric]) : null;
    const guessed = isGuessed(point, across, up);
    const isKnee = point.id === this.#results.knee;
    return {
      diamond: isKnee,
      size: isKnee ? 19 : 11,
      fill: guessed ? panel : step === null ? grain : colours.colours[step],
      line: isKnee ? token("--ink") : guessed || colours ? grain : panel,
      thick: guessed ? 2.25 : 1.5,
      opacity: keeps(point) ? 1 : 2 * FAINT,
    };
  }

  /** The points as series of a chart, for files. */
  #series() {
    const { across, up, kinds, looks } = this.#looks;
    const { cloud, front } = this.#shown;
    const keeps = this.#keeps();
    const value = ({ metrics }) => [metrics[across], metrics[up]];
    const groups = [false, true].flatMap((kept) =>
      kinds.map(({ colour, opacity, size, hollow, square }, kind) => {
        const seen = kept ? opacity : FAINT;
        return {
          type: "scatter",
          symbol: square ? "rect" : "circle",
          clip: true,
          data: cloud.filter((point, at) => looks[at] === kind && keeps(point) === kept).map(value),
          symbolSize: size,
          itemStyle: hollow ? { color: "transparent", borderColor: colour, borderWidth: 1.25, opacity: seen } : { color: colour, opacity: seen },
          z: kept ? 2 : 1,
        };
      }),
    );
    const dot = (point) => {
      const { diamond, size, fill, line, thick, opacity } = this.#dot(point, keeps);
      return { value: value(point), symbol: diamond ? "diamond" : "circle", symbolSize: size, itemStyle: { color: fill, borderColor: line, borderWidth: thick, opacity } };
    };
    return [...groups, { type: "scatter", clip: true, data: front.map(dot), zlevel: 1, z: 5 }];
  }

  /** The stair through the front. */
  #line(points, across, up) {
    const stepped = this.#showsObjectives(across, up);
    return {
      id: "front line",
      type: "line",
      silent: true,
      step: stepped ? "end" : false,
      data: stepped ? points.map((point) => [point.metrics[across], point.metrics[up]]).sort((a, b) => a[0] - b[0]) : [],
      showSymbol: false,
      lineStyle: { color: token("--grain"), width: 1.25, opacity: 0.7 },
      markLine: this.#limits(across, up),
      zlevel: 1,
      z: 3,
    };
  }

  /** Words beside the knee, the ends of the front, and what it is compared with: once for each place. */
  #names(points, marks, across, up) {
    const said = new Map(); // id -> words
    const say = (id, word) => said.set(id, [...(said.get(id) ?? []), word]);
    for (const mark of marks) {
      const words = said.get(mark.id) ?? [];
      if (mark.name && !words.some((word) => mark.name.startsWith(word))) say(mark.id, mark.name);
    }
    const knee = points.find((point) => point.id === this.#results.knee);
    if (knee) say(knee.id, "knee");
    if (points.length > 2) {
      for (const metric of new Set([across, up])) {
        const goal = this.#results.goalOf(metric);
        const best = goal && this.#results.extreme(metric);
        if (best && points.includes(best)) say(best.id, `${goal === "minimize" ? "least" : "best"} ${named(metric)}`);
      }
    }
    const data = [...said].map(([id, words]) => {
      const { metrics } = this.#results.find(id);
      const left = (this.#pixelAt("x", metrics[across]) - GRID.left) / (this.#size.width - GRID.left - GRID.right);
      const position = left < 0.2 ? "right" : left > 0.8 ? "left" : "bottom";
      return {
        value: [metrics[across], metrics[up]],
        label: { show: true, formatter: words.join(", "), width: 170, overflow: "truncate", position, distance: id === knee?.id ? 16 : 12, ...font(), color: token("--ink"), fontSize: 11, fontWeight: 600, textBorderColor: token("--panel"), textBorderWidth: 3 },
      };
    });
    return { id: "names", type: "scatter", silent: true, data, symbolSize: 1, itemStyle: { color: "transparent" }, labelLayout: { hideOverlap: true }, z: 8 };
  }

  /** Intervals of the front's numbers, as lines across and up. */
  #bars(points, across, up) {
    const data = [];
    for (const { metrics, intervals } of points) {
      const [x, y] = [metrics[across], metrics[up]];
      const [left, right] = ends(intervals?.[across], x);
      const [low, high] = ends(intervals?.[up], y);
      if (left !== right || low !== high) data.push([x, y, left, right, low, high]);
    }
    const style = { stroke: token("--grain"), lineWidth: 1.25, opacity: 0.55 };
    return {
      id: "bars",
      type: "custom",
      silent: true,
      clip: true,
      data,
      encode: { x: [0, 2, 3], y: [1, 4, 5] },
      renderItem(_, api) {
        const at = (x, y) => api.coord([x, y]);
        const [x, y, left, right, low, high] = [0, 1, 2, 3, 4, 5].map((place) => api.value(place));
        const line = ([x1, y1], [x2, y2]) => ({ type: "line", shape: { x1, y1, x2, y2 }, style });
        return { type: "group", children: [line(at(left, y), at(right, y)), line(at(x, low), at(x, high))] };
      },
      zlevel: 1,
      z: 4,
    };
  }

  #marks(points, across, up) {
    return {
      id: "marks",
      type: "scatter",
      silent: true,
      data: points.map((point) => ({
        value: [point.metrics[across], point.metrics[up]],
        symbol: point.id === this.#results.reference?.id ? "rect" : "triangle",
      })),
      symbolSize: 12,
      itemStyle: { color: "transparent", borderColor: token("--ink"), borderWidth: 1.75 },
      z: 6,
    };
  }

  /** Each network joined to its healed self; a gap between one and the next. */
  #healed(pairs, across, up) {
    return {
      id: "healed",
      type: "line",
      silent: true,
      data: pairs.flatMap(({ before, after }) => [{ value: [before[across], before[up]], symbol: "none" }, { value: [after[across], after[up]] }, "-"]),
      symbol: "circle",
      symbolSize: 9,
      itemStyle: { color: token("--panel"), borderColor: token("--grain"), borderWidth: 2 },
      lineStyle: { color: token("--grain"), width: 1.25, type: "dotted" },
      z: 5,
    };
  }

  #axis(metric, logarithmic, name) {
    const goal = this.#results.goalOf(metric);
    const [low, high] = this.#frame[name];
    const steps = logarithmic ? stepsOf(low, high) : undefined;
    const better = { "maximize x": "more is better →", "minimize x": "← less is better", "maximize y": "more is better →", "minimize y": "← less is better" }[`${goal} ${name}`];
    return {
      ...axis(),
      type: logarithmic ? "log" : "value",
      min: low,
      max: high,
      axisTick: { ...axis().axisTick, customValues: steps },
      name: better ? `${label(metric)}  {dim|${better}}` : label(metric),
      nameTextStyle: { ...font(), color: token("--ink"), fontWeight: 600, rich: { dim: { ...font(), color: token("--ink-3") } } },
      axisLabel: { ...axis().axisLabel, customValues: steps, showMinLabel: false, showMaxLabel: false, formatter: (value) => mark(metric, value) },
    };
  }

  /** Both ends of an axis: what is zoomed to, or all that is shown with its intervals, and some room. */
  #range(metric, logarithmic, name) {
    const zoomed = this.#part?.[name];
    if (zoomed && (!logarithmic || zoomed[0] > 0)) return zoomed;
    let [low, high] = [Infinity, -Infinity];
    const take = (value) => {
      if (!Number.isFinite(value) || (logarithmic && value <= 0)) return;
      low = Math.min(low, value);
      high = Math.max(high, value);
    };
    const { cloud, front, marks } = this.#shown;
    for (const points of [cloud, marks]) for (const { metrics } of points) take(metrics[metric]);
    for (const { metrics, intervals } of front) {
      take(metrics[metric]);
      if (this.#controls.bars.checked) ends(intervals?.[metric], metrics[metric]).forEach(take);
    }
    for (const { after } of this.#results.healed) take(after[metric]);
    if (low > high) return logarithmic ? [1, 10] : [0, 1];
    if (logarithmic) return [low / LOG_MARGIN, high * LOG_MARGIN];
    const room = MARGIN * (high - low || Math.abs(low) || 1);
    return [low >= 0 ? Math.max(0, low - room) : low - room, isShare(metric) && high <= 1 ? Math.min(1 + room / 5, high + room) : high + room];
  }

  /** Whether a metric spans so much that its colours go by ratios. */
  #isWide(metric) {
    let [low, high] = [Infinity, 0];
    for (const { metrics } of this.#results.evaluated) {
      const value = metrics[metric];
      if (!(value > 0)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    return high > 30 * low;
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

  #describe(front, others, shown) {
    const { x, y } = this.#controls;
    const text = `Plot of ${label(y.value)} against ${label(x.value)}: ${front} networks on the front, ${others} others. The table below holds the front.`;
    if (this.#element.getAttribute("aria-label") !== text) this.#element.setAttribute("aria-label", text);
    const missing = this.#results.count - front - others;
    const lacking = [x.value, y.value].find((metric) => this.#results.evaluated.some((point) => !(metric in point.metrics)));
    const notes = [
      missing > 0 && lacking ? `${missing} not shown: ${this.#results.final ? "only what was measured" : "only the front"} has ${named(lacking)}` : "",
      missing > 0 && !lacking ? `${missing} not shown: a logarithmic axis has no place for 0` : "",
      others > shown ? `${others} dominated ones hidden` : "",
    ];
    this.#parts.note.textContent = notes.filter(Boolean).join("; ");
    const guessed = [...this.#shown.front, ...this.#shown.cloud].some((point) => isGuessed(point, x.value, y.value));
    this.#parts.guessed.hidden = !guessed;
  }

  #legend(metric, colours) {
    const { scale } = this.#parts;
    scale.hidden = !metric;
    if (!metric) return;
    if (!colours) {
      scale.replaceChildren(`${label(metric)} is the same everywhere`);
      return;
    }
    const bar = el("i", { "aria-hidden": "true" });
    bar.style.background = `linear-gradient(to right, ${colours.colours.join(", ")})`;
    scale.replaceChildren(`${label(metric)} ${mark(metric, colours.low)} `, bar, ` ${mark(metric, colours.high)}`);
  }

  // --- pointing -----------------------------------------------------------------------------------

  #listen() {
    const element = this.#element;
    element.addEventListener("pointermove", (event) => {
      this.#pointer = placeIn(element, event);
      this.#hover();
    });
    element.addEventListener("pointerleave", () => {
      this.#pointer = null;
      this.#hover();
    });
    element.addEventListener("pointerdown", (event) => {
      // Fingers scroll the page unless somebody asked to select with them.
      if (event.button !== 0 || (event.pointerType === "touch" && this.#tool === "zoom")) return;
      this.#drag = { from: placeIn(element, event), pointer: event.pointerId };
    });
    element.addEventListener("pointerup", (event) => this.#drop(event));
    element.addEventListener("pointercancel", () => this.#endDrag());
    element.addEventListener("click", (event) => {
      const { left, top } = placeIn(element, event);
      const found = event.detail > 1 ? null : this.#find(left, top);
      if (found && !this.#dropped) this.#choose(found.id);
      this.#dropped = false;
    });
    element.addEventListener("dblclick", () => this.#zoom(null));
    for (const input of this.#parts.tools.querySelectorAll("input")) {
      input.addEventListener("change", () => (element.dataset.tool = this.#tool));
    }
    element.dataset.tool = this.#tool;
  }

  #dropped = false;

  get #tool() {
    return this.#parts.tools.querySelector("input:checked")?.value ?? "zoom";
  }

  #point() {
    const place = this.#pointer;
    if (!place || !this.#chart) {
      this.#hideTip();
      return;
    }
    if (this.#drag) {
      this.#marquee(this.#drag.from, place);
      return;
    }
    const found = this.#find(place.left, place.top);
    this.#element.style.cursor = found ? "pointer" : "";
    if (found) this.#tip(found);
    else this.#hideTip();
  }

  #marquee(from, to) {
    if (Math.hypot(to.left - from.left, to.top - from.top) < STILL) return;
    this.#hideTip();
    try {
      this.#element.setPointerCapture(this.#drag.pointer);
    } catch {
      // the pointer is gone already
    }
    this.#box ??= this.#element.appendChild(el("div", { class: "marquee" }));
    const [left, top] = [Math.min(from.left, to.left), Math.min(from.top, to.top)];
    Object.assign(this.#box.style, { left: `${left}px`, top: `${top}px`, width: `${Math.abs(to.left - from.left)}px`, height: `${Math.abs(to.top - from.top)}px` });
  }

  #box = null;

  #endDrag() {
    this.#drag = null;
    this.#box?.remove();
    this.#box = null;
  }

  #drop(event) {
    if (!this.#drag) return;
    const { from } = this.#drag;
    const to = placeIn(this.#element, event);
    this.#endDrag();
    if (Math.hypot(to.left - from.left, to.top - from.top) < STILL) return;
    this.#dropped = true; // the click that follows is none
    const [x1, x2] = [this.#valueAt("x", from.left), this.#valueAt("x", to.left)].sort((a, b) => a - b);
    const [y1, y2] = [this.#valueAt("y", from.top), this.#valueAt("y", to.top)].sort((a, b) => a - b);
    if (!(x1 < x2 && y1 < y2)) return;
    const { x, y } = this.#controls;
    if (this.#tool === "select") this.#brush.set({ [x.value]: [x1, x2], [y.value]: [y1, y2] });
    else this.#zoom({ x: [x1, x2], y: [y1, y2] });
  }

  /** Where the plane lies in the element, in pixels. */
  get #plane() {
    const { width, height } = this.#size;
    return { x: [GRID.left, width - GRID.right], y: [height - GRID.bottom, GRID.top] };
  }

  #valueAt(name, pixel) {
    const [from, to] = this.#plane[name];
    const [low, high] = this.#frame[name];
    const share = Math.min(1, Math.max(0, (pixel - from) / (to - from)));
    return this.#isLog(name) ? low * (high / low) ** share : low + share * (high - low);
  }

  #pixelAt(name, value) {
    const [from, to] = this.#plane[name];
    const [low, high] = this.#frame[name];
    const share = this.#isLog(name) ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return from + share * (to - from);
  }

  #isLog(name) {
    return (name === "x" ? this.#controls.logX : this.#controls.logY).checked;
  }

  #find(left, top) {
    if (!this.#frame) return null;
    this.#nearest ??= this.#index();
    return this.#nearest.find(left, top)?.point ?? null;
  }

  #index() {
    const { cloud, front, marks } = this.#shown;
    const { across, up, places: drawn } = this.#looks;
    const [atX, atY] = this.#axesInPixels();
    const places = cloud.map((point, at) => ({ left: drawn[2 * at], top: drawn[2 * at + 1], reach: REACH_OTHER, cost: COST_OTHER, point }));
    const add = (points, reach, cost) => {
      for (const point of points) places.push({ left: atX(point.metrics[across]), top: atY(point.metrics[up]), reach, cost, point });
    };
    add(front, REACH_FRONT, 0);
    add(marks, REACH_FRONT, 1);
    return new Nearest(places);
  }

  /** Value to pixel for both axes, with all that is the same for every point worked out before. */
  #axesInPixels() {
    return ["x", "y"].map((name) => {
      const [from, to] = this.#plane[name];
      const [low, high] = this.#frame[name];
      if (this.#isLog(name)) {
        const [begin, scale] = [Math.log(low), (to - from) / Math.log(high / low)];
        return (value) => from + scale * (Math.log(value) - begin);
      }
      const scale = (to - from) / (high - low);
      return (value) => from + scale * (value - low);
    });
  }

  #pixelOf(id) {
    const point = this.#results?.find(id);
    if (!this.#chart || !point || !this.#frame) return null;
    const { x, y } = this.#controls;
    return { x: this.#pixelAt("x", point.metrics[x.value]), y: this.#pixelAt("y", point.metrics[y.value]) };
  }

  // --- tip ----------------------------------------------------------------------------------------

  #tipNode = null;
  #ring = null;
  #told = null;

  #tip(point) {
    if (!this.#tipNode) {
      this.#ring = this.#element.appendChild(el("div", { class: "hover-ring" }));
      this.#tipNode = this.#element.appendChild(el("div", { class: "tip floating", "data-testid": "plot-tip" }));
    }
    const { x, y } = this.#pixelOf(point.id);
    if (this.#told !== point) {
      this.#told = point;
      this.#tipNode.replaceChildren(...this.#words(point));
    }
    this.#ring.style.transform = `translate(${x}px, ${y}px)`;
    this.#tipNode.hidden = this.#ring.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = this.#tipNode;
    const left = x + 16 + width > this.#size.width ? Math.max(0, x - 16 - width) : x + 16;
    const top = Math.min(Math.max(0, y - height / 2), Math.max(0, this.#size.height - height));
    this.#tipNode.style.transform = `translate(${left}px, ${top}px)`;
  }

  #hideTip() {
    this.#told = null;
    if (this.#tipNode) this.#tipNode.hidden = this.#ring.hidden = true;
    this.#element.style.cursor = "";
  }

  #words(point) {
    const { knee, reference } = this.#results;
    const place = point.id === knee ? "knee of the front" : point.onFront ? "on the front" : point.breaks?.length ? "beside the front" : "evaluated";
    const role = point.id === reference?.id ? `${reference.name}, ${point.onFront ? place : "for comparison"}` : (point.name ?? place);
    const metrics = this.#results.metrics().filter((metric) => metric in point.metrics);
    const lines = metrics.map((metric) =>
      el("div", {}, el("dt", {}, label(metric), point.sources?.[metric] === GUESSED ? el("small", {}, " predicted") : null), el("dd", {}, amount(metric, point.metrics[metric]))),
    );
    return [el("strong", {}, role), el("code", {}, point.id), el("dl", {}, ...lines)];
  }
}

/** Whether a point's place rests on a number that nobody has measured or counted. */
function isGuessed({ sources }, across, up) {
  return sources?.[across] === GUESSED || sources?.[up] === GUESSED;
}

/** Ends of an interval; without one, the value twice. */
function ends(interval, value) {
  const [low, high] = interval ?? [];
  return [Number.isFinite(low) ? low : value, Number.isFinite(high) ? high : value];
}

function placeIn(element, event) {
  const box = element.getBoundingClientRect();
  return { left: event.clientX - box.left, top: event.clientY - box.top };
}

/** Marks of a logarithmic axis: 1, 2 and 5 times the powers of ten, in a short range every digit. */
function stepsOf(low, high) {
  for (const digits of [[1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) {
    const steps = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      steps.push(...digits.map((digit) => Number(`${digit}e${power}`)).filter((step) => step >= low && step <= high));
    }
    if (steps.length > 2) return steps;
  }
  return undefined;
}
