// What somebody put aside to compare: up to four networks, kept in this tab.

import { el } from "./dom.js";

const KEY = "winnow-compare";
export const MOST = 4;

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  } catch {
    return [];
  }
}

function write(networks) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(networks));
  } catch {
    // a browser that keeps nothing: the address of the page of comparison holds them anyway
  }
}

/** The address of the page that compares networks, named `JOB:NETWORK`. */
export function comparison(networks) {
  return `/compare?${new URLSearchParams(networks.map((name) => ["network", name]))}`;
}

/** A button that puts a network aside, or takes it out again, beside a link to the comparison. */
export function compareButton(jobId, architectureId) {
  const name = `${jobId}:${architectureId}`;
  const place = el("span", { class: "basket" });
  const draw = () => {
    const chosen = read();
    const has = chosen.includes(name);
    const full = !has && chosen.length >= MOST;
    const button = el("button", { type: "button", class: "pick plain", "data-testid": "compare-add", disabled: full, title: full ? `${MOST} networks are put aside already` : null, onclick: () => {
      write(has ? chosen.filter((one) => one !== name) : [...chosen, name]);
      draw();
    } }, has ? "Take out of comparison" : "Put aside to compare");
    const link = chosen.length > 1 ? el("a", { href: comparison(chosen), "data-testid": "compare-open" }, `Compare ${chosen.length}`) : null;
    place.replaceChildren(button, ...(link ? [link] : []));
  };
  draw();
  return place;
}
