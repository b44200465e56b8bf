// The shell: which view is shown, who is looked at, the colours, and what to do when something fails.
import { keepLooking, onRecovery } from "./api.js";
import { h, put } from "./dom.js";
import { icon } from "./icons.js";
import { onUser } from "./state.js";
import { whoButton } from "./who.js";
import * as catalogue from "./views/catalogue.js";
import * as dials from "./views/dials.js";
import * as health from "./views/health.js";
import * as watch from "./views/watch.js";
import * as xray from "./views/xray.js";

const VIEWS = { watch, xray, dials, catalogue, health };
const main = document.getElementById("main");
let leaving = new AbortController();
let failed = false; // what is shown is an error

/** "#/xray?item=i7" -> ["xray", {item: "i7"}] */
function address() {
  const [path, query] = location.hash.replace(/^#\//, "").split("?");
  return [path in VIEWS ? path : "watch", Object.fromEntries(new URLSearchParams(query ?? ""))];
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const signal = leaving.signal;
  failed = false;
  const [name, parameters] = address();
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = VIEWS[name];
  document.title = `${view.title} · upnext`;
  const place = h("div", { class: `view view-${name}` });
  put(main, place);
  try {
    await view.show(place, { parameters, signal, again: show });
  } catch (error) {
    if (signal.aborted) return;
    failed = true;
    put(place, failure(error));
  }
}

function failure(error) {
  if (!error.code) console.error(error);
  return h(
    "section",
    { class: "empty", role: "alert" },
    h("h1", null, error.code === "unreachable" ? "The server does not answer" : "This did not work"),
    h("p", { class: "soft" }, error.code ? [error.message, error.remedy ? `. ${error.remedy}` : "", "."] : "The console made a mistake. Loading it again may help."),
    h("div", { class: "buttons" }, h("button", { class: "button", type: "button", onclick: show }, "Try again")),
  );
}

function themeButton() {
  const button = document.getElementById("theme");
  const draw = () => put(button, icon(document.documentElement.dataset.theme === "dark" ? "sun" : "moon"));
  button.addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("upnext.theme", next);
    draw();
  });
  draw();
}

addEventListener("hashchange", () => {
  scrollTo(0, 0);
  show();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
onRecovery(() => failed && show()); // what was there before the server stopped still holds
onUser(show);
themeButton();
whoButton(document.getElementById("who"));
keepLooking();
show();
