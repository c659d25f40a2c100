// A network as a picture: its layers in forward order, as wide as they are, before the ghost of the largest network.

import { el } from "./dom.js";
import { inWords } from "./layers.js";

const SVG = "http://www.w3.org/2000/svg";
// What a layer is as wide as: field -> its name and colour. A layer is drawn by those of them that it has.
const WIDTHS = [
  ["heads", "heads", "--series-1"],
  ["kv_heads", "key-value heads", "--series-4"],
  ["ffn", "feed-forward", "--grain"],
  ["experts", "experts", "--series-3"],
  ["hidden_channels", "hidden channels", "--grain"],
  ["hidden", "hidden channels", "--grain"],
  ["out_channels", "channels out", "--series-1"],
  ["channels", "channels", "--series-1"],
  ["embed", "embedding", "--series-2"],
];
// Widths that say the same as another one, or only where there is nothing better.
const LAST = ["channels", "embed"];
const [HEIGHT, TOP, FOOT] = [130, 20, 52];
// Of bars, between them, and of a layer at least, in pixels: few layers have more room than many.
const ROOMY = { bar: 24, gap: 4, least: 84 };
const TIGHT = { bar: 12, gap: 3, least: 46 };
const FEW = 14;

/**
 * The picture of a network.
 *
 * @param {object[]} layers of the network, as the API gives them
 * @param {object[]} largest layers of the largest network of the space
 */
export function pictureOfNetwork(layers, largest) {
  const mine = new Map(layers.map((layer) => [layer.slot, layer]));
  const slots = [...new Set([...largest.map((layer) => layer.slot), ...layers.map((layer) => layer.slot)])];
  const whole = new Map(largest.map((layer) => [layer.slot, layer]));
  const columns = slots.map((slot) => column(slot, mine.get(slot), whole.get(slot)));
  const room = slots.length <= FEW ? ROOMY : TIGHT;
  const places = [];
  let width = 4;
  for (const one of columns) {
    const needs = Math.max(room.least, one.bars.length * (room.bar + room.gap) + 16);
    places.push(width);
    width += needs;
  }
  const height = TOP + HEIGHT + FOOT;
  const dropped = columns.filter((one) => one.dropped).length;
  const root = node("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${layers.length} of the largest network's ${largest.length} layers; ${dropped} are dropped. The table below says the same.` });
  root.append(...stages(slots, places, width), ...columns.flatMap((one, at) => drawn(one, places[at], (places[at + 1] ?? width) - places[at], room)));
  return el("div", { class: "network-picture", "data-testid": "network-picture", "data-layers": layers.length, "data-dropped": dropped }, el("div", { class: "picture-scroll", tabindex: 0, role: "region", "aria-label": "Layers as a picture" }, root), legend(columns, dropped));
}

function column(slot, layer, ghost) {
  const fields = (ghost ?? layer).fields;
  const all = WIDTHS.filter(([field]) => typeof fields[field] === "number" && fields[field] > 0);
  const better = all.filter(([field]) => !LAST.includes(field));
  const bars = (better.length ? better : all.slice(0, 1)).map(([field, name, colour]) => ({
    field,
    name,
    colour,
    value: layer ? (layer.fields[field] ?? 0) : 0,
    most: ghost?.fields[field] ?? layer?.fields[field] ?? 0,
  }));
  return { slot, layer, dropped: !layer, bars: bars.length ? bars : [{ field: "", name: "layer", colour: "--series-2", value: layer ? 1 : 0, most: 1 }], marks: marks(layer) };
}

/** Short words under a layer: kernel, and how its numbers are stored. */
function marks(layer) {
  if (!layer) return ["dropped"];
  const { kernel, kernel_size: size, patch } = layer.fields;
  const bits = [...new Set(Object.values(layer.policy).map((precision) => precision.replace(/_.*$/, "")))];
  const found = [kernel ?? size ? `k${kernel ?? size}` : null, patch ? `p${patch}` : null, ...(bits.length > 2 ? [bits.slice(0, 2).join("/") + "…"] : [bits.join("/")])];
  return found.filter(Boolean);
}

function drawn({ slot, layer, dropped, bars, marks: words }, left, width, { bar: BAR, gap: GAP }) {
  const bottom = TOP + HEIGHT;
  const begin = left + (width - bars.length * (BAR + GAP) + GAP) / 2;
  const parts = bars.flatMap(({ colour, value, most, field }, place) => {
    const x = begin + place * (BAR + GAP);
    const share = most ? Math.min(1, value / most) : 1;
    const tall = Math.max(value ? 3 : 0, share * HEIGHT);
    const ghost = node("rect", { x, y: TOP, width: BAR, height: HEIGHT, rx: 2, class: dropped ? "ghost gone" : "ghost" });
    const solid = node("rect", { x, y: bottom - tall, width: BAR, height: tall, rx: 2, style: `fill: var(${colour})` });
    const number = node("text", { x: x + BAR / 2, y: TOP - 5, class: "count" });
    number.textContent = dropped || !field ? "" : short(value);
    return [ghost, solid, ...(BAR > 20 || bars.length === 1 ? [number] : [])];
  });
  const label = (text, y, name) => {
    const words = node("text", { x: left + width / 2, y, class: name });
    words.textContent = text;
    return words;
  };
  const hint = node("title", {});
  hint.textContent = dropped ? `${slot}: dropped` : `${slot}: ${inWords(layer)}`;
  const group = node("g", { class: dropped ? "layer dropped" : "layer" });
  group.append(hint, ...parts, ...words.slice(0, 2).map((text, line) => label(text, bottom + 13 + 12 * line, "mark")));
  return [group];
}

/** Names of stages over the layers that belong together; of other layers their own. */
function stages(slots, places, width) {
  const runs = [];
  slots.forEach((slot, at) => {
    const name = slot.match(/^(stage\d+|stem|layers?\d*|block\d*)/)?.[0] ?? slot;
    const stage = /^layer/.test(name) ? slot.replace(/^layers?/, "") : name;
    if (runs.at(-1)?.name === stage) runs.at(-1).to = places[at + 1] ?? width;
    else runs.push({ name: stage, from: places[at], to: places[at + 1] ?? width });
  });
  return runs.flatMap(({ name, from, to }) => {
    const y = TOP + HEIGHT + 32;
    const text = node("text", { x: (from + to) / 2, y: y + 14, class: "stage" });
    text.textContent = name;
    return [node("path", { d: `M${from + 4} ${y}H${to - 4}`, class: "bracket" }), text];
  });
}

function legend(columns, dropped) {
  const seen = new Map();
  for (const { bars } of columns) for (const { name, colour } of bars) seen.set(name, colour);
  const keys = [...seen].map(([name, colour]) => {
    const swatch = el("i", { "aria-hidden": "true" });
    swatch.style.background = `var(${colour})`;
    return el("span", { class: "swatch" }, swatch, name);
  });
  return el("p", { class: "picture-legend" }, ...keys, el("span", { class: "quiet" }, `Height: share of the largest network's, whose outline stands behind${dropped ? "; dashed: dropped" : ""}.`));
}

function short(value) {
  return value >= 10_000 ? `${Math.round(value / 1000)}k` : String(value);
}

function node(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
