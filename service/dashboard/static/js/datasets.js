// Uploads: data sets and checkpoints that jobs may name, and sending one from here.

import { del, get, ours, post } from "./api.js";
import { badge, byId, el } from "./dom.js";
import { ago, exactTime, percent, scaled } from "./format.js";

// The API takes parts of at most 64 MB.
const PART = 32 * 2 ** 20;
// The digest is made of the whole file in memory.
const MOST = 2 * 2 ** 30;

const form = byId("upload");
load();

async function load() {
  try {
    const { uploads } = await get("/v1/uploads");
    byId("rows").replaceChildren(...(uploads.length ? uploads.map(row) : [el("tr", {}, el("td", { colspan: 6, class: "none" }, "Nothing is uploaded."))]));
    byId("datasets").setAttribute("aria-busy", "false");
    trouble(null);
  } catch (error) {
    trouble(error.message);
  }
}

function trouble(text) {
  byId("trouble").textContent = text ?? "";
  byId("trouble").hidden = !text;
}

function row(one) {
  const state = one.path ? badge("online") : badge("queued");
  state.textContent = one.path ? "ready" : percent(one.received_bytes / one.size_bytes);
  return el("tr", { "data-testid": "upload-row" },
    el("th", { scope: "row" }, one.name, el("span", { class: "quiet small" }, ` ${one.kind}`)),
    el("td", {}, state),
    el("td", { "data-name": "Type" }, one.type ?? "–"),
    el("td", { "data-name": "Size", class: "num" }, scaled(one.size_bytes, "B")),
    el("td", { "data-name": "A job names", class: "takes" }, one.path ? el("code", {}, one.path) : "–", " ", el("time", { class: "quiet small", datetime: one.created_at, title: exactTime(one.created_at) }, ago(one.created_at))),
    el("td", { class: "end" }, el("button", { type: "button", class: "pick plain", "aria-label": `Remove ${one.name}`, onclick: () => remove(one) }, "Remove")),
  );
}

async function remove(one) {
  if (!confirm(`Remove ${one.name}? Jobs that name it will not find it.`)) return;
  try {
    await del(`/v1/uploads/${one.id}`);
    await load();
  } catch (error) {
    trouble(error.message);
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const file = form.elements.file.files[0];
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    if (!file) throw new Error("Choose a file.");
    if (!globalThis.crypto?.subtle) throw new Error("Browsers make digests on https and on this machine only. Use `winnow upload FILE`.");
    if (file.size > MOST) throw new Error(`The file has ${scaled(file.size, "B")}; from a browser at most ${scaled(MOST, "B")} are sent. Use \`winnow upload FILE\`.`);
    say("Making its digest…");
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
    const sha256 = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const kind = form.elements.kind.value;
    let row = await post(`/v1/${kind}`, { name: form.elements.name.value.trim() || file.name, size_bytes: file.size, sha256 });
    for (let at = row.received_bytes; at < file.size; at += PART) {
      say(`Sending: ${percent(at / file.size)}`);
      row = await send(row.id, at, file.slice(at, at + PART));
    }
    say("Checking and unpacking…");
    await post(`/v1/uploads/${row.id}/finish`);
    say("Done.");
    form.reset();
    await load();
  } catch (error) {
    say("");
    trouble(error.message);
  }
  button.disabled = false;
});

async function send(id, offset, part) {
  const answer = await fetch(`/v1/uploads/${id}?offset=${offset}`, { method: "PUT", body: part, headers: { ...ours(), "Content-Type": "application/octet-stream" } });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.detail ?? `The server answered ${answer.status}.`);
  return said;
}

function say(text) {
  byId("upload-says").textContent = text;
}
