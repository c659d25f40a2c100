// A new job: a form and its YAML in step, from a recipe, as a copy of another job, or as a further search of its supernet.

import { get, post } from "./api.js";
import { afterCalm, byId, el } from "./dom.js";
import { between, roughly, scaled } from "./format.js";
import { JobForm } from "./job_form.js";
import { profileNodes } from "./profile.js";
import { planned } from "./shrink.js";

const yaml = window.jsyaml;
const CALM_MS = 350;
const text = byId("job");
const outcome = byId("outcome");
const buttons = [byId("check"), byId("form").querySelector("[type=submit]")];
let catalog = null;
let form = null;
let parent = null; // the job that this one is made of, and how: {id, verb, draft}
let followed = ""; // the job that the form was last drawn with
let filled = ""; // what this page wrote, so that what the user wrote is never lost unasked

start();
planned((job) => {
  if (text.value !== filled && !confirm("Replace what you wrote by the job that was made?")) return;
  parent = null;
  fill(job);
  byId("about").textContent = "The job that the sentence means. Change what you like; what you leave out has the recipe's default.";
}, trouble);

async function start() {
  const asked = new URLSearchParams(location.search);
  const [copied, extended] = [asked.get("copy"), asked.get("extend")];
  try {
    const [known, schema, registered] = await Promise.all([get("/v1/catalog"), get("/v1/catalog/job"), get("/v1/targets")]);
    catalog = known;
    const targets = [...catalog.runtimes, ...registered.targets.map(({ name }) => name)];
    form = new JobForm(byId("fields"), { schema, catalog, targets }, (job) => {
      write(job);
      weigh();
    });
    drawCards();
    const other = copied ?? extended;
    if (other === null) fillFromRecipe(recipeOf(asked), Object.fromEntries(asked));
    else if (copied === null) fillFromJob(await get(`/v1/jobs/${encodeURIComponent(other)}`), true);
    else {
      // What follows from other parts of the job is left open, so that it follows the changes that are made here.
      const [job, draft] = await Promise.all(["", "/draft"].map((end) => get(`/v1/jobs/${encodeURIComponent(other)}${end}`)));
      fillFromJob({ ...job, ...draft }, false);
    }
    for (const button of buttons) button.disabled = false;
  } catch (error) {
    trouble(error.message);
  }
}

/** One card for each recipe: what the paper says, and that it is chosen. */
function drawCards() {
  byId("recipes").replaceChildren(...Object.entries(catalog.recipe_words).map(([name, { title, more }]) => {
    const radio = el("input", { type: "radio", name: "recipe", value: name, "data-testid": `recipe-${name}` });
    radio.addEventListener("change", () => changeRecipe(name));
    const [paper, ...what] = title.split(": ");
    return el("div", { class: "recipe" },
      el("label", {}, radio, el("strong", {}, paper), el("span", {}, what.join(": "))),
      more ? el("details", {}, el("summary", {}, "More"), el("p", { class: "quiet small" }, more)) : null,
    );
  }));
}

function changeRecipe(name) {
  if (text.value !== filled && !confirm(`Replace what you wrote by the recipe ${name}?`)) {
    markRecipe(readQuietly()?.recipe);
    return;
  }
  fillFromRecipe(name);
}

function markRecipe(name) {
  for (const radio of byId("recipes").querySelectorAll("input")) radio.checked = radio.value === name;
}

/** The text follows the form. */
function write(job) {
  followed = JSON.stringify(job);
  text.value = yaml.dump(job, { lineWidth: 100, noRefs: true, flowLevel: 3 });
  trouble(null);
}

function fill(job) {
  write(job);
  filled = text.value;
  form.show(job);
  markRecipe(job.recipe);
  weigh();
}

/** The recipe that is asked for, or one whose own family it is, or the first. */
function recipeOf(asked) {
  const names = Object.keys(catalog.recipes);
  if (names.includes(asked.get("recipe"))) return asked.get("recipe");
  return names.find((name) => asked.has("family") && catalog.recipes[name].supernet?.family === asked.get("family")) ?? names[0];
}

function fillFromRecipe(name, asked = {}) {
  parent = null;
  const parts = {};
  if (asked.supernet) parts.supernet = { reuse: asked.supernet };
  else if (asked.family) parts.supernet = { family: asked.family, ...(asked.preset ? { preset: asked.preset } : {}) };
  if (asked.target) parts.objectives = [{ metric: catalog.recipes[name].objectives?.[0]?.metric ?? "accuracy" }, { metric: "latency_ms", target: asked.target }];
  fill({ recipe: name, ...parts });
  byId("about").textContent = asked.supernet ? `Searches the trained supernet ${asked.supernet} again, without training.` : "What you leave out has the recipe's default.";
}

function fillFromJob(job, isFurther) {
  const link = el("a", { href: `/jobs/${job.id}` }, job.name);
  byId("title").textContent = isFurther ? "Search further" : "Copy of a job";
  if (isFurther) {
    parent = { id: job.id, verb: "extend", draft: further(job) };
    fill(parent.draft);
    byId("about").replaceChildren("Searches the trained supernet of ", link, " again, without training. What that job has evaluated is known to this one, counts as no evaluation, and may be on its front.");
  } else {
    parent = { id: job.id, verb: "clone", draft: job.spec };
    fill(parent.draft);
    byId("about").replaceChildren("The same as ", link, ", with every default. Change what you like.");
  }
}

/** The merge patch (RFC 7396) that makes one value the other: what is gone is null. */
function patchOf(before, after) {
  const found = {};
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, now] = [before[name], after[name]];
    if (JSON.stringify(old) === JSON.stringify(now)) continue;
    const both = [old, now].every((one) => one !== null && typeof one === "object" && !Array.isArray(one));
    found[name] = both ? patchOf(old, now) : (now ?? null);
  }
  return found;
}

/** The job that goes on with another one's search: its supernet is that one's, and so are data and training. */
function further({ id, name, spec }) {
  return {
    ...spec,
    name: `${name}, further`.slice(0, 200),
    supernet: { ...spec.supernet, reuse: spec.supernet.reuse ?? id },
    search: { ...spec.search, seed: spec.search.seed + 1, warm_start: true },
  };
}

function trouble(message) {
  byId("trouble").textContent = message ?? "";
  byId("trouble").hidden = !message;
}

function readQuietly() {
  try {
    const job = yaml.load(text.value, { schema: yaml.JSON_SCHEMA });
    return job !== null && typeof job === "object" && !Array.isArray(job) ? job : null;
  } catch {
    return null;
  }
}

/** The job as it stands there; null, with what is wrong, where it is no YAML. */
function read() {
  try {
    const job = yaml.load(text.value, { schema: yaml.JSON_SCHEMA });
    if (job === null || typeof job !== "object" || Array.isArray(job)) throw new Error("a job has fields, such as recipe: bignas");
    trouble(null);
    return job;
  } catch (error) {
    trouble(`This is not YAML yet: ${error.reason ?? error.message}${error.mark ? `, line ${error.mark.line + 1}` : ""}.`);
    return null;
  }
}

/** Does something with the job; what is wrong with it is told, beside its field where there is one. */
async function withJob(work) {
  const job = read();
  if (job === null) {
    text.focus();
    return;
  }
  for (const button of buttons) button.disabled = true;
  outcome.setAttribute("aria-busy", "true");
  follow(job);
  try {
    await work(job);
  } catch (error) {
    trouble(error.message);
    form.refuse((error.problem?.errors ?? []).map(({ field, message }) => ({ path: String(field ?? ""), message: String(message ?? "") })));
  }
  outcome.removeAttribute("aria-busy");
  for (const button of buttons) button.disabled = false;
}

// --- what it takes --------------------------------------------------------------------------------

/** Time and disk, a moment after the last change. */
const weigh = afterCalm(async () => {
  const job = readQuietly();
  if (!job) return;
  try {
    const { seconds, low, high, stages, told, disk_bytes: disk } = await post("/v1/estimate", job);
    const time = seconds === null ? "Time: not known. " : `Takes ${between(low, high)}. `;
    const parts = stages.map((one) => `${one.stage} ${roughly(one.seconds)}`).join(", ");
    byId("estimate").textContent = `${time}${parts ? `By stage: ${parts}. ` : ""}Stores at most ${scaled(disk, "B")} at a time. ${told}`;
  } catch {
    byId("estimate").textContent = ""; // it is not a job yet; Check says why
  }
}, CALM_MS);

/** The form follows the text. */
function follow(job) {
  if (JSON.stringify(job) === followed) return;
  followed = JSON.stringify(job);
  form.show(job);
  markRecipe(job.recipe);
  weigh();
}

text.addEventListener("input", afterCalm(() => {
  const job = readQuietly();
  if (job) {
    trouble(null);
    follow(job);
  } else read();
}, CALM_MS));
byId("check").addEventListener("click", () =>
  withJob(async (job) => outcome.replaceChildren(...profileNodes(await post("/v1/profile", job)))),
);
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  withJob(async (job) => {
    const edits = parent && patchOf(parent.draft, job);
    const { id } = await (parent ? post(`/v1/jobs/${parent.id}/${parent.verb}`, { edits }) : post("/v1/jobs", job));
    location.assign(`/jobs/${id}`);
  });
});
