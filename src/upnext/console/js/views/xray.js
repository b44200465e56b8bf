// The funnel of the page just served, in numbers: sources, filters, stage times, candidates; and one item's path.
import { get } from "../api.js";
import { h, put } from "../dom.js";
import { ago, count, figure, ms, seconds, words } from "../format.js";
import { bar, blocks, itemBox, panel, table, xrayLink } from "../parts.js";
import { state } from "../state.js";
import { attempt } from "../toast.js";
import { chooseFirst } from "../who.js";
import { path } from "./path.js";

export const title = "X-ray";

export async function show(place, { parameters, signal }) {
  if (!state.user) return chooseFirst(place, "Whose page shall be looked through?");
  const answer = parameters.answer ?? state.pageId;
  put(place, head(null), h("div", { class: "two" }, blocks("19rem", "19rem")), blocks("24rem"));
  const asked = { user_id: state.user, recommendation_id: answer };
  const page = await get("/v1/console/xray", asked, { signal });

  const pathPlace = h("div", { id: "path", "aria-live": "polite" });
  const look = async (item) => {
    history.replaceState(null, "", xrayLink(item, parameters.answer));
    put(pathPlace, panel("One item", null, blocks("48rem")));
    const found = await attempt(async () => put(pathPlace, path(await get("/v1/console/xray/item", { ...asked, item_id: item.item_id }, { signal }), rowOf(item, answer))));
    if (!found) put(pathPlace);
    pathPlace.scrollIntoView({ block: "nearest" });
  };
  put(
    place,
    head(page, answer),
    stages(page),
    h("section", { class: "ask" }, h("h2", null, "What became of one item?"), itemBox("Any item", "Any item, by title or id: shown or not", look), pathPlace),
    h("div", { class: "two" }, h("div", { class: "stack" }, sources(page), filters(page), weights(page)), times(page)),
    h("div", { class: "tall-table" }, candidates(page, look)),
  );
  if (parameters.item) await look({ item_id: parameters.item });
}

/** The row that shows the item, if it is another than the one that is looked through. */
function rowOf(item, answer) {
  return state.page?.rows.find((row) => row.recommendation_id !== answer && row.items.some((one) => one.item_id === item.item_id)) ?? null;
}

/** The rows that are answers of their own: each has a funnel. */
function rows(answer) {
  if (state.answers.length < 2) return null;
  const link = ([title, id]) => h("li", null, h("a", { class: "chip clip", href: `#/xray?answer=${id}`, "aria-current": id === answer ? "true" : null }, title));
  return h("ul", { class: "chips rows", "aria-label": "Which row" }, state.answers.map(link));
}

function head(page, answer) {
  return h(
    "section",
    { class: "page-head" },
    h(
      "div",
      null,
      h("h1", null, `How ${state.user}’s page came about`),
      page
        ? h("p", { class: "soft" }, `Served ${ago(page.asked_at)} · ${page.basis} · ${ms(page.took_ms)} ms · model ${page.model_version ?? "none"}`)
        : h("p", { class: "soft" }, h("span", { class: "skeleton text wide" })),
      rows(answer ?? ""),
      page?.fresh ? h("p", { class: "soft small" }, "No served page is at hand: this one was made for the look, and nothing was logged.") : null,
      page?.degraded.length ? h("p", { class: "warn-text" }, `Degraded: ${page.degraded.join("; ")}`) : null,
    ),
  );
}

function stages(page) {
  const proposed = page.sources.reduce((sum, source) => sum + source.proposed, 0);
  const kept = page.merged - page.filters.reduce((sum, filter) => sum + filter.removed, 0);
  const steps = [
    ["Proposed", proposed, `by ${page.sources.filter((source) => source.proposed).length} sources`],
    ["Distinct", page.merged, `${count(proposed - page.merged)} were proposed twice`],
    ["Allowed", kept, `${count(page.merged - kept)} removed by filters`],
    ["Ranked", page.ranked, "by the model, on all features"],
    ["Shown", page.shown, "after diversity and exploration"],
  ];
  return h(
    "ol",
    { class: "funnel", "aria-label": "The funnel" },
    steps.map(([name, size, text]) =>
      h("li", { vars: { "--share": `${(100 * Math.max(Math.sqrt(size / Math.max(proposed, 1)), 0.05)).toFixed(1)}%` } }, h("span", { class: "soft small" }, name), h("strong", { class: "number", "data-step": name.toLowerCase() }, count(size)), h("span", { class: "funnel-bar", "aria-hidden": "true" }, h("span")), h("span", { class: "soft tiny" }, text)),
    ),
  );
}

function sources(page) {
  const most = Math.max(...page.sources.map((source) => source.quota), 1);
  return panel(
    "Sources",
    "How many each may propose, did, got ranked, and got onto the page.",
    table(
      "Sources",
      [["Source", ""], ["", "wide"], ["Proposed", "right"], ["Quota", "right"], ["Ranked", "right"], ["Shown", "right"], ["ms", "right"]],
      page.sources.map((source) => [
        h("span", null, words(source.source), source.error ? h("span", { class: "tag bad" }, source.error) : null),
        bar(source.proposed, most),
        h("span", { "data-proposed": source.source }, count(source.proposed)),
        count(source.quota),
        count(source.ranked),
        count(source.shown),
        ms(source.ms),
      ]),
    ),
  );
}

const REASONS = {
  available: "no longer available, or deleted",
  published: "not published yet",
  excluded: "named by the caller",
  blocked: "hidden by the user, or of a blocked author",
  in_categories: "not of the wanted categories",
  watched: "already watched",
};

function filters(page) {
  return panel(
    "Filters",
    "What was taken out, and why.",
    table(
      "Filters",
      [["Filter", ""], ["Because it is", "wrap"], ["Removed", "right"], ["ms", "right"]],
      page.filters.map((filter) => [words(filter.filter), h("span", { class: "soft" }, REASONS[filter.filter] ?? ""), h("span", { "data-removed": filter.filter }, count(filter.removed)), ms(filter.ms)]),
    ),
  );
}

function times(page) {
  const most = Math.max(...page.stages.map((stage) => stage.ms), 0.001);
  return panel(
    "Time by stage",
    `${ms(page.took_ms)} ms in all. Sources may run beside each other.`,
    table(
      "Time by stage",
      [["Stage", ""], ["", "wide"], ["In", "right"], ["Out", "right"], ["ms", "right"]],
      page.stages.map((stage) => [
        h("span", null, h("span", { class: "soft" }, `${stage.stage} `), words(stage.name), stage.error ? h("span", { class: "tag bad" }, stage.error) : null),
        bar(stage.ms, most),
        stage.rows_in ? count(stage.rows_in) : "",
        count(stage.rows_out),
        h("span", { "data-stage": `${stage.stage}/${stage.name}` }, ms(stage.ms)),
      ]),
    ),
  );
}

function weights(page) {
  return panel(
    "What a prediction is worth",
    page.choice_power
      ? `Value = the sum of weight × prediction, × choice to the power of ${page.choice_power}. Choice = how likely it is to be chosen, as a share of the likeliest candidate. Weights and power are dials.`
      : "Value = the sum of weight × prediction. The weights are dials.",
    table(
      "Weights",
      [["Task", ""], ["Weight", "right"]],
      Object.entries(page.weights).map(([task, weight]) => [words(task), figure(weight)]),
    ),
    h("p", null, h("a", { href: "#/dials" }, "Turn the dials")),
  );
}

function candidates(page, look) {
  const [scores, predictions] = ["scores", "predictions"].map((part) => [...new Set(page.candidates.flatMap((row) => Object.keys(row[part])))]);
  const held = page.choice_power > 0;
  const columns = [["Item", "sticky"], ["Shown", "right"], ["Place", "right"], ["Utility", "right"], ["Value", "right"], ...(held ? [["Choice", "right"]] : []), ...predictions.map((name) => [words(name), "right"]), ...scores.map((name) => [words(name), "right"])];
  return panel(
    "Candidates",
    `The best ${count(page.candidates.length)} of ${count(page.ranked)} by utility: the predictions of each task, and the scores of the sources that proposed it. Places count from 1.`,
    table(
      "Candidates",
      columns,
      page.candidates.map((row) => [
        h("button", { class: "row-button clip", type: "button", onclick: () => look(row) }, row.title ?? row.item_id),
        row.position === null ? "" : h("span", { class: "tag accent" }, row.position + 1),
        count(row.place + 1),
        figure(row.utility),
        figure(row.value),
        ...(held ? [figure(row.choice)] : []),
        ...predictions.map((name) => (name.startsWith("p_") ? figure : seconds)(row.predictions[name])),
        ...scores.map((name) => (name in row.scores ? figure(row.scores[name]) : h("span", { class: "soft" }, "·"))),
      ]),
      (at) => ({ class: page.candidates[at].position === null ? "" : "shown", "data-candidate": page.candidates[at].item_id }),
    ),
  );
}

