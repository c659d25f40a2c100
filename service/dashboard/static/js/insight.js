// What the front's networks have in common: per layer, how often it is kept and how its sizes are shared out.

import { axis, font, makeChart, tooltip } from "./charts.js";
import { el, throttle, token } from "./dom.js";
import { get } from "./api.js";

// Choices of alike names are one figure: layer3_ffn and layer4_ffn are both "layer*_ffn".
const NUMBER = /\d+/;
const LAYERS = "layers, by size";

export class Insight {
  #answer = null;
  #chart = null;
  #card;
  #element;
  #select;
  #note;
  #load;

  constructor(jobId, card, element, select, note) {
    this.#card = card;
    this.#element = element;
    this.#select = select;
    this.#note = note;
    this.#load = throttle(async () => {
      try {
        this.#answer = await get(`/v1/jobs/${jobId}/insight`);
      } catch {
        return; // the next front asks again
      }
      this.#show();
    }, 3000);
    select.addEventListener("change", () => this.#render());
  }

  /** The front has changed. */
  refresh() {
    this.#load();
  }

  #show() {
    const groups = this.#groups();
    this.#card.hidden = this.#answer.networks === 0 || groups.size === 0;
    if (this.#card.hidden) return;
    const names = [...groups.keys()];
    if ([...this.#select.options].map((option) => option.value).join() !== names.join()) {
      const before = this.#select.value;
      this.#select.replaceChildren(...names.map((name) => el("option", { value: name }, name.replaceAll("_", " "))));
      this.#select.value = names.includes(before) ? before : names[0];
    }
    this.#render();
  }

  /** name of a figure -> its columns: [{name, parts: [{option, share}]}]. */
  #groups() {
    const { layers, choices } = this.#answer;
    const groups = new Map();
    const sized = layers.filter((layer) => layer.size !== null || layer.kept < 1);
    if (sized.length) {
      groups.set(LAYERS, sized.map(({ slot, kept, size }) => ({
        name: slot,
        parts: [{ option: "kept, size used", share: kept * (size ?? 0) }, { option: "kept, size cut", share: kept * (1 - (size ?? 0)) }],
      })));
    }
    for (const { name, options, shares } of choices) {
      const group = name.replace(NUMBER, "*");
      if (!groups.has(group)) groups.set(group, []);
      const number = name.match(NUMBER)?.[0] ?? name;
      groups.get(group).push({ name: number, parts: options.map((option, i) => ({ option: String(option), share: shares[i] })) });
    }
    return groups;
  }

  #render() {
    const columns = this.#groups().get(this.#select.value);
    if (!columns) return;
    this.#element.hidden = false;
    this.#chart ??= makeChart(this.#element, () => this.#render());
    const options = [...new Set(columns.flatMap(({ parts }) => parts.map(({ option }) => option)))];
    const color = ramp(options.length, this.#select.value === LAYERS);
    const { networks, final } = this.#answer;
    this.#note.textContent = `${networks} network${networks === 1 ? "" : "s"} on the front${final ? "" : " so far"}; what is missing to 100 % is left out.`;
    this.#element.setAttribute("aria-label", `${this.#select.value}. ${columns.map(inWords).join("; ")}.`);
    this.#chart.setOption(
      {
        animation: false,
        textStyle: font(),
        legend: { top: 4, left: 44, type: "scroll", itemWidth: 14, itemHeight: 10, textStyle: font(), data: options, inactiveColor: token("--line-2") },
        grid: { left: 48, right: 14, top: 40, bottom: 40, outerBoundsMode: "none" },
        tooltip: { trigger: "axis", axisPointer: { type: "shadow" }, ...tooltip((items) => tip(columns[items[0]?.dataIndex])) },
        xAxis: { ...axis(), type: "category", data: columns.map(({ name }) => name), splitLine: { show: false }, minorTick: { show: false } },
        yAxis: { ...axis(), type: "value", min: 0, max: 1, interval: 0.25, minorTick: { show: false }, axisLabel: { ...axis().axisLabel, formatter: (v) => `${Math.round(100 * v)} %` } },
        series: options.map((option, i) => ({
          type: "bar",
          name: option,
          stack: "all",
          barMaxWidth: 42,
          barCategoryGap: "22%",
          itemStyle: { color: color[i] },
          data: columns.map(({ parts }) => parts.find((part) => part.option === option)?.share ?? 0),
        })),
      },
      { notMerge: true },
    );
  }
}

/** From light to full of one colour, for options from small to large; sizes the other way round. */
function ramp(count, reversed) {
  const shades = Array.from({ length: count }, (_, i) => {
    const part = count === 1 ? 100 : Math.round(30 + (70 * i) / (count - 1));
    return `color-mix(in srgb, ${token("--series-1")} ${part}%, ${token("--panel")})`;
  }).map(resolved);
  return reversed ? shades.reverse() : shades;
}

/** A colour that a canvas understands. */
function resolved(color) {
  const probe = el("span", {});
  probe.style.color = color;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  const parts = found.match(/color\(srgb ([\d.]+) ([\d.]+) ([\d.]+)/);
  return parts ? `rgb(${parts.slice(1, 4).map((part) => Math.round(255 * part)).join(",")})` : found;
}

function inWords({ name, parts }) {
  return `${name}: ${parts.filter(({ share }) => share > 0).map(({ option, share }) => `${option} ${Math.round(100 * share)} %`).join(", ") || "left out"}`;
}

function tip(column) {
  if (!column) return el("div", {});
  const rows = column.parts.map(({ option, share }) => el("div", {}, el("dt", {}, option), el("dd", {}, `${Math.round(100 * share)} %`)));
  return el("div", { class: "tip" }, el("strong", {}, column.name), el("dl", {}, ...rows));
}
