// Exports of a job: asking for one, waiting for it, and saying what its verification found.

import { get, post } from "./api.js";
import { badge, el } from "./dom.js";
import { ago, amount, duration, exactTime, label, named, scaled } from "./format.js";

const POLL_MS = 700;
const WAITING = ["queued", "running"];

export class Exports {
  #jobId;
  #list;
  #changed;
  #select;
  // Those that name no format, by architecture, and all of them by id.
  #byArchitecture = new Map();
  #all = new Map();
  #waiting = new Set();

  /**
   * @param {string} jobId
   * @param {HTMLElement} list where the exports of the job are listed
   * @param {(architectureId: string) => void} changed called when one has news
   * @param {(architectureId: string) => void} select called when one of the list is chosen
   */
  constructor(jobId, list, changed, select) {
    this.#jobId = jobId;
    this.#list = list;
    this.#changed = changed;
    this.#select = select;
  }

  of(architectureId) {
    return this.#byArchitecture.get(architectureId) ?? null;
  }

  async load() {
    const all = await get(`/v1/jobs/${this.#jobId}/exports`);
    for (const one of all) this.#take(one);
    this.#render();
  }

  /** Ask for an export and follow it to its end; asking again gives the same one. */
  async request(architectureId, formats = []) {
    const named = formats.length ? { formats } : {};
    this.#take(await post(`/v1/jobs/${this.#jobId}/exports`, { architecture_id: architectureId, ...named }));
    this.#render();
  }

  #take(one) {
    this.#keep(one);
    this.#changed(one.architecture_id);
    if (WAITING.includes(one.state)) this.#wait(one);
  }

  #keep(one) {
    this.#all.set(one.id, one);
    // The newest is shown in the panel of its network.
    const shown = this.#byArchitecture.get(one.architecture_id);
    if (!shown || shown.id === one.id || shown.created_at <= one.created_at) this.#byArchitecture.set(one.architecture_id, one);
  }

  async #wait(one) {
    if (this.#waiting.has(one.id)) return;
    this.#waiting.add(one.id);
    while (WAITING.includes(one.state)) {
      await new Promise((done) => setTimeout(done, POLL_MS));
      try {
        one = await get(`/v1/exports/${one.id}`);
      } catch {
        continue; // the server is away for a moment; the export goes on without us
      }
      this.#keep(one);
    }
    this.#waiting.delete(one.id);
    this.#changed(one.architecture_id);
    this.#render();
  }

  #render() {
    const all = [...this.#all.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
    if (!all.length) {
      this.#list.replaceChildren(el("li", { class: "quiet" }, "None yet. Select a network and export it."));
      return;
    }
    this.#list.replaceChildren(
      ...all.map((one) =>
        el(
          "li",
          { "data-testid": "export-row", "data-export-id": one.id },
          el("button", { type: "button", class: "pick", onclick: () => this.#select(one.architecture_id) }, one.architecture_id),
          one.formats?.length ? el("span", { class: "quiet small" }, one.formats.join(", ")) : null,
          badge(one.state),
          el("time", { class: "quiet", datetime: one.created_at, title: exactTime(one.created_at) }, ago(one.created_at)),
          one.download_url ? el("a", { href: one.download_url, download: true }, `Download ${scaled(one.size_bytes, "B")}`) : null,
        ),
      ),
    );
  }
}

/** The part of the panel that asks for an export, waits for it, or shows its report. */
export function exportPart(one, architectureId, isKnee, ask, formats = []) {
  const part = el("div", { class: "export" });
  if (!one || one.state === "failed") {
    if (one) part.append(el("p", { class: "notice bad", "data-testid": "export-result", "data-state": "failed" }, one.message ?? "The export failed."));
    const button = el("button", { type: "button", class: "button primary wide", "data-testid": "export-button" }, `${one ? "Try again to export" : "Export"} ${isKnee ? "the knee, " : ""}${architectureId}`);
    const choice = formatChoice(formats);
    part.append(...asking(button, () => ask(choice.chosen())), choice.node);
    if (!one) part.append(el("p", { class: "quiet small" }, "Winnow cuts it from the supernet, calibrates and writes it, reloads it in a clean process, and compares both."));
    return part;
  }
  if (WAITING.includes(one.state)) {
    part.append(
      el("button", { type: "button", class: "button primary wide", disabled: true, "data-testid": "export-button" }, "Exporting…"),
      el("p", { class: "quiet small", role: "status" }, one.state === "queued" ? "Waits for a worker." : "Writing the files and verifying them."),
    );
    return part;
  }
  const choice = formatChoice(formats);
  const again = el("button", { type: "button", class: "button wide", "data-testid": "export-again" }, "Export in these formats");
  const more = el("details", { class: "more" }, el("summary", {}, "Other formats"), choice.node, ...asking(again, () => ask(choice.chosen())));
  part.append(report(one), more);
  return part;
}

/** A button that asks for an export, and where it says why that was refused. */
function asking(button, ask) {
  const failure = el("p", { class: "notice bad", role: "alert", hidden: true });
  button.addEventListener("click", async () => {
    button.disabled = true;
    failure.hidden = true;
    try {
      await ask();
    } catch (error) {
      failure.textContent = error.message;
      failure.hidden = false;
    }
    button.disabled = false;
  });
  return [button, failure];
}

/** Boxes for the formats that a network can have; with none ticked, one folder with load.py and model.onnx is made. */
function formatChoice(formats) {
  const boxes = formats.map((name) => el("input", { type: "checkbox", name: "format", value: name }));
  const node = el(
    "fieldset",
    { class: "formats-choice", "data-testid": "export-formats" },
    el("legend", { class: "quiet small" }, "Formats (none: load.py and model.onnx)"),
    ...boxes.map((box) => el("label", {}, box, ` ${box.value}`)),
  );
  return { node, chosen: () => boxes.filter((box) => box.checked).map((box) => box.value) };
}

function tiny(value) {
  return value === 0 ? "0" : value.toExponential(1);
}

function report(one) {
  const formats = Object.entries(one.report?.formats ?? {});
  // Reports of older versions know of accuracy alone.
  const metric = formats[0]?.[1].metric ?? "accuracy";
  const front = one.report?.front;
  const took = (Date.parse(one.finished_at) - Date.parse(one.created_at)) / 1000;
  return el(
    "div",
    { class: "report", "data-testid": "export-result", "data-state": one.state },
    el("p", { class: "good" }, el("strong", {}, "Verified"), ` on ${one.report?.samples ?? "–"} samples, reloaded without Winnow`),
    el("table", { class: "numbers formats" },
      el("thead", {}, el("tr", {}, ...["Format", "Differs by", "Predictions", label(metric)].map((name, i) => el("th", { scope: "col", class: i ? "end" : "" }, name)))),
      el("tbody", {}, ...formats.map(([name, found]) =>
        el("tr", { "data-format": name },
          el("th", { scope: "row" }, name),
          el("td", { class: "num end", title: `largest difference of a logit; at most ${found.tolerance === null ? "as accuracy allows" : tiny(found.tolerance)} is allowed` }, tiny(found.max_abs_difference)),
          el("td", { class: "end" }, found.same_predictions ? "same" : "differ"),
          el("td", { class: "num end" }, amount(metric, found[metric])),
        ),
      )),
    ),
    front ? el("p", { class: "quiet small" }, `The front says ${named(front.metric)} ${amount(front.metric, front.value)}.`) : null,
    one.report?.note ? el("p", { class: "quiet small" }, one.report.note) : null,
    el("p", {}, el("a", { class: "button primary wide", href: one.download_url, download: true, "data-testid": "download" }, `Download .tar.gz, ${scaled(one.size_bytes, "B")}`)),
    el("p", { class: "quiet small" }, `Made ${ago(one.finished_at)} in ${duration(took)}. sha256 `, el("code", { class: "hash" }, one.sha256)),
  );
}
