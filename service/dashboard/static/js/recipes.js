// Recipes: what each paper says, its defaults, and a job from it.

import { get } from "./api.js";
import { byId, el } from "./dom.js";

try {
  const { recipes, recipe_words: words } = await get("/v1/catalog");
  byId("recipes").replaceChildren(...Object.entries(recipes).map(([name, defaults]) => {
    const { title, more } = words[name];
    const [paper, ...what] = title.split(": ");
    const facts = [["Space", `${defaults.supernet.family}/${defaults.supernet.preset ?? "a checkpoint"}`], ["Data", defaults.data.source], ["Method", defaults.training.method], ["Epochs", defaults.training.epochs], ["Search", defaults.search.algorithm], ["Evaluations", defaults.search.evaluations], ["Objectives", defaults.objectives.map(({ metric }) => metric).join(", ")]];
    return el("section", { class: "card", "data-testid": "recipe", "aria-label": paper },
      el("div", { class: "card-head" }, el("div", {}, el("h2", {}, paper), el("p", { class: "meta" }, el("code", {}, name))), el("a", { class: "button", href: `/jobs/new?${new URLSearchParams({ recipe: name })}` }, "New job")),
      el("p", {}, `${what.join(": ").replace(/^./, (letter) => letter.toUpperCase())}`),
      ...more.split("\n\n").filter(Boolean).map((part) => el("p", { class: "quiet prose" }, ...part.split("`").map((text, at) => (at % 2 ? el("code", {}, text) : text)))),
      el("dl", { class: "facts" }, ...facts.filter(([, value]) => value !== undefined && value !== null).map(([key, value]) => el("div", {}, el("dt", {}, key), el("dd", {}, String(value))))),
      el("details", { class: "inner" }, el("summary", {}, "Every default"), el("pre", { tabindex: 0 }, el("code", {}, JSON.stringify(defaults, null, 2)))),
    );
  }));
  byId("recipes").setAttribute("aria-busy", "false");
} catch (error) {
  byId("trouble").textContent = error.message;
  byId("trouble").hidden = false;
}
