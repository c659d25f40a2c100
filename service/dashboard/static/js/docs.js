// The API's description in Swagger UI. Requests that are tried there carry what those of our pages carry.

import { ours } from "./api.js";

window.ui = window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  requestInterceptor(asked) {
    Object.assign(asked.headers, ours());
    return asked;
  },
});
