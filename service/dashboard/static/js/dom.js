// Elements from data. Text is always set as text, so nothing that a user typed becomes markup.

/** An element; `props` are attributes, `on…` functions are listeners, null and false are left out. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A state as a coloured badge that also says it in words. */
export function badge(state) {
  return el("span", { class: "badge", "data-state": state }, state);
}

/**
 * Calls `work` at most once every `pause` milliseconds, and once more after the last call. While a
 * promise that it gave is open it is not called again, so answers cannot overtake each other.
 */
export function throttle(work, pause) {
  let last = -Infinity;
  let waits = false;
  let again = false;
  async function run() {
    again = false;
    try {
      await work();
    } finally {
      last = performance.now();
      waits = false;
      if (again) call();
    }
  }
  function call() {
    again = waits;
    if (waits) return;
    waits = true;
    setTimeout(run, Math.max(0, last + pause - performance.now()));
  }
  return call;
}

/** A value of the stylesheet. */
export function token(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Calls `redraw` when the system changes between light and dark. */
export function onThemeChange(redraw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}
