// Trained supernets: what they score, how they were trained, and searching one again. Each has a page with its jobs.

import { get } from "./api.js";
import { Curve } from "./curve.js";
import { byId, el } from "./dom.js";
import { ago, exactTime } from "./format.js";
import { againAddress, factsOf } from "./supernet_facts.js";

const PAGE = 50;
let cursor = null;

more();
byId("more").addEventListener("click", more);

async function more() {
  try {
    const page = await get(`/v1/supernets?${new URLSearchParams({ limit: PAGE, ...(cursor ? { cursor } : {}) })}`);
    byId("supernets").append(...page.supernets.map(card));
    cursor = page.next_cursor;
    byId("more").hidden = cursor === null;
    byId("none").hidden = byId("supernets").children.length > 0;
    byId("supernets").setAttribute("aria-busy", "false");
  } catch (error) {
    byId("trouble").textContent = error.message;
    byId("trouble").hidden = false;
  }
}

function card(one) {
  const curve = el("details", { class: "inner" }, el("summary", {}, "Training curve"));
  curve.addEventListener("toggle", () => curve.open && draw(one.id, curve), { once: true });
  return el("section", { class: "card", "data-testid": "supernet", "aria-label": one.name },
    el("div", { class: "card-head" },
      el("div", {}, el("h2", {}, el("a", { href: `/supernets/${one.id}` }, one.name)), el("p", { class: "meta" }, el("code", { class: "id" }, one.id), el("span", {}, one.recipe), el("time", { datetime: one.created_at, title: exactTime(one.created_at) }, ago(one.created_at)), one.job_id ? el("a", { href: `/jobs/${one.job_id}` }, "the job that trained it") : el("span", {}, "its job is deleted"))),
      el("a", { class: "button", href: againAddress(one) }, "Search again"),
    ),
    factsOf(one),
    curve,
  );
}

async function draw(id, fold) {
  const what = el("select", { "aria-label": "What is drawn" });
  const chart = el("div", { class: "curve", role: "img", "aria-label": "Training curve" });
  fold.append(el("div", { class: "tools" }, el("label", {}, "of ", what)), chart);
  try {
    const { curve } = await get(`/v1/supernets/${id}`);
    const drawn = new Curve(chart, what);
    for (const point of curve) drawn.add(point);
    if (!curve.length) chart.replaceWith(el("p", { class: "quiet" }, "It was not trained here: it is a checkpoint as it is."));
  } catch (error) {
    chart.replaceWith(el("p", { class: "notice bad" }, error.message));
  }
}
