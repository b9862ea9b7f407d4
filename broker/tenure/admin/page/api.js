// Requests to the admin server: JSON in and out, its problems as errors, and the token where it asks for one.

const TOKEN = "tenure.token";
const NAME = "tenure.name";

/** What the server refused, with its stable code. */
export class Problem extends Error {
  constructor(status, { code = "", title = "", detail = "" }) {
    super(detail || title || `the server answered ${status}`);
    this.status = status;
    this.code = code;
  }
}

/** Keeps the token for this tab, and no longer. */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token.trim());
}

/** Whether this tab has one, right or wrong. */
export function hasToken() {
  return sessionStorage.getItem(TOKEN) !== null;
}

/** Whose name goes into the audit events. */
export function name() {
  return localStorage.getItem(NAME) ?? "";
}

export function keepName(text) {
  localStorage.setItem(NAME, text.trim());
}

/** The path of something under a name; a slash in a name is part of the name. */
export function path(...segments) {
  return segments.map(encodeURIComponent).join("/");
}

function headers(more = {}) {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { authorization: `Bearer ${token}`, ...more } : more;
}

/** Sends a request; gives the answer, or throws Problem, or TypeError if nobody answers. */
export async function send(method, url, body) {
  const response = await fetch(url, {
    method,
    headers: headers(body === undefined ? { accept: "application/json" } : { "content-type": "application/json" }),
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
  if (!response.ok) throw await problemOf(response);
  return response.status === 204 ? null : response.json();
}

export const get = (url) => send("GET", url);

/** Yields the server-sent events of a stream as {name, data, id} until it ends or the signal aborts. */
export async function* events(url, signal) {
  const response = await fetch(url, { headers: headers({ accept: "text/event-stream" }), cache: "no-store", signal });
  if (!response.ok) throw await problemOf(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) yield parsed(block);
  }
}

function parsed(block) {
  const event = { name: "message", data: null, id: "" };
  const data = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon < 1) continue; // a comment, which says only that the server is there
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (line.startsWith("event:")) event.name = value;
    else if (line.startsWith("id:")) event.id = value;
    else if (line.startsWith("data:")) data.push(value);
  }
  if (data.length) event.data = JSON.parse(data.join("\n"));
  else event.name = "comment";
  return event;
}

async function problemOf(response) {
  let told = {};
  try {
    told = await response.json();
  } catch {
    // something between here and the server answered in words of its own
  }
  return new Problem(response.status, told);
}
