// Light, dark, or as the system has it. Runs before anything is drawn, so that no page flashes.

(() => {
  const KEY = "winnow-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // a browser that keeps nothing
    }
  };
  const apply = () => {
    const chosen = stored();
    const theme = chosen === "light" || chosen === "dark" ? chosen : system.matches ? "dark" : "light";
    const root = document.documentElement;
    if (root.dataset.theme === theme) return;
    root.dataset.theme = theme;
    document.dispatchEvent(new Event("themechange"));
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  // On a phone the names of the pages do not fit beside one another: where one is, is in sight.
  document.addEventListener("DOMContentLoaded", () => document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" }));
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-theme-switch]");
    if (!button) return;
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      // What the system has anyway is not kept, so that it follows the system again.
      if (theme === (system.matches ? "dark" : "light")) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      document.documentElement.dataset.theme = theme;
      document.dispatchEvent(new Event("themechange"));
      return;
    }
    apply();
  });
})();
