// A layer in words, and a network's layers as a table with bars.

import { el } from "./dom.js";
import { amount, milliseconds, scaled } from "./format.js";

/** A layer's kind and the sizes that differ from one network to another. */
export function inWords({ kind, fields }) {
  const rest = { ...fields };
  const parts = [kind];
  if ("operation" in rest) parts.push(rest.operation);
  for (const [from, to] of [["in_channels", "out_channels"], ["in_features", "out_features"]]) {
    if (from in rest && to in rest) {
      parts.push(`${rest[from]} → ${rest[to]}`);
      delete rest[from];
      delete rest[to];
    }
  }
  for (const [name, unit] of [["kernel", "k"], ["kernel_size", "k"], ["dilation", "d"], ["stride", "s"], ["expansion", "e"]]) {
    if (name in rest) parts.push(`${unit}${rest[name]}`);
  }
  for (const [name, word] of [["heads", "heads"], ["kv_heads", "key-value heads"], ["ffn", "feed-forward"], ["experts", "experts"]]) {
    if (rest[name]) parts.push(`${rest[name]} ${word}`);
  }
  return parts.join("  ");
}

/** How the parts of a layer are quantized, parts of one precision together; nothing without a policy. */
export function policy({ policy: parts, weight_bytes: bytes }) {
  const together = new Map();
  for (const [part, precision] of Object.entries(parts)) together.set(precision, [...(together.get(precision) ?? []), part]);
  const lines = [...together].map(([precision, names]) => el("span", {}, el("b", {}, precision), ` ${names.join(", ")}. `));
  return lines.length ? [el("span", { class: "policy", "data-testid": "policy" }, ...lines, amount("size_bytes", bytes))] : [];
}

const COSTS = [
  ["params", "Parameters", (value) => scaled(value)],
  ["macs", "MACs", (value) => scaled(value)],
  ["weight_bytes", "Weights", (value) => amount("size_bytes", value)],
];

/**
 * Cost by layer: a row each, a bar for each cost with the largest network's behind it, dropped layers too.
 *
 * @param {{layers: object[], largest: object[], latency: object | null}} found the answer of `/layers`
 */
export function layerCosts({ layers, largest, latency }) {
  const mine = new Map(layers.map((layer) => [layer.slot, layer]));
  const whole = new Map(largest.map((layer) => [layer.slot, layer]));
  const slots = [...new Set([...whole.keys(), ...mine.keys()])];
  const most = Object.fromEntries(COSTS.map(([name]) => [name, Math.max(1, ...[...layers, ...largest].map((layer) => layer[name]))]));
  const times = new Map((latency?.layers ?? []).map((one) => [one.slot, one]));
  const longest = Math.max(1e-9, ...[...times.values()].map((one) => one.latency_ms));
  const total = Object.fromEntries(COSTS.map(([name]) => [name, layers.reduce((sum, layer) => sum + layer[name], 0)]));
  const head = ["Layer", ...COSTS.map(([, title]) => title), ...(latency ? ["Latency alone"] : [])];
  const rows = slots.map((slot) => {
    const layer = mine.get(slot);
    const ghost = whole.get(slot);
    const name = el("th", { scope: "row" }, el("span", { class: "slot" }, slot), el("span", { class: "quiet" }, layer ? inWords(layer) : "dropped"), ...(layer ? policy(layer) : []));
    const cells = COSTS.map(([cost, , say]) => el("td", { class: "num end" }, layer ? say(layer[cost]) : "–", bar(layer ? layer[cost] / most[cost] : 0, ghost ? ghost[cost] / most[cost] : 0)));
    const time = times.get(slot);
    const interval = time?.interval_ms ? el("small", { class: "wide", title: "95 % interval" }, `±\u00a0${((50 * (time.interval_ms[1] - time.interval_ms[0])) / time.latency_ms).toFixed(1)}\u00a0%`) : null;
    const last = latency ? [el("td", { class: "num end" }, time ? milliseconds(time.latency_ms) : "–", interval, bar(time ? time.latency_ms / longest : 0, 0))] : [];
    return el("tr", { class: layer ? null : "gone", "data-testid": "layer-row" }, name, ...cells, ...last);
  });
  const sum = el("tr", { class: "sum" }, el("th", { scope: "row" }, "Together"), ...COSTS.map(([cost, , say]) => el("td", { class: "num end" }, say(total[cost]))), ...(latency ? [el("td", { class: "num end" }, milliseconds(latency.sum_ms))] : []));
  return el("table", { class: "data still costs", "data-testid": "layer-costs" },
    el("thead", {}, el("tr", {}, ...head.map((text, i) => el("th", { scope: "col", class: i ? "end" : null }, text)))),
    el("tbody", {}, ...rows, sum),
  );
}

/** The costs as rows of a file. */
export function costRows({ layers, latency }) {
  const times = new Map((latency?.layers ?? []).map((one) => [one.slot, one]));
  const head = ["slot", "kind", ...COSTS.map(([name]) => name), "latency_ms", "low_ms", "high_ms"];
  return { head, rows: layers.map((layer) => [layer.slot, layer.kind, ...COSTS.map(([name]) => layer[name]), times.get(layer.slot)?.latency_ms ?? null, ...(times.get(layer.slot)?.interval_ms ?? [null, null])]) };
}

function bar(share, ghost) {
  const [solid, behind] = [el("i"), el("b")];
  solid.style.width = `${100 * share}%`;
  behind.style.width = `${100 * ghost}%`;
  return el("span", { class: "cost", "aria-hidden": "true" }, behind, solid);
}
