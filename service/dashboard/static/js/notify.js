// A notice of the browser when a job has ended, for who asks for it.

import { named } from "./format.js";

const KEY = "winnow-notify";
const ENDED = ["succeeded", "failed", "cancelled"];

function stored(value) {
  try {
    if (value === undefined) return localStorage.getItem(KEY) === "on";
    if (value) localStorage.setItem(KEY, "on");
    else localStorage.removeItem(KEY);
  } catch {
    // a browser that keeps nothing asks again on the next page
  }
  return value;
}

/** Wires a box that asks for notices. `hear` compares jobs as they were with how they are now. */
export function wantsNotice(box) {
  const can = "Notification" in window;
  let on = can && stored() && Notification.permission === "granted";
  if (box) {
    box.closest("label").hidden = !can;
    box.checked = on;
    box.addEventListener("change", async () => {
      on = box.checked && (await Notification.requestPermission()) === "granted";
      box.checked = on;
      stored(on);
    });
  }
  return {
    get isOn() {
      return on;
    },
    hear(before, now) {
      if (!on) return;
      for (const job of now) {
        const was = before.find((other) => other.id === job.id);
        if (!was || ENDED.includes(was.state) || !ENDED.includes(job.state)) continue;
        const notice = new Notification(`${job.name} ${job.state}`, { tag: job.id, body: job.message ?? (job.front_size ? `${job.front_size} networks on the front, best ${named(job.best_metric ?? "accuracy")} measured.` : "") });
        notice.addEventListener("click", () => {
          window.focus();
          location.assign(`/jobs/${job.id}`);
        });
      }
    },
  };
}
