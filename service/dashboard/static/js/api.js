// The JSON API. An error carries the sentence of its problem document.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function request(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { Accept: "application/json", ...options?.headers } });
  } catch {
    throw new ApiError("Winnow does not answer. Is it still running?", 0);
  }
  if (answer.status === 204) return null;
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw new ApiError(problem.detail ?? `The server answered ${answer.status}.`, answer.status);
}

export function get(path) {
  return request(path);
}

export function post(path, body) {
  if (body === undefined) return request(path, { method: "POST" });
  const headers = { "Content-Type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export function del(path) {
  return request(path, { method: "DELETE" });
}
