// What a job was asked to be: what differs from its recipe, what was decided, and all of it.

import { get } from "./api.js";
import { byId, el } from "./dom.js";

/** Fields of a job as "part.field" -> value; lists are values. */
function flat(value, path = "", found = new Map()) {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    for (const [name, inner] of Object.entries(value)) flat(inner, path ? `${path}.${name}` : name, found);
    if (Object.keys(value).length === 0 && path) found.set(path, value);
  } else found.set(path, value);
  return found;
}

export async function showSpec(job) {
  byId("spec").textContent = JSON.stringify(job.spec, null, 2);
  const fold = byId("spec-fold");
  let asked = false;
  fold.addEventListener("toggle", async () => {
    if (asked || !fold.open) return;
    asked = true;
    try {
      const [catalog, draft] = await Promise.all([get("/v1/catalog"), get(`/v1/jobs/${job.id}/draft`)]);
      draw(flat(job.spec), flat(catalog.recipes[job.recipe] ?? {}), flat(draft.spec));
    } catch (error) {
      byId("spec-difference").replaceChildren(el("p", { class: "notice bad" }, error.message));
    }
  });
}

function draw(resolved, recipe, draft) {
  const text = (value) => (value === undefined ? "–" : JSON.stringify(value));
  const rows = [];
  for (const [name, value] of resolved) {
    if (name === "version") continue;
    const left = recipe.get(name);
    const decided = draft.has(name) && text(draft.get(name)) !== text(value);
    if (text(left) === text(value) && !decided) continue;
    rows.push([name, text(left), text(value), decided ? "decided from other parts" : "asked for"]);
  }
  byId("spec-difference").replaceChildren(
    rows.length
      ? el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "What differs from the recipe" },
        el("table", { class: "data still", "data-testid": "spec-difference" },
          el("thead", {}, el("tr", {}, ...["Field", "Recipe", "This job", "Why"].map((head) => el("th", { scope: "col" }, head)))),
          el("tbody", {}, ...rows.map(([name, ...cells]) => el("tr", {}, el("th", { scope: "row" }, el("code", {}, name)), ...cells.map((cell, at) => el("td", { class: at < 2 ? "wraps" : null }, at < 2 ? el("code", {}, cell) : cell)))))))
      : el("p", { class: "quiet" }, "It is the recipe as it is."),
  );
}
