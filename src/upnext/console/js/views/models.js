// The published model versions, what each is good for, and the way back to the one before.
import { get, post } from "../api.js";
import { h, put } from "../dom.js";
import { bytes, count, day } from "../format.js";
import { panel, table } from "../parts.js";
import { attempt, toast } from "../toast.js";

export async function modelsPanel(place, signal) {
  draw(place, await get("/v1/console/models", undefined, { signal }));
}

function draw(place, found) {
  const change = (path, body) => attempt(async () => {
    const after = await post(path, body);
    draw(place, after);
    toast(`${after.serving} serves now.`);
  });
  const figures = [...new Set(found.versions.flatMap((version) => Object.keys(version.metrics ?? {})))].filter((name) => name !== "score");
  const back = found.rollback_to;
  put(
    place,
    panel(
      "Model versions",
      null,
      found.versions.length
        ? table(
            "Model versions",
            [["Version", ""], ["", ""], ...figures.map((name) => [name, "right"]), ["Learned until", "right"], ["Events", "right"], ["Size", "right"], ["", "right"]],
            found.versions.map((version) => [
              h("code", null, version.version),
              version.version === found.serving ? h("span", { class: "tag good" }, "serving") : version.damaged ? h("span", { class: "tag bad" }, "damaged") : version.version === found.active ? h("span", { class: "tag accent" }, "loading") : "",
              ...figures.map((name) => version.metrics?.[name]?.toFixed(4) ?? "–"),
              day(version.until),
              count(version.events),
              version.bytes ? bytes(version.bytes) : "–",
              version.version === found.serving || version.damaged ? "" : h("button", { class: "button small-button", type: "button", onclick: () => change("/v1/console/models/activate", { version: version.version }) }, "Activate"),
            ]),
          )
        : h("p", { class: "soft" }, "No version is published yet: `upnext train` makes one. Popular and new items are shown until then."),
      h(
        "div",
        { class: "buttons panel-end" },
        h("button", { class: "button", type: "button", id: "rollback", disabled: !back, onclick: () => change("/v1/console/models/rollback", undefined) }, back ? `Roll back to ${back}` : "Roll back"),
        back ? null : h("p", { class: "soft small self-center" }, "No other version served before this one."),
      ),
    ),
  );
}
