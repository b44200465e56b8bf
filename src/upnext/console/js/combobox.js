// A search field with a list of what was found: arrows, Enter, Escape, or the pointer.
import { freshId, h, later, put } from "./dom.js";

/**
 * `find(words, signal)` gives entries, `line(entry)` the children of one, `choose(entry)` is called with the chosen one.
 */
export function combobox({ label, placeholder, find, line, choose, clear = true, hideLabel = true }) {
  const [input, list, id] = [h("input"), h("ul"), freshId("box")];
  let [entries, active, running] = [[], -1, new AbortController()];
  Object.entries({
    type: "search", id, class: "input", placeholder, role: "combobox", autocomplete: "off", spellcheck: "false",
    "aria-expanded": "false", "aria-controls": `${id}-list`, "aria-autocomplete": "list",
  }).forEach(([name, value]) => input.setAttribute(name, value));
  Object.entries({ id: `${id}-list`, class: "options", role: "listbox", "aria-label": label, hidden: "" }).forEach(([name, value]) =>
    list.setAttribute(name, value),
  );

  const open = (shown) => {
    list.hidden = !shown;
    input.setAttribute("aria-expanded", String(shown));
    if (!shown) input.removeAttribute("aria-activedescendant");
  };
  const mark = (place) => {
    active = place;
    [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === place)));
    if (place >= 0) {
      input.setAttribute("aria-activedescendant", `${id}-${place}`);
      list.children[place].scrollIntoView({ block: "nearest" });
    }
  };
  const take = (entry) => {
    open(false);
    if (clear) input.value = "";
    choose(entry);
  };
  const fill = (found) => {
    entries = found;
    put(
      list,
      found.map((entry, place) =>
        h("li", { role: "option", id: `${id}-${place}`, "aria-selected": "false", onpointerdown: (event) => event.preventDefault(), onclick: () => take(entry) }, line(entry)),
      ),
      found.length ? null : h("li", { class: "nothing", role: "option", "aria-disabled": "true", "aria-selected": "false" }, "Nothing found"),
    );
    active = -1;
    open(true);
  };
  const look = async () => {
    running.abort();
    running = new AbortController();
    try {
      const found = await find(input.value.trim(), running.signal);
      if (document.activeElement === input) fill(found);
    } catch {
      open(false); // the banner, or the next letter, says more
    }
  };

  const soon = later(120, look);
  input.addEventListener("input", () => {
    running.abort(); // what was found for other letters must not be chosen
    entries = [];
    open(false);
    soon();
  });
  input.addEventListener("focus", look);
  input.addEventListener("blur", () => open(false));
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) look();
      else if (entries.length) mark((active + (event.key === "ArrowDown" ? 1 : -1) + entries.length + (active < 0 && event.key === "ArrowUp" ? 1 : 0)) % entries.length);
    } else if (event.key === "Enter" && !list.hidden && entries.length) {
      event.preventDefault();
      take(entries[Math.max(active, 0)]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      open(false);
    }
  });
  return h("div", { class: "combobox" }, h("label", { for: id, class: hideLabel ? "hidden-label" : "label" }, label), input, list);
}
