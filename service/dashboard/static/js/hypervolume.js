// How the hypervolume of a search grew with its evaluations, beside a random search where one is known.

import { get } from "./api.js";
import { axis, font, makeChart, pictureOf, tooltip } from "./charts.js";
import { el, throttle, token } from "./dom.js";
import { amount, named } from "./format.js";

const [REFRESH_MS, LATER_MS] = [4000, 400];

export class HypervolumeCard {
  #card;
  #element;
  #note;
  #answer = null;
  #chart = null;
  #load;

  constructor({ card, element, note }, jobId) {
    this.#card = card;
    this.#element = element;
    this.#note = note;
    this.#load = throttle(async () => {
      try {
        this.#answer = await get(`/v1/jobs/${jobId}/hypervolume`);
      } catch {
        return; // the next evaluation asks again
      }
      this.#render();
    }, REFRESH_MS);
  }

  /** There are new evaluations. What the plot needs is asked for first. */
  refresh() {
    setTimeout(this.#load, LATER_MS);
  }

  picture(kind) {
    return this.#chart ? pictureOf(this.#chart, kind) : null;
  }

  rows() {
    const courses = [this.#answer?.own, this.#answer?.random].filter(Boolean);
    return { head: ["job_id", "algorithm", "evaluations", "share"], rows: courses.flatMap((one) => one.points.map(([number, share]) => [one.job_id, one.algorithm, number, share])) };
  }

  #render() {
    const { own, random, ideal, corner, objectives } = this.#answer;
    this.#card.hidden = !own || own.points.length === 0;
    if (this.#card.hidden) return;
    this.#chart ??= makeChart(this.#element, () => this.#render());
    const reached = own.points.at(-1)[1];
    const level = random?.points.at(-1)?.[1] ?? null;
    const box = objectives.map(({ metric }) => `${named(metric)} ${amount(metric, ideal[metric])} to ${amount(metric, corner[metric])}`).join(", ");
    const passed = level === null ? null : own.points.find(([, share]) => share >= level)?.[0];
    const beside = level === null
      ? "No random search of this supernet with these objectives is known."
      : `A random search of ${random.evaluations} reached ${share3(level)}${passed ? `; this one did after ${passed}` : ", more than this one"}.`;
    this.#note.textContent = `${share3(reached)} of the box ${box} after ${own.evaluations} evaluations. ${beside}`;
    this.#element.dataset.points = String(own.points.length);
    this.#element.setAttribute("aria-label", `Hypervolume by evaluations. ${this.#note.textContent}`);
    const most = Math.max(own.evaluations, random?.evaluations ?? 0);
    const line = (course, colour, type) => ({
      type: "line",
      name: course.algorithm,
      step: "end",
      showSymbol: false,
      data: [[0, 0], ...course.points, [course.evaluations, course.points.at(-1)?.[1] ?? 0]],
      lineStyle: { color: colour, width: 2, type },
      itemStyle: { color: colour },
    });
    const dashed = { silent: true, symbol: "none", lineStyle: { color: token("--series-2"), type: "dashed", width: 1 }, label: { formatter: "random search", position: "insideEndTop", ...font(), fontSize: 11 }, data: [{ yAxis: level }] };
    this.#chart.setOption(
      {
        animation: false,
        textStyle: font(),
        grid: { left: 56, right: 18, top: 14, bottom: 44 },
        tooltip: { trigger: "axis", ...tooltip((items) => tip(items)), axisPointer: { lineStyle: { color: token("--ink-3") } } },
        xAxis: { ...axis(), type: "value", min: 0, max: most, name: "evaluations", nameGap: 28, minorTick: { show: false }, splitLine: { show: false } },
        yAxis: { ...axis(), type: "value", min: 0, max: (range) => Math.min(1, 1.08 * Math.max(range.max, level ?? 0)), name: "share of the box", nameGap: 40, minorTick: { show: false }, axisLabel: { ...axis().axisLabel, showMaxLabel: false, formatter: (value) => `${Math.round(100 * value)} %` } },
        series: [{ ...line(own, token("--grain"), "solid"), ...(level === null ? {} : { markLine: dashed }) }, ...(random ? [line(random, token("--series-2"), "solid")] : [])],
      },
      { notMerge: true },
    );
  }
}

function share3(share) {
  return `${Number((100 * share).toPrecision(3))}\u00a0%`;
}

function tip(items) {
  const lines = items.map((item) => el("div", {}, el("dt", {}, item.seriesName), el("dd", {}, share3(item.value[1]))));
  return el("div", { class: "tip" }, el("strong", {}, `after ${Math.round(items[0]?.axisValue ?? 0)} evaluations`), el("dl", {}, ...lines));
}
