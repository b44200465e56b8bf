// A home page as its viewer knows it. What is done on it is a real event, and the page is ranked anew after each.
import { h, put } from "../dom.js";
import { ago, age, length, ms, past } from "../format.js";
import { cover } from "../cover.js";
import { icon } from "../icons.js";
import { xrayLink } from "../parts.js";
import { sendEvent, servePage, setUser, state } from "../state.js";
import { attempt } from "../toast.js";
import { chooseFirst } from "../who.js";
import { openPlayer } from "./player.js";

export const title = "Watch";

export async function show(place, { parameters, signal }) {
  if (parameters.user && parameters.user !== state.user) {
    history.replaceState(null, "", "#/watch");
    return setUser(parameters.user); // shows this view again
  }
  if (!state.user) return chooseFirst(place);
  const page = state.page;
  if (page) draw(place, page, null);
  else put(place, skeleton());
  if (!page) draw(place, await servePage({ signal }), null);
}

function draw(place, page, before, done) {
  const rank = async (sentence) => {
    const earlier = state.page;
    place.setAttribute("aria-busy", "true");
    const fine = await attempt(async () => draw(place, await servePage(), earlier, sentence));
    if (!fine) place.removeAttribute("aria-busy");
  };
  const focus = focused();
  const places = new Map((before?.rows[0]?.items ?? []).map((item) => [item.item_id, item.position]));
  put(
    place,
    heading(page, before, done, () => rank("you asked again")),
    page.rows.map((row) => shelf(row, row.key === "for_you" && before ? places : null, rank)),
    page.rows.length ? null : h("section", { class: "empty" }, h("h2", null, "There is nothing to show"), h("p", { class: "soft" }, "The catalogue is empty, or no item may be shown. ", h("a", { href: "#/catalogue" }, "Add an item"), ", or `upnext import` many.")),
    page.history.length ? lately(page.history) : null,
  );
  place.removeAttribute("aria-busy");
  focus.map((part) => place.querySelector(part)).find(Boolean)?.focus({ preventScroll: true });
}

/** Where who uses the keyboard goes on after the page was drawn anew: at the same card, or at the top of its row. */
function focused() {
  const active = document.activeElement;
  const [item, row] = [active?.closest("[data-item]")?.dataset.item, active?.closest("[data-row]")?.dataset.row];
  if (active?.id) return [`#${active.id}`];
  return [item && `[data-item="${CSS.escape(item)}"] button`, row && `[data-row="${row}"] button`].filter(Boolean);
}

function heading(page, before, done, again) {
  return h(
    "section",
    { class: "page-head" },
    h(
      "div",
      null,
      h("h1", null, state.user),
      h("p", { class: "soft" }, `${page.basis} · answered in ${ms(page.took_ms)} ms · `, h("a", { href: "#/xray" }, "see how")),
      page.degraded.length ? h("p", { class: "warn-text" }, `Degraded: ${few(page.degraded)}`) : null,
    ),
    h("p", { class: "change", "aria-live": "polite", id: "change" }, before ? changed(page, before, done) : "\u00a0"),
    h("button", { class: "button", type: "button", id: "again", onclick: again }, "Rank again"),
  );
}

function few(entries, most = 2) {
  const rest = entries.length - most;
  return entries.slice(0, most).join("; ") + (rest > 0 ? ` and ${rest} more` : "");
}

function changed(page, before, done) {
  const [now, earlier] = [page, before].map((one) => (one.rows[0]?.items ?? []).map((item) => item.item_id));
  const moved = now.filter((item, place) => earlier[place] !== item).length;
  const fresh = now.filter((item) => !earlier.includes(item)).length;
  return `Ranked again because ${done}: ${moved} of ${now.length} places changed, ${fresh} new. What was shown and left alone sinks for a while.`;
}

function shelf(row, places, rank) {
  const id = `row-${row.key}`;
  return h(
    "section",
    { class: `shelf ${row.key === "for_you" ? "grid" : "line"}`, "aria-labelledby": id, "data-row": row.key },
    h("h2", { id }, row.title),
    h("ul", { class: "cards", tabindex: row.key === "for_you" ? null : "0", "aria-labelledby": id }, row.items.map((item) => card({ ...item, recommendation_id: row.recommendation_id }, places, rank, row.key === "because" ? row.recommendation_id : null))),
  );
}

/** `answer`: whose candidate it is, if not the first row's. */
function card(item, places, rank, answer) {
  const name = item.title ?? item.item_id;
  const hide = () => attempt(async () => {
    await sendEvent("hide", item);
    await rank(`you are not interested in “${name}”`);
  });
  const open = () => openPlayer(item, rank);
  return h(
    "li",
    { class: "card", "data-item": item.item_id },
    h(
      "button",
      { class: "card-open", type: "button", onclick: open },
      h("span", { class: "cover" }, cover(item), item.duration ? h("span", { class: "badge" }, length(item.duration)) : null, movement(item, places)),
      h("span", { class: "card-title" }, h("span", { class: "hidden-label" }, "Watch "), name),
    ),
    h(
      "div",
      { class: "card-foot" },
      h("p", { class: "card-meta" }, [item.categories.slice(0, 2).join(", "), age(item.published_at)].filter(Boolean).join(" · ") || "\u00a0"),
      h("a", { class: "icon-button small", href: xrayLink(item, answer), title: "Why this?", "aria-label": `Why ${name}?` }, icon("why", 16)),
      h("button", { class: "icon-button small", type: "button", title: "Not interested", "aria-label": `Not interested in ${name}`, onclick: hide }, icon("hide", 16)),
    ),
    h("p", { class: "card-why", title: item.reasons.join("; ") }, item.reasons[0] ?? "\u00a0"),
  );
}

function movement(item, places) {
  if (!places) return null;
  const was = places.get(item.item_id);
  if (was === undefined) return h("span", { class: "badge moved new" }, "new");
  if (was === item.position) return null;
  return h("span", { class: "badge moved" }, was > item.position ? `▲ ${was - item.position}` : `▼ ${item.position - was}`);
}

function lately(history) {
  return h(
    "section",
    { class: "lately" },
    h("h2", null, "Lately"),
    h(
      "ol",
      null,
      history.map((entry) =>
        h(
          "li",
          null,
          h("span", { class: "soft" }, past(entry.event), entry.value && entry.event === "watch" ? ` ${length(entry.value)} of` : ""),
          h("span", { class: "clip" }, entry.title ?? entry.item_id),
          h("span", { class: "soft number" }, ago(entry.at)),
        ),
      ),
    ),
  );
}

function skeleton() {
  const blank = () =>
    h(
      "li",
      { class: "card" },
      h("span", { class: "cover skeleton" }),
      h("span", { class: "card-title" }, h("span", { class: "skeleton text wide" }), h("span", { class: "skeleton text" })),
      h("div", { class: "card-foot" }, h("p", { class: "card-meta" }, h("span", { class: "skeleton text" }))),
      h("p", { class: "card-why" }, h("span", { class: "skeleton text wide" })),
    );
  const row = (kind) =>
    h("section", { class: `shelf ${kind}` }, h("h2", null, h("span", { class: "skeleton text" })), h("ul", { class: "cards" }, Array.from({ length: kind === "grid" ? 12 : 6 }, blank)));
  return [
    h("section", { class: "page-head" }, h("div", null, h("h1", null, state.user), h("p", { class: "soft" }, h("span", { class: "skeleton text wide" }))), h("p", { class: "change" }, "\u00a0")),
    h("div", { class: "hidden-label", role: "status" }, "The page is being ranked"),
    row("grid"),
    row("line"),
  ];
}
