// Small pieces that several views show: bars, tables, items in a line, the search for an item.
import { get } from "./api.js";
import { combobox } from "./combobox.js";
import { cover } from "./cover.js";
import { h } from "./dom.js";
import { length } from "./format.js";

/** A bar from 0 to `most`; it says nothing to who cannot see it: the number stands beside it. */
export function bar(value, most) {
  const share = most > 0 ? Math.max(0, Math.min(1, value / most)) : 0;
  return h("span", { class: "bar", "aria-hidden": "true" }, h("span", { vars: { "--share": `${(100 * share).toFixed(2)}%` } }));
}

/** A table that scrolls inside itself. `columns` are [name, "right" | "wide" | ""]; rows are lists of cells. */
export function table(label, columns, rows, row = () => null) {
  return h(
    "div",
    { class: "table-scroll", tabindex: "0", role: "region", "aria-label": label },
    h(
      "table",
      null,
      h("thead", null, h("tr", null, columns.map(([name, kind]) => h("th", { class: kind, scope: "col" }, name)))),
      h(
        "tbody",
        null,
        rows.map((cells, at) =>
          h("tr", row(at), cells.map((cell, place) => (place ? h("td", { class: columns[place][1] }, cell) : h("th", { class: columns[0][1], scope: "row" }, cell)))),
        ),
      ),
    ),
  );
}

/** An item in one line: its cover, its title, and a word more. */
export function itemLine(item, more, link) {
  const name = item.title ?? item.item_id;
  return h(
    "span",
    { class: "item-line" },
    h("span", { class: "cover thumb" }, cover(item)),
    h("span", { class: "item-words" }, link ? h("a", { href: link, class: "clip plain-link" }, name) : h("span", { class: "clip" }, name), h("span", { class: "clip soft tiny" }, more ?? about(item))),
  );
}

export const about = (item) => [item.categories.slice(0, 2).join(", "), length(item.duration), item.item_id].filter(Boolean).join(" · ");

/** The search for an item by title or id. */
export function itemBox(label, placeholder, choose, clear = true) {
  return combobox({
    label,
    placeholder,
    clear,
    choose,
    find: async (words, signal) => (await get("/v1/console/items", { q: words, n: 12 }, { signal })).items,
    line: (item) => itemLine(item),
  });
}

/** Why this item? Of the first row's answer, or of the `answer` that has this id. */
export const xrayLink = (item, answer) => `#/xray?${new URLSearchParams({ item: item.item_id, ...(answer ? { answer } : {}) })}`;

export function blocks(...heights) {
  return heights.map((height) => h("span", { class: "skeleton block", vars: { "--height": height } }));
}

export function panel(name, about_, ...children) {
  return h("section", { class: "panel", "aria-label": name }, h("h2", null, name), about_ ? h("p", { class: "soft" }, about_) : null, children);
}
