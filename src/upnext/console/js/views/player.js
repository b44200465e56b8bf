// A player that plays nothing, but sends what a real one would: opened, seconds watched, liked, shared, not interested.
import { h, put } from "../dom.js";
import { cover } from "../cover.js";
import { length } from "../format.js";
import { icon } from "../icons.js";
import { sendEvent } from "../state.js";
import { attempt } from "../toast.js";

const SPEED = 20; // seconds of the item a second here
const STEP_MS = 100;
const UNKNOWN = 600; // how long an item is taken to be whose length nobody knows

/** Opens it; when it is closed, `rank(why)` is called if anything was done. */
export function openPlayer(item, rank) {
  const name = item.title ?? item.item_id;
  const total = item.duration ?? UNKNOWN;
  let [seconds, timer, reason] = [0, null, `you opened “${name}”`];
  const opened = attempt(() => sendEvent("click", item));

  const bar = h("div", { class: "player-bar", role: "progressbar", "aria-label": "Watched", "aria-valuemin": "0", "aria-valuemax": Math.round(total), "aria-valuenow": "0" }, h("span", null));
  const clock = h("span", { class: "number" }, `0:00 / ${length(total)}`);
  const toggle = h("button", { class: "button primary", type: "button", onclick: () => play(timer === null) });
  const draw = () => {
    bar.firstChild.style.setProperty("width", `${(100 * seconds) / total}%`);
    bar.setAttribute("aria-valuenow", Math.round(seconds));
    put(clock, `${length(seconds)} / ${length(total)}`);
  };
  const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(() => watch((SPEED * STEP_MS) / 1000), STEP_MS) : null;
    put(toggle, icon(on ? "pause" : "play", 16), on ? "Pause" : "Play");
  };
  const watch = (more) => {
    seconds = Math.min(seconds + more, total);
    draw();
    if (seconds >= total) play(false);
  };
  const finish = () => {
    watch(total);
    dialog.close();
  };
  const act = (type, why, close) => async (event) => {
    const button = event.currentTarget;
    if (!(await attempt(() => sendEvent(type, item)))) return;
    reason = why;
    button.setAttribute("aria-pressed", "true");
    button.disabled = true;
    if (close) dialog.close();
  };

  const dialog = h(
    "dialog",
    { class: "dialog player", "aria-labelledby": "player-title" },
    h("div", { class: "player-screen" }, cover(item)),
    bar,
    h(
      "div",
      { class: "player-body" },
      h("div", { class: "player-line" }, h("h2", { id: "player-title" }, name), clock),
      h("p", { class: "soft" }, [item.author, item.categories.join(", ")].filter(Boolean).join(" · ")),
      item.reasons.length ? h("p", { class: "soft" }, `Why: ${item.reasons.join("; ")}`) : null,
      h(
        "div",
        { class: "buttons" },
        toggle,
        h("button", { class: "button", type: "button", onclick: finish }, icon("end", 16), "Watch to the end"),
        h("button", { class: "button", type: "button", onclick: act("like", `you liked “${name}”`) }, icon("like", 16), "Like"),
        h("button", { class: "button", type: "button", onclick: act("share", `you shared “${name}”`) }, icon("share", 16), "Share"),
        h("button", { class: "button", type: "button", onclick: act("hide", `you are not interested in “${name}”`, true) }, icon("hide", 16), "Not interested"),
        h("button", { class: "button quiet", type: "button", onclick: () => dialog.close() }, "Close"),
      ),
      h("p", { class: "soft small" }, `A second here is ${SPEED} seconds of the item. Everything is sent as an event.`),
    ),
  );
  dialog.addEventListener("close", async () => {
    play(false);
    dialog.remove();
    await opened;
    const watched = Math.round(seconds);
    if (watched >= 1) {
      await attempt(() => sendEvent("watch", item, { value: watched }));
      if (reason.startsWith("you opened")) reason = `you watched ${length(watched)} of “${name}”`;
    }
    await rank(reason);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  draw();
  play(false);
  document.body.append(dialog);
  dialog.showModal();
  toggle.focus();
}
