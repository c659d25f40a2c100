// One supernet: how it was trained, what it scores, and every job that has searched it.

import { get } from "./api.js";
import { saving } from "./charts.js";
import { Curve } from "./curve.js";
import { badge, byId, el } from "./dom.js";
import { ago, amount, exactTime, named } from "./format.js";
import { factsOf } from "./supernet_facts.js";

const PAGE = 25;
// How a job came to search it, by the verb that made it of another.
const CAME = { extend: "searched further", rerun: "rerun", heal: "heals", measure: "measures again", clone: "copy" };

const { id } = JSON.parse(byId("supernet-data").textContent);
let cursor = null;

begin();
byId("more").addEventListener("click", more);

async function begin() {
  try {
    const [one] = await Promise.all([get(`/v1/supernets/${id}`), more()]);
    byId("facts").replaceChildren(factsOf(one));
    drawCurve(one.curve);
  } catch (error) {
    complain(error);
  }
}

function complain(error) {
  byId("trouble").textContent = error.message;
  byId("trouble").hidden = false;
}

function drawCurve(points) {
  byId("curve-none").hidden = points.length > 0;
  byId("curve").hidden = byId("curve-tools").hidden = points.length === 0;
  if (!points.length) return;
  const drawn = new Curve(byId("curve"), byId("curve-what"));
  for (const point of points) drawn.add(point);
  saving(byId("save-curve"), `curve-${id}`, { picture: (kind) => drawn.picture(kind), rows: () => drawn.rows() });
}

async function more() {
  try {
    const page = await get(`/v1/jobs?${new URLSearchParams({ supernet: id, limit: PAGE, ...(cursor ? { cursor } : {}) })}`);
    byId("jobs").append(...page.jobs.map(row));
    cursor = page.next_cursor;
    byId("more").hidden = cursor === null;
    if (!byId("jobs").rows.length) byId("jobs").append(el("tr", {}, el("td", { colspan: 5, class: "none" }, "The jobs that searched it are deleted.")));
  } catch (error) {
    complain(error);
  }
}

function row(job) {
  const how = job.id === id ? "trained it" : (CAME[job.parent_verb] ?? "searched it");
  return el("tr", { "data-testid": "supernet-job", "data-job-id": job.id },
    el("th", { scope: "row" }, el("a", { href: `/jobs/${job.id}` }, job.name), el("span", { class: "quiet small" }, ` ${how}`)),
    el("td", { "data-name": "State" }, badge(job.state)),
    el("td", { "data-name": "Best", class: "num end" }, job.front_size ? amount(job.best_metric ?? "accuracy", job.best_value) : "–", job.front_size ? el("small", { class: "wide" }, named(job.best_metric ?? "accuracy")) : null),
    el("td", { "data-name": "Networks", class: "num end" }, `${job.evaluations} evaluated`, job.front_size ? el("small", { class: "wide" }, `${job.front_size} on the front`) : null),
    el("td", { "data-name": "Submitted", class: "end" }, el("time", { datetime: job.created_at, title: exactTime(job.created_at) }, ago(job.created_at))),
  );
}
