// A page that is put together of several answers is shown in one go: what can be seen does not jump while they come.

import { quietFor } from "./api.js";

// So long after the last answer all is drawn, in milliseconds; and so long a page is waited for at most.
const [CALM_MS, MOST_MS] = [80, 2500];
const began = performance.now();

function look() {
  if (quietFor() < CALM_MS && performance.now() - began < MOST_MS) requestAnimationFrame(look);
  else document.querySelector("main").removeAttribute("data-loading");
}

if (document.querySelector("main[data-loading]")) look();
