// What all charts share: the library, colours and letters of the stylesheet, tooltips as elements, and saving.

import { el, onThemeChange, token } from "./dom.js";

// Rows of a chart's table on the page; the files have all.
const TABLED = 200;

/** A chart in an element, redrawn by `draw` when its size or the theme changes. */
export function makeChart(element, draw) {
  const chart = window.echarts.init(element, null, { renderer: "canvas" });
  const setOption = chart.setOption.bind(chart);
  // What was drawn last is drawn again where somebody saves it.
  chart.setOption = (option, how) => {
    chart.drawn = option;
    setOption(option, how);
  };
  new ResizeObserver(() => chart.resize()).observe(element);
  onThemeChange(draw);
  return chart;
}

/**
 * A chart as a file's address: a PNG of twice its size, or an SVG.
 *
 * @param {object[]} more series that the page draws beside the chart
 */
export function pictureOf(chart, kind, more = []) {
  const background = token("--panel");
  const whole = { ...chart.drawn, series: [...more, ...(chart.drawn?.series ?? [])], animation: false, backgroundColor: background };
  if (kind === "png") {
    const place = el("div");
    const drawn = window.echarts.init(place, null, { renderer: "canvas", width: chart.getWidth(), height: chart.getHeight() });
    drawn.setOption(whole);
    const address = drawn.getDataURL({ pixelRatio: 2, backgroundColor: background });
    drawn.dispose();
    return address;
  }
  const size = { width: chart.getWidth(), height: chart.getHeight() };
  const drawn = window.echarts.init(null, null, { renderer: "svg", ssr: true, ...size });
  drawn.setOption(whole);
  const text = drawn.renderToSVGString();
  drawn.dispose();
  return URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
}

/**
 * Buttons that save a chart and its data, and its data as a table.
 *
 * @param {HTMLElement} place where the buttons go
 * @param {string} name of the files, without ending
 * @param {{picture?: (kind: "png" | "svg") => string | null, rows: () => {head: string[], rows: (string | number | null)[][]}}} chart
 */
export function saving(place, name, { picture, rows }) {
  const save = (ending, address) => {
    if (!address) return;
    el("a", { href: address, download: `${name}.${ending}` }).click();
    if (address.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(address), 60_000);
  };
  const text = (content, type) => URL.createObjectURL(new Blob([content], { type }));
  const files = {
    ...(picture ? { PNG: () => picture("png"), SVG: () => picture("svg") } : {}),
    CSV: () => text(csv(rows()), "text/csv"),
    JSON: () => text(JSON.stringify(records(rows())), "application/json"),
  };
  const buttons = Object.entries(files).map(([kind, make]) =>
    el("button", { type: "button", class: "pick plain", "data-save": kind.toLowerCase(), onclick: () => save(kind.toLowerCase(), make()) }, kind),
  );
  const table = el("details", { class: "as-table" }, el("summary", {}, "As a table"));
  table.addEventListener("toggle", () => {
    table.querySelector(".scroll")?.remove();
    if (table.open) table.append(tabled(rows(), name));
  });
  place.replaceChildren(el("span", { class: "saving" }, "Save ", ...buttons), table);
}

function csv({ head, rows }) {
  const cell = (value) => (/[",\n\r]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function records({ head, rows }) {
  return rows.map((row) => Object.fromEntries(head.map((name, place) => [name, row[place] ?? null])));
}

function tabled({ head, rows }, name) {
  const line = (cells, tag) => el("tr", {}, ...cells.map((cell) => el(tag, tag === "th" ? { scope: "col" } : {}, cell === null || cell === undefined ? "–" : String(cell))));
  const more = rows.length > TABLED ? [el("caption", { class: "quiet" }, `The first ${TABLED} of ${rows.length} rows; the files have all.`)] : [];
  const table = el("table", { class: "data still" }, ...more, el("thead", {}, line(head, "th")), el("tbody", {}, ...rows.slice(0, TABLED).map((row) => line(row, "td"))));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${name} as a table` }, table);
}

export function font() {
  return { fontFamily: token("--sans"), fontSize: 12, color: token("--ink-2") };
}

export function axis() {
  return {
    axisLine: { show: true, onZero: false, lineStyle: { color: token("--line-2") } },
    axisTick: { show: true, lineStyle: { color: token("--line-2") } },
    splitLine: { show: true, lineStyle: { color: token("--line"), width: 1 } },
    minorTick: { show: true, splitNumber: 5, lineStyle: { color: token("--line-2") } },
    axisLabel: { ...font(), fontSize: 11, hideOverlap: true },
    nameTextStyle: { ...font(), fontSize: 12, fontWeight: 500 },
    nameLocation: "middle",
  };
}

/** Options of a tooltip whose formatter gives an element, never markup. */
export function tooltip(formatter) {
  return {
    confine: true,
    transitionDuration: 0,
    backgroundColor: token("--panel"),
    borderColor: token("--line-2"),
    borderWidth: 1,
    padding: 0,
    extraCssText: "box-shadow: 0 4px 16px rgb(0 0 0 / 14%); border-radius: 6px;",
    textStyle: { ...font(), color: token("--ink") },
    formatter,
  };
}

// A ramp in a few steps: points of one step are drawn in one go.
const STEPS = 9;

/** Colours for numbers: {steps, of: value -> step, colours}, or null where all are the same. */
export function ramp(values, logarithmic = false) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low < high)) return null;
  const by = logarithmic && low > 0 ? Math.log : (value) => value;
  const [from, span] = [by(low), by(high) - by(low)];
  const ends = token("--ramp").split(/,\s*/);
  const colours = Array.from({ length: STEPS }, (_, step) => mixed(ends, step / (STEPS - 1)));
  return { low, high, colours, of: (value) => (Number.isFinite(value) ? Math.min(STEPS - 1, Math.floor((STEPS * (by(value) - from)) / span)) : null) };
}

function mixed(colours, share) {
  const place = share * (colours.length - 1);
  const first = Math.min(colours.length - 2, Math.floor(place));
  const parts = (colour) => [1, 3, 5].map((at) => parseInt(colour.trim().slice(at, at + 2), 16));
  const [a, b] = [parts(colours[first]), parts(colours[first + 1])];
  return `rgb(${a.map((value, i) => Math.round(value + (place - first) * (b[i] - value))).join(",")})`;
}
