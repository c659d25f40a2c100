// The panel of the selected network: its numbers and where they come from, its layers, its export.

import { get } from "./api.js";
import { compareButton } from "./basket.js";
import { el } from "./dom.js";
import { exportPart } from "./exports.js";
import { amount, label, milliseconds, scaled, spread, times } from "./format.js";
import { inWords, policy } from "./layers.js";

export class Detail {
  #panel;
  #jobId;
  #results;
  #exports;
  #id = null;
  #architecture = null;
  #folds = { layers: true, values: false };

  constructor(panel, jobId, results, exports) {
    this.#panel = panel;
    this.#jobId = jobId;
    this.#results = results;
    this.#exports = exports;
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.#panel.classList.remove("up"));
    this.#invite();
  }

  get shown() {
    return this.#id;
  }

  /**
   * Show an architecture, or none.
   *
   * @param {boolean} isAsked whether somebody chose it: on a phone it comes up as a sheet then
   */
  async show(id, isAsked = false) {
    if (isAsked) this.#panel.classList.add("up");
    this.#id = id;
    this.#architecture = null;
    if (id === null) {
      this.#invite();
      this.#settle();
      return;
    }
    // What still stands there is of the network before: nobody may export it for this one.
    this.#panel.inert = true;
    this.#panel.ariaBusy = "true";
    try {
      const found = await get(`/v1/jobs/${this.#jobId}/architectures/${encodeURIComponent(id)}`);
      if (this.#id !== id) return; // another one was chosen meanwhile
      this.#architecture = found;
      this.#render();
    } catch (error) {
      if (this.#id !== id) return;
      this.#panel.replaceChildren(el("h2", {}, "Selected network"), el("p", { class: "notice bad" }, error.message));
    }
    this.#settle();
  }

  /** What stands in the panel is of the network that is selected. */
  #settle() {
    this.#panel.dataset.architectureId = this.#id ?? "";
    this.#panel.inert = false;
    this.#panel.ariaBusy = "false";
  }

  /** Draw again if this architecture is shown: its export has news. */
  refresh(id) {
    if (this.#id === id && this.#architecture) this.#render();
  }

  #invite() {
    this.#panel.replaceChildren(
      el("h2", {}, "Selected network"),
      el("p", { class: "quiet" }, "Select a point of the plot or a row of the table to see a network's numbers and layers, and to export it."),
    );
  }

  #render() {
    const found = this.#architecture;
    const point = this.#results.find(found.architecture_id);
    const tags = [
      found.architecture_id === this.#results.knee ? el("span", { class: "tag grain" }, "knee") : null,
      found.architecture_id === this.#results.reference?.id ? el("span", { class: "tag dim" }, this.#results.reference.name) : null,
      point?.onFront ? el("span", { class: "tag" }, "on the front") : el("span", { class: "tag dim" }, point?.breaks?.length ? "beyond a limit" : "dominated"),
      point?.number ? el("span", { class: "tag dim" }, `evaluation ${point.number}`) : null,
    ];
    this.#panel.replaceChildren(
      el("div", { class: "sheet-head" }, el("h2", {}, "Selected network"), el("button", { type: "button", class: "sheet-close", "aria-label": "Close", onclick: () => this.#panel.classList.remove("up") }, "×")),
      el("p", { class: "chosen" }, el("code", {}, found.architecture_id)),
      el("p", { class: "tags" }, ...tags),
      el("p", { class: "doors" },
        el("a", { href: `/jobs/${this.#jobId}/networks/${encodeURIComponent(found.architecture_id)}`, "data-testid": "network-page" }, "Its page"),
        compareButton(this.#jobId, found.architecture_id),
      ),
      this.#numbers(found),
      exportPart(this.#exports.of(found.architecture_id), found.architecture_id, found.architecture_id === this.#results.knee, (formats) => this.#exports.request(found.architecture_id, formats), found.formats ?? []),
      ...this.#latency(found),
      this.#fold("layers", `Layers (${found.layers.length})`, layers(found)),
      this.#fold("values", `Choices (${Object.keys(found.values).length})`, values(found)),
    );
  }

  #numbers(found) {
    const order = this.#results.metrics();
    const metrics = Object.keys(found.metrics).sort((a, b) => order.indexOf(a) - order.indexOf(b));
    return el(
      "table",
      { class: "numbers" },
      el("caption", { class: "hidden-visually" }, "Numbers and how each was obtained"),
      el("tbody", {}, ...metrics.map((metric) =>
        el("tr", { "data-metric": metric },
          el("th", { scope: "row" }, metric === "accuracy" ? "Validation accuracy" : label(metric)),
          el("td", { class: "num end" }, amount(metric, found.metrics[metric]), ...this.#beside(found, metric)),
          el("td", { class: "source", "data-source": found.sources[metric] }, found.sources[metric] ?? "–"),
        ),
      )),
    );
  }

  /** A number's interval, and what share it is of the reference's. */
  #beside(found, metric) {
    const { reference } = this.#results;
    const wide = spread(metric, found.metrics[metric], found.intervals?.[metric]);
    const ratio = reference && reference.id !== found.architecture_id && !metric.startsWith("predicted_") ? times(found.ratios?.[metric]) : "";
    return [
      wide ? el("small", { class: "wide", title: "95 % interval" }, wide) : null,
      ratio ? el("small", { class: "ratio", title: `of the ${reference.name}'s` }, ratio) : null,
    ];
  }

  #latency(found) {
    if (!found.measurements.length) {
      const soon = this.#results.find(found.architecture_id)?.onFront && !this.#results.final;
      return soon ? [el("p", { class: "quiet small" }, "Latency is measured when the search has ended.")] : [];
    }
    const first = found.measurements[0];
    const versions = Object.entries(first.versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", ");
    return [
      el("h3", {}, "Measured latency"),
      el("table", { class: "numbers" },
        el("thead", {}, el("tr", {}, ...["Threads", "Median", "95 %", "p95"].map((name, i) => el("th", { scope: "col", class: i ? "end" : "" }, name)))),
        el("tbody", {}, ...found.measurements.map((one) =>
          el("tr", {},
            el("td", { class: "num" }, String(one.threads)),
            el("td", { class: "num end", title: one.mad_ms === undefined ? null : `median absolute deviation ${milliseconds(one.mad_ms)}` }, milliseconds(one.median_ms)),
            el("td", { class: "num end", title: "where a second measurement would fall" }, interval(one)),
            el("td", { class: "num end" }, milliseconds(one.p95_ms)),
          ),
        )),
      ),
      el("p", { class: "quiet small" }, [first.device, first.target, first.runtime, `batch ${first.batch}`, first.dtype, `${scaled(first.runs)} runs`, versions].filter(Boolean).join(" · ")),
    ];
  }

  #fold(name, title, content) {
    const fold = el("details", { class: "inner", open: this.#folds[name] }, el("summary", {}, title), content);
    fold.addEventListener("toggle", () => (this.#folds[name] = fold.open));
    return fold;
  }
}

function interval({ interval_ms: ends, median_ms: median }) {
  if (!ends) return "–";
  return `± ${((50 * (ends[1] - ends[0])) / median).toFixed(1)}\u00a0%`;
}

function layers({ layers: all }) {
  const most = Math.max(1, ...all.map((layer) => layer.macs));
  const rows = all.map((layer) => {
    const share = el("i");
    share.style.width = `${(100 * layer.macs) / most}%`;
    return el("tr", {},
      el("th", { scope: "row" }, el("span", { class: "slot" }, layer.slot), el("span", { class: "quiet" }, inWords(layer)), ...policy(layer)),
      el("td", { class: "num end" }, scaled(layer.params)),
      el("td", { class: "num end" }, scaled(layer.macs), el("span", { class: "share", "aria-hidden": "true" }, share)),
    );
  });
  return el("table", { class: "numbers layers", "data-testid": "layers" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Layer"), el("th", { scope: "col", class: "end" }, "Params"), el("th", { scope: "col", class: "end" }, "MACs"))),
    el("tbody", {}, ...rows),
  );
}

function values({ values: all }) {
  return el("dl", { class: "values", "data-testid": "values" }, ...Object.entries(all).map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value))),
  ));
}
