// A form made of the JSON schema of a job. It writes only what differs from the recipe into the job.

import { el } from "./dom.js";
import { label } from "./format.js";

// Parts of a job in the order in which one thinks of them, and the fields that are shown at once; the others are folded.
const SECTIONS = [
  ["data", "Data", ["source", "path", "dataset", "validation_share"]],
  ["supernet", "Space", ["family", "preset", "pretrained"]],
  ["objectives", "Objectives and limits", []],
  ["training", "Training", ["epochs", "batch_size", "learning_rate", "seed"]],
  ["search", "Search", ["algorithm", "evaluations", "seed"]],
  ["quantization", "Quantization", ["bits", "weights"]],
  ["hardware", "Device", ["threads", "batch", "seconds"]],
  ["constraints", "Further limits", []],
  ["gradient", "Search by gradient", []],
  ["scoring", "Scoring", []],
  ["needs", "What a worker must have", []],
];
// Fields of the job itself.
const OF_JOB = ["name", "labels", "notes", "priority"];
const ON_TARGET = ["latency_ms", "tokens_per_second"];
const OF_WORDS = ["notes"];

export class JobForm {
  #element;
  #schema;
  #catalog;
  #targets;
  #changed;
  #job = {};
  #open = new Set();

  /**
   * @param {HTMLElement} element
   * @param {{schema: object, catalog: object, targets: string[]}} known schema of a job, catalogue, names of targets
   * @param {(job: object) => void} changed called with the job when somebody changed a field
   */
  constructor(element, { schema, catalog, targets }, changed) {
    this.#element = element;
    this.#schema = schema;
    this.#catalog = catalog;
    this.#targets = targets;
    this.#changed = changed;
  }

  /** Draw a job; the form keeps no other copy of it. */
  show(job) {
    this.#job = job;
    const focus = document.activeElement?.dataset?.path;
    this.#element.replaceChildren(
      this.#group("job", "Job", OF_JOB.map((name) => this.#field([name], this.#schema.properties[name]))),
      ...[...SECTIONS, ...this.#others()].map(([part, title, first]) => this.#section(part, title, first)).filter(Boolean),
    );
    if (focus) this.#element.querySelector(`[data-path="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  }

  /** Parts that nobody has given a place: they stand at the end. */
  #others() {
    const placed = new Set(["recipe", "version", ...OF_JOB, ...SECTIONS.map(([part]) => part)]);
    return Object.keys(this.#schema.properties).filter((name) => !placed.has(name)).map((name) => [name, titled(name), []]);
  }

  // --- the job ------------------------------------------------------------------------------------

  get #recipe() {
    return this.#catalog.recipes[this.#job.recipe] ?? {};
  }

  #given(path) {
    return at(this.#job, path);
  }

  /** What holds: what was given, or what the recipe has. */
  #value(path) {
    const given = this.#given(path);
    return given === undefined ? at(this.#recipe, path) : given;
  }

  #set(path, value, redraw = false) {
    const job = structuredClone(this.#job);
    const last = path.at(-1);
    let place = job;
    for (const name of path.slice(0, -1)) {
      if (place[name] === null || typeof place[name] !== "object") place[name] = {};
      place = place[name];
    }
    if (value === undefined || same(value, at(this.#recipe, path))) delete place[last];
    else place[last] = value;
    for (let length = path.length - 1; length > 0; length -= 1) {
      const holder = at(job, path.slice(0, length));
      if (holder && Object.keys(holder).length === 0) delete at(job, path.slice(0, length - 1))[path[length - 1]];
    }
    this.#job = job;
    this.#changed(job);
    if (redraw) this.show(job);
  }

  // --- sections -----------------------------------------------------------------------------------

  #section(part, title, first) {
    const schema = this.#resolved(this.#schema.properties[part], [part]);
    if (part === "objectives" || part === "constraints") return this.#group(part, title, [this.#goals(part)], part === "constraints" && !this.#value([part])?.length);
    if (!schema) return null;
    const isOff = this.#value([part]) === null || this.#value([part]) === undefined;
    const optional = (this.#schema.properties[part].anyOf ?? []).some((one) => one.type === "null");
    const switcher = optional ? [this.#switch(part, isOff)] : [];
    if (optional && isOff) return this.#group(part, title, switcher, true);
    const names = Object.keys(schema.properties ?? {}).filter((name) => name !== "found" && name !== "reuse" && !schema.properties[name].const);
    const shown = [...first.filter((name) => names.includes(name))];
    const rest = names.filter((name) => !shown.includes(name));
    const field = (name) => this.#field([part, name], schema.properties[name]);
    const source = part === "data" ? [this.#choice(["data", "source"], Object.keys(this.#catalog.data_sources), "Where the data are from.", true)] : [];
    return this.#group(part, title, [...switcher, ...source, ...shown.filter((name) => part !== "data" || name !== "source").map(field), this.#more(part, rest.filter((name) => part !== "data" || name !== "source").map(field))], shown.length === 0 && !this.#given([part]));
  }

  #group(part, title, fields, folded = false) {
    const fold = el("details", { class: "card form-part", "data-part": part, open: this.#open.has(part) || (!folded && !this.#open.has(`-${part}`)) }, el("summary", {}, el("h2", {}, title)), el("div", { class: "fields" }, ...fields.filter(Boolean)));
    fold.addEventListener("toggle", () => {
      this.#open.delete(fold.open ? `-${part}` : part);
      this.#open.add(fold.open ? part : `-${part}`);
    });
    return fold;
  }

  #more(part, fields) {
    if (!fields.length) return null;
    const key = `more ${part}`;
    const fold = el("details", { class: "inner more-fields", open: this.#open.has(key) }, el("summary", {}, `${fields.length} more`), el("div", { class: "fields" }, ...fields));
    fold.addEventListener("toggle", () => (fold.open ? this.#open.add(key) : this.#open.delete(key)));
    return fold;
  }

  #switch(part, isOff) {
    const box = el("input", { type: "checkbox", "data-path": part });
    box.checked = !isOff;
    box.addEventListener("change", () => this.#set([part], box.checked ? {} : null, true));
    return el("label", { class: "check" }, box, part === "quantization" ? "search quantization policies too" : "use it");
  }

  // --- fields -------------------------------------------------------------------------------------

  #resolved(schema, path) {
    if (!schema) return null;
    if (schema.$ref) return this.#resolved(this.#schema.$defs[schema.$ref.split("/").at(-1)], path);
    if (schema.oneOf && schema.discriminator) {
      const word = this.#value([...path, schema.discriminator.propertyName]);
      return this.#resolved({ $ref: schema.discriminator.mapping[word] ?? Object.values(schema.discriminator.mapping)[0] }, path);
    }
    if (schema.anyOf) {
      const some = schema.anyOf.filter((one) => one.type !== "null").map((one) => this.#resolved(one, path));
      return some.length === 1 ? { ...some[0], description: schema.description ?? some[0].description } : { ...schema, several: some };
    }
    return schema;
  }

  #field(path, given) {
    const schema = this.#resolved(given, path);
    const help = given.description ?? schema.description ?? "";
    const [part, name] = path;
    const key = path.join(".");
    if (key === "supernet.family") return this.#choice(path, Object.keys(this.#catalog.families), help, true);
    if (key === "supernet.preset") return this.#choice(path, Object.keys(this.#catalog.families[this.#value(["supernet", "family"])] ?? {}), help);
    if (key === "search.algorithm") return this.#choice(path, [...Object.keys(this.#catalog.search_algorithms), "gradient"], help, true);
    if (key === "training.method") return this.#choice(path, Object.keys(this.#catalog.training_methods), help, true);
    if (key === "training.optimizer") return this.#choice(path, this.#catalog.optimizers, help);
    if (path.length === 2 && name === "options" && (part === "search" || part === "training")) return this.#options(part);
    if (schema.enum) return this.#choice(path, schema.enum, help);
    if (schema.type === "boolean") return this.#box(path, help);
    if (schema.type === "integer" || schema.type === "number") return this.#number(path, schema, help);
    if (schema.type === "string") return this.#text(path, schema, help);
    const kinds = schema.several?.map((one) => one.type).sort().join(" ");
    if (kinds === "array string") return this.#lines(path, help);
    return this.#json(path, help);
  }

  /** Options of the algorithm or method that is chosen, each from its own schema. */
  #options(part) {
    const [kind, offered] = part === "search" ? ["algorithm", this.#catalog.search_algorithms] : ["method", this.#catalog.training_methods];
    const chosen = this.#value([part, kind]);
    const schema = offered[chosen];
    const fields = Object.entries(schema?.properties ?? {}).map(([name, one]) => this.#field([part, "options", name], own(one, schema.$defs)));
    return fields.length ? el("fieldset", { class: "options" }, el("legend", {}, `Options of ${chosen}`), ...fields) : null;
  }

  #wrap(path, help, input, { above = true } = {}) {
    const id = `f-${path.join("-")}`;
    const key = path.join(".");
    input.id = id;
    input.dataset.path = key;
    const isSet = this.#given(path) !== undefined;
    const reset = isSet && at(this.#recipe, path) !== undefined
      ? el("button", { type: "button", class: "reset", title: `Back to the recipe's ${JSON.stringify(at(this.#recipe, path))}`, "aria-label": `Reset ${key}`, onclick: () => this.#set(path, undefined, true) }, "↺")
      : null;
    if (help) input.setAttribute("aria-describedby", `${id}-help`);
    const name = titled(path.at(-1));
    const title = el("label", { for: id, class: isSet ? "is-set" : null }, above ? name : [name]);
    return el("div", { class: above ? "field" : "field beside" }, ...(above ? [title, input] : [input, title]), reset, help ? el("p", { class: "help", id: `${id}-help` }, ...words(help)) : null, el("p", { class: "wrong", id: `${id}-wrong`, role: "alert", hidden: true }));
  }

  #choice(path, options, help, redraws = false) {
    const value = this.#value(path);
    const select = el("select", {}, ...[...new Set(["", ...options.map(String)])].map((option) => el("option", { value: option }, option || "–")));
    select.value = value === null || value === undefined ? "" : String(value);
    select.addEventListener("change", () => {
      // What was said of another source, family or algorithm does not hold for this one.
      if (redraws && path.at(-1) === "source") this.#set(["data"], select.value ? { source: select.value } : undefined, true);
      else if (path.join(".") === "supernet.family") this.#set(["supernet"], { family: select.value, preset: Object.keys(this.#catalog.families[select.value] ?? {})[0] }, true);
      else this.#set(path, select.value === "" ? undefined : (options.find((option) => String(option) === select.value) ?? select.value), redraws);
    });
    return this.#wrap(path, help, select);
  }

  #box(path, help) {
    const box = el("input", { type: "checkbox" });
    box.checked = this.#value(path) === true;
    box.addEventListener("change", () => this.#set(path, box.checked));
    return this.#wrap(path, help, box, { above: false });
  }

  #number(path, schema, help) {
    const input = el("input", { type: "text", inputmode: "decimal", autocomplete: "off", value: this.#given(path) ?? "", placeholder: said(at(this.#recipe, path)) });
    input.addEventListener("change", () => {
      const text = input.value.trim();
      const value = Number(text);
      const [low, high] = [schema.minimum ?? schema.exclusiveMinimum, schema.maximum ?? schema.exclusiveMaximum];
      const wrong = text === "" ? "" : !Number.isFinite(value) ? `Write a number; got ${text}.` : schema.type === "integer" && !Number.isInteger(value) ? `Write a whole number; got ${text}.` : value < low ? `At least ${low}; got ${text}.` : value > high ? `At most ${high}; got ${text}.` : "";
      this.#tell(path, wrong);
      if (!wrong) this.#set(path, text === "" ? undefined : value);
    });
    return this.#wrap(path, help, input);
  }

  #text(path, schema, help) {
    const isLong = OF_WORDS.includes(path.at(-1));
    const input = el(isLong ? "textarea" : "input", { ...(isLong ? { rows: 2 } : { type: "text" }), maxlength: schema.maxLength, autocomplete: "off", spellcheck: "false", placeholder: said(at(this.#recipe, path) ?? schema.examples?.[0]) });
    input.value = this.#given(path) ?? "";
    input.addEventListener("change", () => this.#set(path, input.value === "" ? undefined : input.value));
    return this.#wrap(path, help, input);
  }

  /** One text, or a list of texts: a line for each. */
  #lines(path, help) {
    const input = el("textarea", { rows: 2, autocomplete: "off", spellcheck: "false", placeholder: [at(this.#recipe, path) ?? []].flat().join("\n") });
    input.value = [this.#given(path) ?? []].flat().join("\n");
    input.addEventListener("change", () => {
      const texts = input.value.split("\n").map((line) => line.trim()).filter(Boolean);
      this.#set(path, texts.length > 1 ? texts : texts[0]);
    });
    return this.#wrap(path, `${help} One to a line.`, input);
  }

  /** Lists and what has no form of its own: words with commas between them, or JSON. */
  #json(path, help) {
    const given = this.#given(path);
    const input = el("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: said(at(this.#recipe, path)), value: given === undefined ? "" : JSON.stringify(given) });
    input.addEventListener("change", () => {
      const text = input.value.trim();
      let value;
      try {
        value = text === "" ? undefined : JSON.parse(text);
      } catch {
        const words = text.split(/[\s,]+/).filter(Boolean);
        if (path.at(-1) !== "labels") {
          this.#tell(path, "Write it as JSON, such as [8, 32] or {\"stage*_depth\": [1, 2]}.");
          return;
        }
        value = words;
      }
      this.#tell(path, "");
      this.#set(path, value);
    });
    return this.#wrap(path, help, input);
  }

  #tell(path, wrong) {
    const note = this.#element.querySelector(`#${CSS.escape(`f-${path.join("-")}-wrong`)}`);
    const input = this.#element.querySelector(`#${CSS.escape(`f-${path.join("-")}`)}`);
    if (note) {
      note.textContent = wrong;
      note.hidden = !wrong;
    }
    input?.setAttribute("aria-invalid", String(Boolean(wrong)));
  }

  /** What the server refused, beside the fields that it speaks of. Gives back what belongs to none. */
  refuse(errors) {
    const left = [];
    for (const { path, message } of errors) {
      const parts = path.split(".");
      const found = [parts, parts.slice(0, -1)].find((one) => one.length && this.#element.querySelector(`#${CSS.escape(`f-${one.join("-")}`)}`));
      if (found) {
        this.#tell(found, message);
        for (let fold = this.#element.querySelector(`#${CSS.escape(`f-${found.join("-")}`)}`).closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
      } else left.push(`${path}: ${message}`);
    }
    return left;
  }

  // --- objectives ---------------------------------------------------------------------------------

  #goals(part) {
    const goals = this.#value([part]) ?? [];
    const write = (next) => this.#set([part], next, true);
    const metrics = Object.keys(this.#catalog.metrics);
    const rows = goals.map((goal, place) => {
      const change = (name, value) => write(goals.map((one, other) => (other === place ? cleaned({ ...one, [name]: value }) : one)));
      const metric = el("select", { "aria-label": `Metric ${place + 1}`, "data-path": `${part}.${place}.metric` }, ...metrics.map((name) => el("option", { value: name }, label(name))));
      metric.value = goal.metric;
      metric.addEventListener("change", () => write(goals.map((one, other) => (other === place ? cleaned({ metric: metric.value, limit: one.limit }) : one))));
      const least = this.#catalog.metrics[goal.metric]?.goal === "maximize";
      const limit = el("input", { type: "text", inputmode: "decimal", "aria-label": `Limit of ${label(goal.metric)}`, "data-path": `${part}.${place}.limit`, placeholder: "no limit", value: goal.limit ?? "" });
      limit.addEventListener("change", () => {
        const value = limit.value.trim() === "" ? undefined : Number(limit.value);
        if (value !== undefined && !Number.isFinite(value)) limit.setAttribute("aria-invalid", "true");
        else change("limit", value);
      });
      const target = ON_TARGET.includes(goal.metric) ? el("select", { "aria-label": `Target of ${label(goal.metric)}`, "data-path": `${part}.${place}.target` }, el("option", { value: "" }, "this machine"), ...this.#targets.map((name) => el("option", { value: name }, name))) : null;
      if (target) {
        target.value = goal.target ?? "";
        target.addEventListener("change", () => change("target", target.value || undefined));
      }
      const away = el("button", { type: "button", class: "reset", "aria-label": `Remove ${label(goal.metric)}`, onclick: () => write(goals.filter((_, other) => other !== place)) }, "×");
      const unit = this.#catalog.metrics[goal.metric]?.unit;
      return el("li", {}, metric, el("span", { class: "quiet" }, least ? "at least" : "at most"), limit, unit ? el("span", { class: "quiet" }, unit) : null, target, away);
    });
    const free = metrics.filter((name) => !goals.some((goal) => goal.metric === name));
    const add = el("select", { "aria-label": part === "objectives" ? "Add an objective" : "Add a limit", "data-path": `${part}.add` }, el("option", { value: "" }, part === "objectives" ? "Add an objective…" : "Add a limit…"), ...free.map((name) => el("option", { value: name }, label(name))));
    add.addEventListener("change", () => add.value && write([...goals, { metric: add.value }]));
    return el("div", { class: "goals" }, el("ul", {}, ...rows), add);
  }
}

function at(value, path) {
  return path.reduce((found, name) => (found === null || found === undefined ? undefined : found[name]), value);
}

function titled(name) {
  return name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());
}

/** A help text; what stands between backticks is code. */
function words(text) {
  return text.split("`").map((part, place) => (place % 2 ? el("code", {}, part) : part));
}

/** A schema with what it names in its own definitions put in its place. */
function own(schema, definitions = {}) {
  if (schema.$ref) return { ...definitions[schema.$ref.split("/").at(-1)], ...(schema.description ? { description: schema.description } : {}) };
  return schema.anyOf ? { ...schema, anyOf: schema.anyOf.map((one) => own(one, definitions)) } : schema;
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

function cleaned(goal) {
  return Object.fromEntries(Object.entries(goal).filter(([, value]) => value !== undefined && value !== null));
}

function said(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value) && value.length === 0) return "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
