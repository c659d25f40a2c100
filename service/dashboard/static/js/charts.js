// What both charts share: the library, colours and letters of the stylesheet, tooltips as elements.

import { onThemeChange, token } from "./dom.js";

/** A chart in an element, redrawn by `draw` when its size or the theme changes. */
export function makeChart(element, draw) {
  const chart = window.echarts.init(element, null, { renderer: "canvas" });
  new ResizeObserver(() => chart.resize()).observe(element);
  onThemeChange(draw);
  return chart;
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
