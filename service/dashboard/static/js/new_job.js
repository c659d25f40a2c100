// A job as text: from a recipe, as a copy of another job, or as a further search of its supernet.

import { get, post } from "./api.js";
import { byId, el } from "./dom.js";
import { profileNodes } from "./profile.js";
import { planned } from "./shrink.js";

const text = byId("job");
const recipe = byId("recipe");
const outcome = byId("outcome");
const buttons = [byId("check"), byId("form").querySelector("[type=submit]")];
let recipes = {};
let parent = null; // the job that this one is made of, and how: {id, verb, draft}
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
    ({ recipes } = await get("/v1/catalog"));
    recipe.append(...Object.keys(recipes).map((name) => el("option", { value: name }, name)));
    const other = copied ?? extended;
    if (other === null) fillFromRecipe(asked.get("recipe") in recipes ? asked.get("recipe") : Object.keys(recipes)[0]);
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

function fill(job) {
  filled = `${JSON.stringify(job, null, 2)}\n`;
  text.value = filled;
  recipe.value = job.recipe;
}

function fillFromRecipe(name) {
  parent = null;
  fill(recipes[name]);
  byId("about").textContent = `Recipe ${name} with every default. Change what you like; what you leave out has the default.`;
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

/** The job as it stands there; null, with what is wrong, where it is no JSON. */
function read() {
  try {
    const job = JSON.parse(text.value);
    trouble(null);
    return job;
  } catch (error) {
    trouble(`This is not JSON yet: ${error.message}.`);
    text.focus();
    return null;
  }
}

/** Does something with the job; what is wrong with it is told. */
async function withJob(work) {
  const job = read();
  if (job === null) return;
  for (const button of buttons) button.disabled = true;
  outcome.setAttribute("aria-busy", "true");
  try {
    await work(job);
  } catch (error) {
    trouble(error.message);
  }
  outcome.removeAttribute("aria-busy");
  for (const button of buttons) button.disabled = false;
}

recipe.addEventListener("change", () => {
  const keep = text.value !== filled && !confirm(`Replace what you wrote by the defaults of ${recipe.value}?`);
  if (keep) recipe.value = JSON.parse(filled).recipe;
  else fillFromRecipe(recipe.value);
});
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
