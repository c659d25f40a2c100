// The JSON API. An error carries the sentence of its problem document.

export class ApiError extends Error {
  constructor(message, status, problem = {}) {
    super(message);
    this.status = status;
    this.problem = problem; // the whole document
  }
}

/** What requests of our pages carry: a header that no form can send, and the token of the session. */
export function ours() {
  const token = document.querySelector("meta[name=csrf-token]")?.content;
  return { "X-Winnow": "1", ...(token ? { "X-CSRF-Token": token } : {}) };
}

// Requests that wait for their answer, and when the last one had it.
const traffic = { open: 0, last: performance.now() };

/** Milliseconds in which nothing was asked; 0 while an answer is open. */
export function quietFor() {
  return traffic.open ? 0 : performance.now() - traffic.last;
}

async function request(path, options) {
  traffic.open += 1;
  try {
    return await answered(path, options);
  } finally {
    traffic.open -= 1;
    traffic.last = performance.now();
  }
}

async function answered(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { Accept: "application/json", ...ours(), ...options?.headers } });
  } catch {
    throw new ApiError("Winnow does not answer. Is it still running?", 0);
  }
  if (answer.status === 204) return null;
  if (answer.ok) return answer.json();
  if (answer.status === 401 && location.pathname !== "/sign-in") {
    location.assign(`/sign-in?${new URLSearchParams({ next: location.pathname + location.search })}`);
  }
  const problem = await answer.json().catch(() => ({}));
  throw new ApiError(problem.detail ?? `The server answered ${answer.status}.`, answer.status, problem);
}

export function get(path) {
  return request(path);
}

export function post(path, body) {
  if (body === undefined) return request(path, { method: "POST" });
  return send("POST", path, body);
}

export function patch(path, body) {
  return send("PATCH", path, body);
}

function send(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method, headers, body: JSON.stringify(body) });
}

export function del(path) {
  return request(path, { method: "DELETE" });
}
