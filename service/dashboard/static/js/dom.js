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

// Values of the stylesheet as they were read: reading one works out all styles of the page.
const tokens = new Map();
document.addEventListener("themechange", () => tokens.clear());

/** A value of the stylesheet. */
export function token(name) {
  if (!tokens.has(name)) tokens.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return tokens.get(name);
}

/** Calls `redraw` when the page changes between light and dark. */
export function onThemeChange(redraw) {
  document.addEventListener("themechange", redraw);
}

/** Calls `work` with the next picture of the screen; calls before that are one. */
export function inNextFrame(work) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => {
      waits = false;
      work();
    });
  };
}

/** Calls `work` once nobody has called for it for so long, in milliseconds. */
export function afterCalm(work, pause) {
  let timer = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, pause);
  };
}
