// The log of a job: from a level on, lines with a word in them, as they come, and as a file.

import { get } from "./api.js";
import { byId, el } from "./dom.js";
import { exactTime, timeOfDay } from "./format.js";

// Lines that stand on the page; the file has all.
const SHOWN = 500;
const PAGE = 1000;
const CALM_MS = 250;

export class Logs {
  #jobId;
  #view;
  #list = byId("lines");
  #source = null;
  #round = 0;

  constructor(jobId, view) {
    this.#jobId = jobId;
    this.#view = view;
    const { level, search, follow } = this.#controls;
    level.value = view.get("log") ?? "info";
    search.value = view.get("find") ?? "";
    let typing = null;
    level.addEventListener("change", () => this.#changed());
    search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#changed(), CALM_MS);
    });
    follow.addEventListener("change", () => this.show());
    byId("logs-download").addEventListener("click", () => this.#download());
    // Only who looks at the log pays for it.
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.disconnect();
      this.show();
    });
    seen.observe(byId("logs-card"));
  }

  get #controls() {
    return { level: byId("logs-level"), search: byId("logs-search"), follow: byId("logs-follow") };
  }

  get #nothing() {
    const { level, search } = this.#controls;
    return search.value.trim() || level.value !== "debug" ? "No line matches." : "No line was written.";
  }

  #query(more) {
    const { level, search } = this.#controls;
    return new URLSearchParams({ level: level.value, ...(search.value.trim() ? { search: search.value.trim() } : {}), ...more });
  }

  #changed() {
    const { level, search } = this.#controls;
    this.#view.set({ log: level.value === "info" ? null : level.value, find: search.value.trim() || null });
    this.show();
  }

  /** The last lines, and what comes if somebody follows. */
  async show() {
    const round = ++this.#round;
    this.#source?.close();
    this.#source = null;
    try {
      const { lines } = await get(`/v1/jobs/${this.#jobId}/logs?${this.#query({ last: true, limit: SHOWN })}`);
      if (round !== this.#round) return;
      this.#list.replaceChildren(...lines.map(row));
      byId("logs-note").textContent = lines.length === 0 ? this.#nothing : lines.length === SHOWN ? `The last ${SHOWN} lines; the file has all.` : "";
      this.#list.scrollTop = this.#list.scrollHeight;
      if (this.#controls.follow.checked) this.#follow(lines.at(-1)?.id ?? 0, round);
    } catch (error) {
      if (round === this.#round) byId("logs-note").textContent = error.message;
    }
  }

  #follow(after, round) {
    const source = new EventSource(`/v1/jobs/${this.#jobId}/logs?${this.#query({ follow: true, after })}`);
    this.#source = source;
    source.addEventListener("log", (event) => {
      if (round !== this.#round) return;
      const atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 24;
      this.#list.append(row(JSON.parse(event.data)));
      while (this.#list.children.length > SHOWN) this.#list.firstChild.remove();
      byId("logs-note").textContent = "";
      if (atEnd) this.#list.scrollTop = this.#list.scrollHeight;
    });
    // The stream of an ended job ends; a broken one opens again by itself.
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CONNECTING) source.close();
    });
  }

  /** All lines that match, as text. */
  async #download() {
    const lines = [];
    let after = 0;
    try {
      for (;;) {
        const page = await get(`/v1/jobs/${this.#jobId}/logs?${this.#query({ after, limit: PAGE })}`);
        lines.push(...page.lines);
        if (page.lines.length < PAGE) break;
        after = page.next_after;
      }
    } catch (error) {
      byId("logs-note").textContent = error.message;
      return;
    }
    const text = lines.map((line) => [line.at, line.level, line.stage ?? "-", line.step ?? "-", line.text].join("\t")).join("\n") + "\n";
    const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    el("a", { href: address, download: `log-${this.#jobId}.txt` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }
}

function row({ at, level, stage, step, text }) {
  return el("li", { "data-level": level, "data-testid": "log-line" },
    el("time", { datetime: at, title: exactTime(at) }, timeOfDay(at)),
    el("span", { class: "log-level" }, level),
    el("span", { class: "log-kind" }, [stage, step].filter((part) => part !== null && part !== undefined).join(" ")),
    el("span", { class: "log-text" }, text),
  );
}
