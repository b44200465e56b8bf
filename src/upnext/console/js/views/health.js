// How the server is: the last minute, stage by stage, the index, the log, the model versions, the training report.
import { get } from "../api.js";
import { h, put, s } from "../dom.js";
import { count, figure, ms, percent, words } from "../format.js";
import { bar, blocks, panel, table } from "../parts.js";
import { modelsPanel } from "./models.js";

export const title = "Health";

const EVERY_MS = 2000;

export async function show(place, { signal }) {
  const now = h("div", { class: "stack" }, h("div", { class: "tiles" }, blocks(...Array.from({ length: 8 }, () => "5.5rem"))), blocks("26rem"));
  const models = h("div", null, blocks("12rem"));
  const report = h("div", null, blocks("8rem"));
  put(place, h("section", { class: "page-head" }, h("div", null, h("h1", null, "Health"), h("p", { class: "soft" }, "The last minute of this process, without what this console asks about it."))), now, models, report);
  const [health] = await Promise.all([get("/v1/console/health", undefined, { signal }), modelsPanel(models, signal), embed(report, signal)]);
  put(now, numbers(health));
  const timer = setInterval(async () => {
    if (document.hidden) return;
    try {
      update(now, await get("/v1/console/health", undefined, { signal }));
    } catch {
      // the banner says it; the next round may succeed
    }
  }, EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Draws anew, and leaves the focus and the scrolled tables where they were. */
function update(now, health) {
  const scrolled = [...now.querySelectorAll(".table-scroll")].map((one) => one.scrollLeft);
  const focused = [...now.querySelectorAll("[tabindex]")].indexOf(document.activeElement);
  put(now, numbers(health));
  now.querySelectorAll(".table-scroll").forEach((one, at) => (one.scrollLeft = scrolled[at] ?? 0));
  if (focused >= 0) now.querySelectorAll("[tabindex]")[focused]?.focus({ preventScroll: true });
}

function numbers(health) {
  const recent = health.recent;
  const index = health.index;
  return [
    h(
      "dl",
      { class: "tiles", id: "tiles" },
      tile("Requests a second", recent.per_second.toFixed(2), spark(recent.by_second)),
      tile("An answer, median", `${ms(recent.answers.p50)} ms`, h("span", { class: "soft tiny number" }, `p95 ${ms(recent.answers.p95)}, p99 ${ms(recent.answers.p99)}`)),
      tile("Failed, degraded", `${count(recent.errors)}, ${count(recent.degraded)}`, h("span", { class: "soft tiny" }, `of ${count(recent.requests)} requests and ${count(recent.answers.count)} answers`)),
      tile("Log offset", health.log_offset < 0 ? "empty" : count(health.log_offset), h("span", { class: health.lag ? "warn-text tiny" : "good-text tiny" }, health.lag ? `${count(health.lag)} events behind` : "not behind")),
      tile("Items", count(health.items), h("span", { class: "soft tiny number" }, `${count(health.users)} users`)),
      tile("Item index", index ? count(index.static) : "none", h("span", { class: "soft tiny number" }, index ? `+ ${count(index.dynamic)} new, ${count(index.tombstones)} dead` : "no two-tower model")),
      tile("Index recall", index?.recall === null || index?.recall === undefined ? "–" : percent(index.recall), h("span", { class: "soft tiny" }, "of the exact nearest 100, measured live")),
      tile("Model", h("span", { class: "tile-model" }, health.model_version ?? "none"), h("span", { class: health.degraded.length ? "warn-text tiny" : "soft tiny" }, health.degraded[0] ?? "serving")),
    ),
    stages(recent),
    recent.routes.length ? routes(recent) : null,
  ];
}

function tile(name, value, more) {
  return h("div", { class: "tile" }, h("dt", null, name), h("dd", null, h("span", { class: "tile-value number" }, value), more));
}

function spark(values) {
  const most = Math.max(...values, 1);
  const points = values.map((value, at) => `${(at * 120) / (values.length - 1)},${22 - (20 * value) / most}`).join(" ");
  return s("svg", { viewBox: "0 0 120 24", class: "spark", role: "img", "aria-label": `The last minute, at most ${most} in a second`, preserveAspectRatio: "none" }, s("polyline", { points, fill: "none", stroke: "currentColor", "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }));
}

function stages(recent) {
  if (!recent.stages.length) return panel("Time by stage", null, h("p", { class: "soft" }, "Nobody asked for anything in the last minute. ", h("a", { href: "#/watch" }, "Watch as someone"), " and come back."));
  const most = Math.max(...recent.stages.map((stage) => stage.p95));
  return panel(
    "Time by stage",
    `${count(recent.answers.count)} answers in the last ${recent.span_s} seconds; milliseconds.`,
    table(
      "Time by stage",
      [["Stage", ""], ["p95", "wide"], ["p50", "right"], ["p95", "right"], ["p99", "right"], ["Times", "right"]],
      recent.stages.map((stage) => [h("span", null, h("span", { class: "soft" }, `${stage.stage} `), words(stage.name)), bar(stage.p95, most), ms(stage.p50), ms(stage.p95), ms(stage.p99), count(stage.count)]),
    ),
  );
}

function routes(recent) {
  return panel(
    "Time by endpoint",
    "From the arrival of a request to the end of its answer; milliseconds.",
    table("Time by endpoint", [["Endpoint", ""], ["p50", "right"], ["p95", "right"], ["p99", "right"], ["Times", "right"]], recent.routes.map((route) => [route.route, ms(route.p50), ms(route.p95), ms(route.p99), count(route.count)])),
  );
}

async function embed(place, signal) {
  const { url, made_at } = await get("/v1/console/report", undefined, { signal });
  if (!url) return put(place, panel("Report", null, h("p", { class: "soft" }, "There is none yet: `upnext evaluate` writes one.")));
  const made = new Date(made_at).toISOString().slice(0, 16).replace("T", " ");
  put(place, panel("Report", `How good the models are, measured ${made} UTC.`, h("iframe", { class: "report", src: url, title: "Report of the last evaluation", sandbox: "", loading: "lazy" })));
}
