// Families and presets with their sizes, and the profile of one with limits that are typed in.

import { get, post } from "./api.js";
import { byId, el } from "./dom.js";
import { amount, label, scaled } from "./format.js";
import { grouped, profileNodes, sizes } from "./profile.js";

const UNITS = { k: 1e3, m: 1e6, g: 1e9, b: 1e9, t: 1e12 };

const form = byId("limits-form");
const inputs = byId("limits");
const outcome = byId("outcome");
const button = form.querySelector("button");
let chosen = null; // {family, preset}
let round = 0; // answers to an earlier question are dropped

start();

async function start() {
  try {
    show(await get("/v1/catalog"));
  } catch (error) {
    trouble(error.message);
  }
  byId("families").removeAttribute("aria-busy");
}

function trouble(text) {
  byId("trouble").textContent = text ?? "";
  byId("trouble").hidden = !text;
}

// --- the list -------------------------------------------------------------------------------------

function show(catalog) {
  const metrics = Object.entries(catalog.metrics).filter(([, metric]) => metric.source === "analytic");
  inputs.append(...metrics.map(([name]) => limitInput(name)));
  const refused = Object.values(catalog.families_refused).map((why) => el("p", { class: "notice bad" }, why));
  byId("families").replaceChildren(...refused, ...Object.entries(catalog.families).map(([name, presets]) => card(name, presets)));
  const asked = new URLSearchParams(location.hash.slice(1));
  const first = [asked.get("family"), asked.get("preset")];
  if (catalog.families[first[0]]?.[first[1]]) choose(...first);
}

function limitInput(metric) {
  const input = el("input", { type: "text", name: metric, inputmode: "text", autocomplete: "off", placeholder: "no limit" });
  input.addEventListener("input", () => input.setCustomValidity(""));
  return el("label", {}, label(metric), input);
}

function card(family, presets) {
  const heads = ["Preset", "Networks", "Parameters", "MACs"].map((text, i) => el("th", { scope: "col", class: i ? "end" : null }, text));
  const head = el("thead", {}, el("tr", {}, ...heads, el("th", { scope: "col" }, "Takes")));
  const body = el("tbody", {}, ...Object.entries(presets).map(([name, preset]) => row(family, name, preset)));
  const id = `family-${family}`;
  return el(
    "section",
    { class: "card flush", "aria-labelledby": id },
    el("div", { class: "card-head" }, el("h2", { id }, family), el("span", { class: "about" }, choicesOf(presets))),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": id }, el("table", { class: "data" }, head, body)),
  );
}

function choicesOf(presets) {
  const counts = Object.values(presets).map((preset) => Object.keys(preset.choices).length);
  const [few, many] = [Math.min(...counts), Math.max(...counts)];
  return few === many ? `${few} choices` : `${few} to ${many} choices`;
}

function row(family, name, preset) {
  const pick = el("button", { type: "button", class: "pick" }, name);
  const span = (metric) => `${amount(metric, preset.smallest[metric])} – ${amount(metric, preset.largest[metric])}`;
  return el(
    "tr",
    { "data-testid": "preset", "data-family": family, "data-preset": name, onclick: () => choose(family, name) },
    el("th", { scope: "row" }, pick),
    el("td", { class: "num end", title: `${grouped(preset.architectures)} distinct networks` }, count(preset)),
    el("td", { class: "num end span", "data-name": "Parameters" }, span("params")),
    el("td", { class: "num end span", "data-name": "MACs" }, span("macs")),
    el("td", { class: "takes" }, preset.takes + sizes(preset.input)),
  );
}

/** A number of networks, from its text: it may be larger than a number of JavaScript's can hold exactly. */
function count({ architectures, architectures_log10: log10 }) {
  if (architectures.length <= 6) return grouped(architectures);
  const power = Math.floor(log10);
  return log10 < 12 ? scaled(Number(architectures)) : `${(10 ** (log10 - power)).toFixed(1)}\u00a0·\u00a010${superscript(power)}`;
}

function superscript(number) {
  return [...String(number)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
}

// --- the profile ----------------------------------------------------------------------------------

function choose(family, preset) {
  chosen = { family, preset };
  for (const each of document.querySelectorAll("[data-preset]")) {
    const selected = each.dataset.family === family && each.dataset.preset === preset;
    each.classList.toggle("selected", selected);
    each.querySelector("button").setAttribute("aria-pressed", String(selected));
  }
  history.replaceState(null, "", `#${new URLSearchParams(chosen)}`);
  byId("chosen").replaceChildren(`${family}/${preset} · `, el("a", { href: `/jobs/new?${new URLSearchParams(chosen)}`, "data-testid": "new-job-of" }, "New job"));
  button.disabled = false;
  // On a narrow screen the profile stands above the list: go where the answer will be.
  if (matchMedia("(max-width: 1020px)").matches) byId("profile").scrollIntoView({ block: "start" });
  ask();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});

/** A number as people type it: 300M, 4.5 k, 3e8, 1,000,000. NaN if it is none. */
function read(text) {
  const [, digits, unit] = /^([\d.,_ ]+(?:e[+-]?\d+)?)\s*([kmgbt]?)b?$/i.exec(text.trim()) ?? [];
  return digits === undefined ? NaN : Number(digits.replace(/[,_ ]/g, "")) * (UNITS[unit.toLowerCase()] ?? 1);
}

function limits() {
  const found = [];
  for (const input of inputs.querySelectorAll("input")) {
    if (!input.value.trim()) continue;
    const limit = read(input.value);
    input.setCustomValidity(Number.isFinite(limit) ? "" : "Not a number, such as 300M");
    if (!input.checkValidity()) {
      trouble(`The limit on ${label(input.name)} is ${input.value}; write a number such as 300M.`);
      input.focus();
      return null;
    }
    found.push({ metric: input.name, limit });
  }
  trouble(null);
  return found;
}

async function ask() {
  const objectives = limits();
  if (objectives === null || chosen === null) return;
  const mine = (round += 1);
  button.disabled = true;
  outcome.setAttribute("aria-busy", "true");
  try {
    const profile = await post("/v1/profile", { supernet: chosen, objectives });
    if (mine === round) outcome.replaceChildren(...profileNodes(profile));
  } catch (error) {
    if (mine === round) outcome.replaceChildren(el("p", { class: "notice bad" }, error.message));
  }
  if (mine !== round) return;
  button.disabled = false;
  outcome.removeAttribute("aria-busy");
}
