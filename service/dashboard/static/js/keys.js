// Keys: who you are, and for admins all of them. A new key is shown once.

import { del, get, post } from "./api.js";
import { badge, byId, el } from "./dom.js";
import { ago, exactTime } from "./format.js";

const table = byId("keys");
const form = byId("new-key");

if (table) load();

async function load() {
  try {
    const { keys } = await get("/v1/keys");
    table.replaceChildren(...keys.map(row));
  } catch (error) {
    trouble(error.message);
  }
}

function trouble(text) {
  byId("trouble").textContent = text ?? "";
  byId("trouble").hidden = !text;
}

function stateOf({ revoked_at: revoked, expires_at: expires }) {
  if (revoked) return "revoked";
  return expires && Date.parse(expires) < Date.now() ? "expired" : "valid";
}

function row(key) {
  const state = stateOf(key);
  const used = key.last_used_at ? el("time", { datetime: key.last_used_at, title: exactTime(key.last_used_at) }, ago(key.last_used_at)) : "never";
  return el(
    "tr",
    { "data-testid": "key", "data-key-id": key.id },
    el("th", { scope: "row" }, key.name, el("span", { class: "quiet small" }, " ", el("code", {}, key.id))),
    el("td", { "data-name": "Scope" }, key.scope),
    el("td", { "data-name": "Group" }, key.group ?? "–"),
    el("td", { "data-name": "State" }, badge(state)),
    el("td", { "data-name": "Last used" }, used),
    el("td", { class: "end" }, state === "valid" ? el("button", { type: "button", class: "pick plain", onclick: () => revoke(key), "aria-label": `Revoke ${key.name}` }, "Revoke") : null),
  );
}

async function revoke({ id, name }) {
  if (!confirm(`Revoke ${name}? Whoever uses it is refused at once.`)) return;
  try {
    await del(`/v1/keys/${id}`);
    trouble(null);
    await load();
  } catch (error) {
    trouble(error.message);
  }
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  for (const name of ["days", "max_jobs", "max_evaluations", "max_bytes"]) if (name in given) given[name] = Number(given[name]);
  try {
    const made = await post("/v1/keys", given);
    byId("made").replaceChildren(`The key of ${made.name}. It is shown this once: `, el("code", { "data-testid": "new-key-text" }, made.key));
    byId("made").hidden = false;
    form.reset();
    trouble(null);
    await load();
  } catch (error) {
    trouble(error.message);
  }
});

byId("sign-out")?.addEventListener("click", async () => {
  try {
    await del("/v1/session");
    location.assign("/sign-in");
  } catch (error) {
    trouble(error.message);
  }
});
