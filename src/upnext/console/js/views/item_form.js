// The form of a new item. Errors stand at the field that the server names.
import { putTo } from "../api.js";
import { h, put } from "../dom.js";

const FIELDS = [
  ["title", "Title", { required: true, maxlength: 300 }, "The models read it as words."],
  ["categories", "Genres", { placeholder: "Travel, Cooking" }, "Separated by commas, the main one first."],
  ["author", "Author", {}, "Channel, artist, publisher…"],
  ["duration", "Length in seconds", { type: "number", min: 1, step: 1, inputmode: "numeric" }, null],
  ["item_id", "Id", { placeholder: "made from the title" }, "Your name for it; an id that exists is replaced."],
];

export function itemForm(added, cancel) {
  const inputs = {};
  const general = h("p", { class: "field-error", role: "alert" });
  const errors = {};
  const fields = FIELDS.map(([name, label, properties, about]) => {
    inputs[name] = h("input", { type: "text", class: "input", id: `item-${name}`, autocomplete: "off", "aria-describedby": `item-${name}-about`, ...properties });
    errors[name] = h("span", { class: "field-error", role: "alert" });
    return h("div", { class: "field" }, h("label", { for: `item-${name}` }, label), inputs[name], h("span", { class: "soft tiny", id: `item-${name}-about` }, about ?? ""), errors[name]);
  });
  const submit = async (event) => {
    event.preventDefault();
    for (const place of [general, ...Object.values(errors)]) put(place);
    const id = inputs.item_id.value.trim() || idOf(inputs.title.value);
    try {
      await putTo(`/v1/items/${encodeURIComponent(id)}`, content(inputs));
      added(id);
    } catch (error) {
      put(errors[error.field?.split(".")[0]] ?? general, error.message);
    }
  };
  return h(
    "form",
    { class: "panel form", onsubmit: submit, "aria-labelledby": "form-title" },
    h("h2", { id: "form-title" }, "A new item"),
    fields,
    general,
    h("div", { class: "buttons" }, h("button", { class: "button primary", id: "item-save" }, "Add it"), h("button", { class: "button quiet", type: "button", onclick: cancel }, "Cancel")),
  );
}

function content(inputs) {
  const text = (name) => inputs[name].value.trim() || null;
  const categories = (text("categories") ?? "").split(",").map((one) => one.trim()).filter(Boolean);
  return {
    title: text("title"),
    author: text("author"),
    categories,
    duration: inputs.duration.value ? Number(inputs.duration.value) : null,
    published_at: Date.now(),
  };
}

/** "A day out" -> "a-day-out-3f2c": ids of different items with one title differ. */
function idOf(title) {
  const stem = title.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "").replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 40) || "item";
  return `${stem}-${crypto.getRandomValues(new Uint16Array(1))[0].toString(16).padStart(4, "0")}`;
}
