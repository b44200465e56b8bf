// The catalogue: find an item, see what stands next to it and whom it would reach; add one by hand, delete one.
import { get, remove } from "../api.js";
import { cover } from "../cover.js";
import { h, later, put } from "../dom.js";
import { ago, count, length } from "../format.js";
import { blocks, itemLine, panel } from "../parts.js";
import { forgetPage, state } from "../state.js";
import { attempt, toast } from "../toast.js";
import { itemForm } from "./item_form.js";

export const title = "Catalogue";

const LISTED = 30;

export async function show(place, { parameters, signal }) {
  const results = h("ul", { class: "results", "aria-label": "Items", "aria-busy": "true" }, blocks(...Array.from({ length: LISTED }, () => "2.75rem")).map((block) => h("li", null, block)));
  const note = h("p", { class: "soft small", role: "status" }, "\u00a0");
  const detail = h("div", { class: "stack", id: "detail" });
  const open = (id) => {
    history.replaceState(null, "", `#/catalogue?item=${encodeURIComponent(id)}`);
    mark(results, id);
    return attempt(() => showItem(detail, id, signal, gone));
  };
  const search = async () => {
    const found = await get("/v1/console/items", { q: input.value.trim(), n: LISTED }, { signal });
    list(results, found.items, open, input.value.trim());
    mark(results, chosen());
    put(note, input.value.trim() ? `${found.complete ? "" : "more than "}${count(found.items.length)} found` : "What is popular now");
  };
  const gone = (item) => {
    forgetPage();
    put(detail, h("section", { class: "panel" }, h("h2", { tabindex: "-1" }, "Deleted"), h("p", { class: "soft" }, `“${item.title ?? item.item_id}” is never shown again.`)));
    detail.querySelector("h2").focus({ preventScroll: true });
    history.replaceState(null, "", "#/catalogue");
    attempt(search);
  };
  const added = (id) => {
    forgetPage();
    toast("Added. It can be recommended from now on.");
    attempt(search);
    open(id).then(() => detail.querySelector("h2")?.focus({ preventScroll: true }));
  };
  const add = () => {
    history.replaceState(null, "", "#/catalogue");
    mark(results, null);
    put(detail, itemForm(added, () => put(detail, hint())));
    detail.querySelector("input").focus();
  };
  const input = h("input", { type: "search", id: "search-items", class: "input", placeholder: "A part of the title, or an id", autocomplete: "off", spellcheck: "false" });
  input.addEventListener("input", later(150, () => attempt(search)));

  put(
    place,
    h("section", { class: "page-head" }, h("div", null, h("h1", null, "Catalogue"), h("p", { class: "soft" }, "Find an item, see what it stands next to, add one and see whom it reaches.")), h("button", { class: "button primary", type: "button", id: "add", onclick: add }, "Add an item")),
    h("div", { class: "two catalogue" }, h("section", { class: "stack tight", "aria-label": "Search" }, h("label", { class: "hidden-label", for: "search-items" }, "Search items"), input, note, results), detail),
  );
  put(detail, hint());
  if (parameters.item) open(parameters.item);
  await search();
}

/** Which item is open, as the address says. */
const chosen = () => new URLSearchParams(location.hash.split("?")[1] ?? "").get("item");

function mark(results, id) {
  for (const one of results.querySelectorAll(".result")) {
    if (one.dataset.item === id) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
  }
}

const hint = () => h("section", { class: "panel quiet-panel" }, h("p", { class: "soft" }, "Choose an item, or add one."));

function list(results, items, open, words) {
  put(
    results,
    items.map((item) => h("li", null, h("button", { type: "button", class: "result", "data-item": item.item_id, onclick: () => open(item.item_id) }, itemLine(item)))),
    items.length ? null : h("li", { class: "soft" }, words ? "Nothing in the catalogue holds these letters." : "The catalogue is empty: add an item, or `upnext import` many."),
  );
  results.removeAttribute("aria-busy");
}

async function showItem(detail, id, signal, gone) {
  put(detail, h("section", { class: "panel" }, blocks("11rem")), h("section", { class: "panel" }, blocks("14rem")));
  const item = await get(`/v1/items/${encodeURIComponent(id)}`, undefined, { signal });
  const near = h("div", null, blocks("14rem"));
  const reach = h("div", null, blocks("12rem"));
  put(
    detail,
    facts(item, gone),
    panel("Next to it", "The items whose vectors the tower puts nearest, by cosine: from its content alone if it is new.", near),
    panel("Whom it would reach", "Of a few hundred users, the five whom it fits best, and what becomes of it in their answers now.", reach),
  );
  if (innerWidth < 760) detail.scrollIntoView({ block: "start" });
  const [neighbours, audience] = await Promise.all([get("/v1/console/neighbours", { item_id: id }, { signal }), get("/v1/console/audience", { item_id: id }, { signal })]);
  put(
    near,
    neighbours.items.length
      ? h("ol", { class: "slate", id: "neighbours" }, neighbours.items.map((one) => h("li", null, itemLine(one, null, `#/catalogue?item=${encodeURIComponent(one.item_id)}`), h("span", { class: "number soft" }, one.score.toFixed(3)))))
      : h("p", { class: "soft" }, neighbours.note ?? "Nothing is near it."),
  );
  put(
    reach,
    audience.users.length ? h("ol", { class: "slate", id: "audience" }, audience.users.map((user) => reached(user, id))) : h("p", { class: "soft" }, "No user with a history, or no model yet."),
    state.user ? h("p", { class: "small" }, h("a", { href: `#/xray?item=${encodeURIComponent(id)}` }, `What becomes of it for ${state.user}?`)) : null,
  );
}

function facts(item, gone) {
  const erase = () => attempt(async () => {
    await remove(`/v1/items/${encodeURIComponent(item.item_id)}`);
    gone(item);
  });
  const buttons = h("div", { class: "buttons" });
  const offer = () => put(buttons, h("button", { class: "button danger", type: "button", id: "delete", onclick: ask }, "Delete"));
  const ask = () => {
    const keep = h("button", { class: "button", type: "button", onclick: () => (offer(), buttons.firstChild.focus()) }, "Keep it");
    put(buttons, h("span", { class: "small" }, "It will never be shown again."), h("button", { class: "button danger", type: "button", id: "delete-really", onclick: erase }, "Delete it"), keep);
    keep.focus();
  };
  offer();
  const rows = [
    ["Id", item.item_id],
    ["Author", item.author],
    ["Genres", item.categories.join(", ")],
    ["Length", length(item.duration)],
    ["Published", ago(item.published_at)],
    ["Shown", item.impressions === 1 ? "once" : `${count(item.impressions)} times`],
  ];
  return h(
    "section",
    { class: "panel item-facts", "aria-label": "The item" },
    h("span", { class: "cover" }, cover(item)),
    h("div", { class: "stack tight" }, h("h2", { tabindex: "-1" }, item.title ?? item.item_id, item.available ? null : h("span", { class: "tag bad" }, "not available")), h("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))), buttons),
  );
}

function reached(user, item) {
  const end = {
    shown: () => h("span", { class: "tag good" }, `on the page, place ${user.position + 1}`),
    reranking: () => h("span", { class: "tag" }, "ranked, not shown"),
    candidates: () => h("span", { class: "tag bad" }, "not proposed"),
  };
  return h("li", null, h("a", { href: `#/watch?user=${encodeURIComponent(user.user_id)}`, class: "slate-grow" }, user.user_id), h("span", { title: user.outcome }, end[user.stage]()), h("span", { class: "number soft" }, user.fit.toFixed(3)), h("span", { class: "hidden-label" }, ` for ${item}`));
}
