// Whose page is looked at: the button in the header, and the dialog behind it.
import { get } from "./api.js";
import { combobox } from "./combobox.js";
import { h, put } from "./dom.js";
import { count } from "./format.js";
import { newUser, onUser, setUser, state } from "./state.js";

const some = async (words, signal) => (await get("/v1/console/users", { q: words }, { signal })).users;

const line = (user) => [h("span", null, user.user_id), h("span", { class: "soft number" }, user.events ? `${count(user.events)} events` : "no history")];

/** The search for a user. */
export function userBox(chosen) {
  return combobox({
    label: "Find a user",
    placeholder: "Find a user by id",
    find: some,
    line,
    choose: (user) => {
      setUser(user.user_id);
      chosen?.();
    },
  });
}

export function startButton(chosen, kind = "button") {
  const start = () => {
    setUser(newUser());
    chosen?.();
  };
  return h("button", { class: kind, type: "button", onclick: start }, "Start as somebody new");
}

export function whoButton(place) {
  const draw = () => {
    const name = state.user ?? "Choose a user";
    put(
      place,
      h(
        "button",
        { class: "who", type: "button", onclick: openDialog, "aria-haspopup": "dialog", title: "Look as somebody else" },
        h("span", { class: "who-face", "aria-hidden": "true" }, state.user ? state.user.charAt(0).toUpperCase() : "?"),
        h("span", { class: "who-name" }, h("span", { class: "hidden-label" }, "Looking as "), name),
      ),
    );
  };
  onUser(draw);
  draw();
}

export function openDialog() {
  const close = () => dialog.close();
  const dialog = h(
    "dialog",
    { class: "dialog narrow tall", "aria-labelledby": "who-title" },
    h(
      "div",
      { class: "form" },
      h("h2", { id: "who-title" }, "Whose page?"),
      userBox(close),
      h("div", { class: "buttons" }, startButton(close), h("button", { class: "button quiet", type: "button", onclick: close }, "Cancel")),
    ),
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    document.querySelector(".who").focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}

/** What a view shows that needs a user when there is none. */
export function chooseFirst(place, what) {
  const chips = h("ul", { class: "chips", "aria-label": "Some users" }, [1, 2, 3, 4, 5, 6].map(() => h("li", null, h("span", { class: "chip skeleton" }, "\u00a0"))));
  put(
    place,
    h(
      "section",
      { class: "welcome" },
      h("h1", null, what ?? "Watch a recommender decide"),
      h("p", { class: "soft lead" }, "Choose somebody, see their home page, and watch it change with everything they do."),
      h("div", { class: "welcome-row" }, userBox(), startButton(null, "button primary")),
      chips,
    ),
  );
  return some("").then((users) =>
    put(
      chips,
      users.slice(0, 6).map((user) =>
        h(
          "li",
          null,
          h("button", { class: "chip", type: "button", onclick: () => setUser(user.user_id) }, user.user_id, h("span", { class: "soft number" }, ` ${user.events}`), h("span", { class: "hidden-label" }, " events")),
        ),
      ),
    ),
  );
}
