// The API's description in Swagger UI. Requests that are tried there carry what those of our pages carry.

import { ours } from "./api.js";

const root = document.documentElement;
const follow = () => root.classList.toggle("dark-mode", root.dataset.theme === "dark");

follow();
document.addEventListener("themechange", follow);

window.ui = window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  requestInterceptor(asked) {
    Object.assign(asked.headers, ours());
    return asked;
  },
});
