// Short notices at the edge: what was done, or what went wrong.
import { h } from "./dom.js";

const STAYS_MS = 4500;

export function toast(text, kind = "plain") {
  const note = h("p", { class: `toast ${kind}` }, text);
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), STAYS_MS);
}

/** Runs what a button asks for; says what went wrong. True when it went well. */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    if (error.name !== "AbortError") toast(error.remedy ? `${error.message}. ${error.remedy}` : error.message, "bad");
    return false;
  }
}
