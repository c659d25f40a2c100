// A page that is put together of several answers is shown in one go: what can be seen does not jump while they come. A
// server that takes its time is said to.

import { quietFor } from "./api.js";
import { el } from "./dom.js";

// So long after the last answer all is drawn, in milliseconds; so long a page is waited for at most; and after so long
// a word says why nothing is there.
const [CALM_MS, MOST_MS, SAY_MS] = [80, 2500, 500];
const began = performance.now();
const main = document.querySelector("main");
let word = null;

function look() {
  const isQuiet = quietFor() >= CALM_MS;
  const waited = performance.now() - began;
  if (isQuiet || waited > MOST_MS) main.removeAttribute("data-loading");
  if (isQuiet) {
    word?.remove();
    return;
  }
  if (waited > SAY_MS) word ??= main.appendChild(el("p", { class: "reading", role: "status", "data-testid": "page-reads" }, "Reading…"));
  requestAnimationFrame(look);
}

look();
