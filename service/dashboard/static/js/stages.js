// The stages of a job as a line: which are done, how long each took, where it is now.

import { duration, percent } from "./format.js";

const LIVE = ["running", "pausing", "stopping", "cancelling"];

export class Stages {
  #items;
  #seconds = new Map(); // stage -> seconds of closed intervals
  #open = null; // {stage, since}
  #worked = 0; // seconds of closed intervals in which a worker held the job
  #since = null;

  constructor(list) {
    this.#items = [...list.children];
  }

  /** A `stage` or `state` event: a stage's time runs until the next one, and stands still in a pause. */
  hear(kind, data) {
    if (kind === "stage") {
      this.#close(data.at);
      this.#open = { stage: data.stage, since: Date.parse(data.at) };
    } else if (kind === "state" && !this.#goesOn(data.state)) {
      this.#close(data.at);
      if (this.#since !== null) this.#worked += (Date.parse(data.at) - this.#since) / 1000;
      this.#since = ["running", "stopping"].includes(data.state) ? Date.parse(data.at) : null;
    }
  }

  /** Whether a worker that holds the job still does in this state. */
  #goesOn(state) {
    return ["pausing", "cancelling"].includes(state) || (state === "stopping" && this.#since !== null);
  }

  /** Seconds in which a worker held the job, pauses left out; null before the first. */
  get elapsed() {
    if (this.#since === null) return this.#worked || null;
    return this.#worked + Math.max(0, (Date.now() - this.#since) / 1000);
  }

  #close(at) {
    if (!this.#open) return;
    const { stage, since } = this.#open;
    this.#seconds.set(stage, (this.#seconds.get(stage) ?? 0) + (Date.parse(at) - since) / 1000);
    this.#open = null;
  }

  show(job) {
    const names = this.#items.map((item) => item.dataset.stage);
    const finished = job.state === "succeeded";
    const current = finished ? names.length - 1 : names.indexOf(job.stage);
    this.#items.forEach((item, i) => {
      const status = finished || i < current ? "done" : i > current ? "todo" : LIVE.includes(job.state) ? "current" : "stopped";
      item.dataset.status = status;
      if (status === "current") item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    });
    this.#items[0].parentElement.dataset.state = job.state;
    this.tick(job);
  }

  /** What of a stage is done, in its own words: epochs, networks. */
  count(stage, words) {
    this.#words.set(stage, words);
  }

  #words = new Map(); // stage -> how far it is

  tick(job) {
    for (const item of this.#items) {
      const { stage, status } = item.dataset;
      const seconds = this.#of(stage);
      const words = { current: [this.#far(job), duration(seconds)].join(" · "), done: seconds === null ? "" : duration(seconds), stopped: job.state };
      const text = words[status] ?? "";
      const note = item.querySelector(".stage-note");
      if (note.textContent !== text) note.textContent = text;
    }
  }

  /** How far the stage is: in its own words, in what it counts, or as a share. */
  #far(job) {
    const counted = job.stage_total ? `${job.stage_done} of ${job.stage_total}` : percent(job.stage_progress);
    return this.#words.get(job.stage) ?? counted;
  }

  #of(stage) {
    const closed = this.#seconds.get(stage);
    const open = this.#open?.stage === stage ? Math.max(0, (Date.now() - this.#open.since) / 1000) : null;
    return closed === undefined && open === null ? null : (closed ?? 0) + (open ?? 0);
  }
}
