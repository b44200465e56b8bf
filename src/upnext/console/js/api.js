// All calls to the server: the key, the errors' one shape, and whether the server is there at all.
import { h, put } from "./dom.js";

const KEY = "upnext.key";
const LOST_MS = 1000; // between looks whether it is back
const BEAT_MS = 4000; // between looks whether it is still there

/** What the server said is wrong, as {code, message, field, remedy}. */
export class ApiError extends Error {
  constructor(problem, status) {
    super(problem.message);
    Object.assign(this, { code: problem.code, field: problem.field, remedy: problem.remedy, status });
  }
}

const listeners = new Set();
let lost = false;

/** Called when the server is there again after it was not. */
export const onRecovery = (work) => listeners.add(work);

export const get = (path, query, options) => call("GET", path + search(query), undefined, options);
export const post = (path, body, options) => call("POST", path, body, options);
export const putTo = (path, body, options) => call("PUT", path, body, options);
export const remove = (path, options) => call("DELETE", path, undefined, options);

function search(query) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function call(method, path, body, { signal } = {}) {
  for (;;) {
    const response = await reach(path, request(method, body, signal));
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    if (response.status !== 401) throw new ApiError(answer.error ?? { code: "http", message: `the server answered ${response.status}` }, response.status);
    await askForKey();
  }
}

function request(method, body, signal) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" };
}

async function reach(path, given) {
  try {
    const response = await fetch(path, given);
    found();
    return response;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lose();
    throw new ApiError({ code: "unreachable", message: "The server does not answer", remedy: "This page goes on by itself when it is back" }, 0);
  }
}

function lose() {
  if (lost) return;
  lost = true;
  show();
  setTimeout(look, LOST_MS);
}

function found() {
  if (!lost) return;
  lost = false;
  show();
  for (const work of listeners) work();
}

async function look() {
  if (!lost) return;
  try {
    if ((await fetch("/v1/health/live", { cache: "no-store" })).ok) return void found();
  } catch {
    // still not there
  }
  setTimeout(look, LOST_MS);
}

function show() {
  const place = document.getElementById("connection");
  place.hidden = !lost;
  put(place, lost ? "The server does not answer. Trying again every second; nothing here is lost." : "");
}

/** Notices a server that stops while nobody asks for anything. */
export function keepLooking() {
  setInterval(() => {
    if (!lost && !document.hidden) reach("/v1/health/live", { cache: "no-store" }).catch(() => {});
  }, BEAT_MS);
}

let asking = null;

/** One dialog, however many calls were refused. */
function askForKey() {
  asking ??= new Promise((resolve) => {
    const wrong = sessionStorage.getItem(KEY) !== null;
    const input = h("input", { type: "password", id: "api-key", autocomplete: "off", required: true, class: "input" });
    const form = h(
      "form",
      { method: "dialog", class: "form" },
      h("h2", { id: "key-title" }, "This server needs its key"),
      h("p", { class: "soft" }, wrong ? "The server did not accept this key." : "It is the one of serving.api_key. It is kept until this tab is closed."),
      h("label", { for: "api-key" }, "API key"),
      input,
      h("div", { class: "buttons" }, h("button", { class: "button primary" }, "Go on")),
    );
    const dialog = h("dialog", { class: "dialog narrow", "aria-labelledby": "key-title", oncancel: (event) => event.preventDefault() }, form);
    form.addEventListener("submit", () => {
      sessionStorage.setItem(KEY, input.value.trim());
      dialog.remove();
      asking = null;
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}
