// The API's description in Swagger UI. Requests that are tried there carry what those of our pages carry.

import { ours } from "./api.js";

const root = document.documentElement;
const follow = () => root.classList.toggle("dark-mode", root.dataset.theme === "dark");

follow();
document.addEventListener("themechange", follow);

// A route's path is a link within its button, which no reader of screens can press apart: the button leads there too.
const pathsAreWords = ({ React }) => ({ wrapComponents: { DeepLink: () => ({ text }) => React.createElement("span", {}, text) } });

window.ui = window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  plugins: [pathsAreWords],
  requestInterceptor(asked) {
    Object.assign(asked.headers, ours());
    return asked;
  },
});
