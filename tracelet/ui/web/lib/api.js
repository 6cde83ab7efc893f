// The HTTP API, as the pages use it: JSON in, errors as sentences.
async function answer(response) {
  const body = await response.json().catch(() => ({ error: `The dashboard returned status ${response.status}` }));
  if (!response.ok) throw new Error(body.error ?? `The dashboard returned status ${response.status}`);
  return body;
}

export function query(parameters) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "" && one !== false) pairs.append(name, one);
    }
  }
  const text = pairs.toString();
  return text ? "?" + text : "";
}

export async function get(path, parameters = {}) {
  return answer(await fetch("/api/" + path + query(parameters)));
}

export async function change(run, body) {
  const headers = { "Content-Type": "application/json", "X-Tracelet": "1" };
  return answer(await fetch(`/api/runs/${encodeURIComponent(run)}`, { method: "PATCH", headers, body: JSON.stringify(body) }));
}

export async function remove(run) {
  const address = `/api/runs/${encodeURIComponent(run)}` + query({ confirm: run });
  return answer(await fetch(address, { method: "DELETE", headers: { "X-Tracelet": "1" } }));
}

// The state of the page is part of the URL, so that it can be shared and survives a reload.
export const view = {
  get: (name, otherwise = "") => new URLSearchParams(location.search).get(name) ?? otherwise,
  all: (name) => new URLSearchParams(location.search).getAll(name),
  set(changes) {
    const pairs = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      pairs.delete(name);
      for (const one of Array.isArray(value) ? value : [value]) if (one !== "" && one !== null && one !== undefined) pairs.append(name, one);
    }
    const text = pairs.toString();
    history.replaceState(history.state, "", location.pathname + (text ? "?" + text : ""));
  },
};
