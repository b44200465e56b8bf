// The dials: what the slate would be under other weights, beside what it is now; saving them, and undoing that.
import { get, post, putTo } from "../api.js";
import { freshId, h, later, put } from "../dom.js";
import { count, figure, signed, words } from "../format.js";
import { blocks, itemLine, table, xrayLink } from "../parts.js";
import { forgetPage, servePage, state } from "../state.js";
import { attempt, toast } from "../toast.js";
import { chooseFirst } from "../who.js";

export const title = "Dials";

const ABOUT = {
  choice_power: "how much value is held to what people choose: 0 = not at all",
  diversity: "0 = by value alone, 1 = as different as can be",
  freshness: "extra value of an item published this moment",
  exploration: "share of places for new items that are owed impressions",
};

const NO_CHOICES = "without effect here: the log that the model learned from has no impressions";

export async function show(place, { signal }) {
  if (!state.user) return chooseFirst(place, "Whose page shall the dials be tried on?");
  put(place, heading(), h("div", { class: "dial-layout" }, h("div", { class: "panel" }, blocks("26rem")), h("div", { class: "stack" }, blocks("12rem", "30rem"))));
  if (!state.pageId) await servePage({ signal });
  const standing = await get("/v1/console/dials", undefined, { signal });
  draw(place, standing, signal);
}

const heading = () => h("section", { class: "page-head" }, h("div", null, h("h1", null, "Dials"), h("p", { class: "soft" }, `What a weight does to ${state.user}’s page, before anybody sees it.`)));

const ofValue = (name) => name.startsWith("weights.") || name === "choice_power";

function draw(place, standing, signal) {
  let saved = standing.dials;
  const turned = {};
  const outcome = h("div", { class: "stack", "aria-live": "polite" });
  const buttons = h("div", { class: "buttons" });
  let running = new AbortController();

  const compare = async () => {
    if (!standing.model) return void put(outcome, h("section", { class: "panel" }, h("h2", null, "Nothing to weigh yet"), h("p", { class: "soft" }, "No model is published: `upnext train` makes one. The dials can be saved all the same.")));
    running.abort();
    running = new AbortController();
    const body = { user_id: state.user, recommendation_id: state.pageId, dials: turned };
    try {
      put(outcome, comparison(await post("/v1/console/dials/preview", body, { signal: AbortSignal.any([signal, running.signal]) })));
    } catch (error) {
      if (error.name !== "AbortError") put(outcome, h("p", { class: "panel bad-text", role: "alert" }, error.message));
    }
  };
  const soon = later(90, compare);
  const turn = (name, value) => {
    if (value === saved[name]) delete turned[name];
    else turned[name] = value;
    control();
    soon();
  };
  const settle = async (work, words_) => {
    if (!(await attempt(work))) return;
    forgetPage();
    toast(words_);
    draw(place, { ...standing, dials: saved, undo: standing.undo }, signal);
    (place.querySelector("#undo:enabled") ?? place.querySelector("[data-dial]")).focus({ preventScroll: true });
  };
  const save = () =>
    settle(async () => {
      const answer = await putTo("/v1/console/dials", { dials: turned });
      [saved, standing.undo] = [answer.dials, answer.undo];
      answer.notes.forEach((note) => toast(note, "bad"));
    }, "Saved in upnext.toml. The server answers by it from now on.");
  const undo = () =>
    settle(async () => {
      const answer = await post("/v1/console/dials/undo");
      [saved, standing.undo] = [answer.dials, answer.undo];
    }, "The last saving was undone.");
  const control = () => {
    const any = Object.keys(turned).length > 0;
    put(
      buttons,
      h("button", { class: "button primary", type: "button", id: "save", disabled: !any, onclick: save }, "Save"),
      h("button", { class: "button", type: "button", disabled: !any, onclick: () => draw(place, { ...standing, dials: saved }, signal) }, "Reset"),
      h("button", { class: "button", type: "button", id: "undo", disabled: !standing.undo, onclick: undo }, "Undo last save"),
    );
  };
  const group = (name, names) => h("fieldset", { class: "dial-group" }, h("legend", null, name), names.map((one) => dial(one, saved[one], turn, one === "choice_power" && standing.model && !standing.choices ? NO_CHOICES : ABOUT[one])));
  const all = Object.keys(saved);
  put(
    place,
    heading(),
    h(
      "div",
      { class: "dial-layout" },
      h(
        "section",
        { class: "panel dial-panel", "aria-label": "The dials" },
        group("What a prediction is worth", all.filter(ofValue)),
        group("The page as a whole", all.filter((name) => !ofValue(name))),
        buttons,
        h("p", { class: "soft small" }, "Saving writes upnext.toml, and every process of the server follows. Nothing is trained again."),
      ),
      outcome,
    ),
  );
  put(outcome, blocks("12rem", "30rem"));
  control();
  compare();
}

function dial(name, value, turn, about) {
  const id = freshId("dial");
  const weight = name.startsWith("weights.");
  const most = weight ? Math.max(2.5 * value, value ? 0 : 1) : 1;
  const step = most > 4 ? 0.1 : most > 0.2 ? 0.01 : 0.001;
  const task = name.replace("weights.", "");
  const slider = h("input", { type: "range", id, min: 0, max: most, step, value, "data-dial": name });
  const field = h("input", { type: "number", class: "input dial-number", "aria-label": `${words(task)}, as a number`, min: 0, max: weight ? 1000 : 1, step: "any", value });
  slider.addEventListener("input", () => {
    field.value = slider.value;
    turn(name, Number(slider.value));
  });
  field.addEventListener("input", () => {
    if (field.value === "" || !field.checkValidity()) return;
    slider.value = field.value;
    turn(name, Number(field.value));
  });
  return h(
    "div",
    { class: "dial" },
    h("label", { for: id }, words(task), weight ? (task === "watch" ? h("span", { class: "soft tiny" }, " a second") : null) : h("span", { class: "soft tiny dial-about" }, about ?? "")),
    field,
    slider,
  );
}

const EXPECTED = { click: "clicks", like: "likes", share: "shares", long_view: "long views", "watch minutes": "minutes watched", diversity: "diversity, 0 to 1", "median age days": "median age, days", explored: "explored places" };

function comparison(found) {
  const [now, then] = [found.now.expected, found.then.expected];
  return [
    h(
      "section",
      { class: "panel", "aria-label": "What is expected" },
      h("h2", null, "Expected of the page"),
      h("p", { class: "soft" }, "The model’s own predictions, summed as if every item were looked at."),
      table(
        "Expected of the page",
        [["", ""], ["Now", "right"], ["Then", "right"], ["Change", "right"]],
        Object.keys(now).map((name) => [EXPECTED[name] ?? words(name), figure(now[name]), figure(then[name]), change(now[name], then[name], !NEUTRAL.has(name))]),
      ),
    ),
    h(
      "section",
      { class: "panel", "aria-label": "Both slates" },
      h("h2", { id: "moves" }, found.moved || found.entered ? `${count(found.moved)} moved, ${count(found.entered)} came in` : "The same page"),
      h("div", { class: "slates" }, slate("Now", found.now.items, "now"), slate("With these dials", found.then.items, "then", true)),
    ),
  ];
}

const NEUTRAL = new Set(["median age days", "explored"]); // more of it is neither better nor worse

function change(now, then, good) {
  if (now === null || then === null || Math.abs(then - now) < 1e-6) return h("span", { class: "soft" }, "–");
  const percent = now ? (100 * (then - now)) / Math.abs(now) : null;
  const rounded = Math.abs(percent) < 0.5 ? "under 1" : signed(percent, (value) => value.toFixed(0));
  const share = percent === null ? null : h("span", { class: "change-share" }, ` (${rounded} %)`);
  return h("span", { class: good ? (then > now ? "good-text" : "bad-text") : "" }, signed(then - now), share);
}

function slate(name, items, key, marks = false) {
  return h(
    "div",
    null,
    h("h3", null, name),
    h(
      "ol",
      { class: "slate", "data-slate": key },
      items.map((item) => h("li", { "data-item": item.item_id }, h("span", { class: "slate-place number soft" }, item.position + 1), itemLine(item, null, xrayLink(item)), marks ? moved(item) : null)),
    ),
  );
}

function moved(item) {
  if (item.explored) return h("span", { class: "tag accent" }, "explored");
  if (item.was === null) return h("span", { class: "tag good" }, "new");
  if (item.was === item.position) return h("span", { class: "soft tiny" }, "–");
  const up = item.was > item.position;
  return h("span", { class: "tag number" }, `${up ? "▲" : "▼"} ${Math.abs(item.was - item.position)}`, h("span", { class: "hidden-label" }, up ? " up" : " down"));
}
