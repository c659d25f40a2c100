// A key, or the token of a link, becomes a session. The token stands behind # in the address, which no server sees.

import { post } from "./api.js";
import { byId } from "./dom.js";

const form = byId("sign-in");
const token = new URLSearchParams(location.hash.slice(1)).get("token");

if (token) {
  history.replaceState(null, "", location.pathname + location.search);
  signIn({ token });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  signIn({ key: form.elements.key.value.trim() });
});

/** Where the visitor was going, if that is a page of ours. */
function next() {
  const asked = new URL(new URLSearchParams(location.search).get("next") ?? "/", location.origin);
  return asked.origin === location.origin ? asked.pathname + asked.search : "/";
}

async function signIn(given) {
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await post("/v1/session", given);
    location.replace(next());
  } catch (error) {
    byId("trouble").textContent = error.message;
    byId("trouble").hidden = false;
    button.disabled = false;
  }
}
