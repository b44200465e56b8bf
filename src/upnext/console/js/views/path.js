// One item's whole path: proposed by, features that mattered, predictions, value, what the re-ranker did, and the end.
import { h } from "../dom.js";
import { count, figure, percent, seconds, signed, words } from "../format.js";
import { about, bar, table, xrayLink } from "../parts.js";
import { cover } from "../cover.js";

/** `row` is the other row in which the page shows it. */
export function path(found, row) {
  const [kind, sentence] = outcome(found);
  return h(
    "section",
    { class: "panel path", "aria-label": "The path of one item" },
    h(
      "div",
      { class: "path-head" },
      h("span", { class: "cover" }, cover(found.card)),
      h("div", null, h("h2", null, found.card.title ?? found.card.item_id), h("p", { class: "soft small" }, about(found.card)), h("p", { class: "path-outcome" }, h("span", { class: `tag ${kind}`, id: "outcome", "data-stage": found.stage }, sentence)), row ? elsewhere(found.card, row) : null),
    ),
    h("ol", { class: "steps" }, [proposals(found), filtered(found), predicted(found), mattered(found), valued(found), reranked(found)].filter(Boolean)),
  );
}

function elsewhere(item, row) {
  const own = ["for_you", "because"].includes(row.key);
  return h(
    "p",
    { class: "soft small" },
    `The page shows it in “${row.title}”`,
    own ? [", which is an answer of its own: ", h("a", { href: xrayLink(item, row.recommendation_id) }, "its path there"), "."] : ": what one source has left among the candidates of “For you”.",
  );
}

function outcome(found) {
  if (found.stage === "shown") return ["good", `Shown at place ${found.position + 1} of ${found.shown}`];
  if (found.stage === "reranking") return ["", `Fell out at the end: place ${count(found.place_before_reranking + 1)} of ${count(found.considered)} by utility, and ${found.shown} are shown`];
  if (found.removed_by) return ["bad", `Fell out at the filters: “${words(found.removed_by)}” removed it`];
  return ["bad", "Fell out at the start: no source proposed it within its quota"];
}

const step = (name, kind, ...children) => h("li", { class: `step ${kind}` }, h("h3", null, name), children);

function proposals(found) {
  const fit = Object.entries(found.fit ?? {}).filter(([name]) => !found.sources.some((source) => source.source === name));
  const others = fit.length
    ? h("p", { class: "soft small" }, "How well it fits by the others: ", fit.map(([name, score]) => `${words(name)} ${figure(score)}`).join(", "), ".")
    : null;
  if (!found.sources.length) return step("Proposed by nobody", "out", others);
  return step(
    `Proposed by ${found.sources.length === 1 ? "one source" : `${found.sources.length} sources`}`,
    "done",
    table(
      "Sources",
      [["Source", ""], ["Score", "right"], ["Its place", "right"], ["Of", "right"]],
      found.sources.map((source) => [words(source.source), figure(source.score), count(source.rank + 1), count(source.proposed)]),
    ),
    others,
  );
}

function filtered(found) {
  if (!found.sources.length) return null;
  return found.removed_by ? step(`Removed by the filter “${words(found.removed_by)}”`, "out") : step("Passed all filters", "done");
}

function predicted(found) {
  const would = found.had_it_been_ranked;
  const predictions = Object.entries(found.predictions ?? would?.predictions ?? {});
  if (!predictions.length) return null;
  const shown = (name, value) => (name.startsWith("p_") ? percent(value, 2) : seconds(value));
  return step(
    found.predictions ? "Predicted" : "Had it been ranked, it would have been predicted",
    found.predictions ? "done" : "maybe",
    h("dl", { class: "facts" }, predictions.map(([name, value]) => h("div", null, h("dt", null, words(name.replace(/^p_/, ""))), h("dd", { class: "number" }, shown(name, value))))),
    would ? h("p", { class: "soft small" }, `That would be place ${count(would.place + 1)} among those that were ranked.`) : null,
  );
}

function mattered(found) {
  if (!found.features.length) return null;
  const most = Math.max(...found.features.map((feature) => Math.abs(feature.effect)));
  return step(
    "Features that mattered",
    "done",
    h("p", { class: "soft small" }, "By how much its value differs from what it would be, were the feature that of the page’s median candidate."),
    table(
      "Features that mattered",
      [["Feature", ""], ["This item", "right"], ["Median", "right"], ["", "wide"], ["Value", "right"]],
      found.features.map((feature) => [
        words(feature.feature),
        figure(feature.value),
        figure(feature.usual),
        h("span", { class: feature.effect < 0 ? "against" : "" }, bar(Math.abs(feature.effect), most)),
        h("span", { class: feature.effect < 0 ? "bad-text" : "good-text" }, signed(feature.effect)),
      ]),
    ),
  );
}

function valued(found) {
  if (!found.value_parts.length) return null;
  const { held } = found;
  const total = found.value ?? found.had_it_been_ranked?.value;
  return step(
    "Value",
    found.predictions ? "done" : "maybe",
    h(
      "p",
      { class: "sum number", id: "sum" },
      found.value_parts
        .filter((part) => part.weight)
        .map((part, at) => [at ? " + " : "", h("span", { class: "term" }, h("span", { class: "soft tiny" }, words(part.task)), ` ${figure(part.weight)} × ${figure(part.prediction)}`)]),
      " = ",
      h("strong", null, figure(held ? held.sum : total)),
    ),
    held ? choice(held, total) : null,
  );
}

/** What the weighted sum is multiplied by. */
function choice(held, total) {
  return [
    h(
      "p",
      { class: "sum number", id: "held" },
      h("span", { class: "term" }, h("span", { class: "soft tiny" }, "weighted sum"), ` ${figure(held.sum)}`),
      " × ",
      h("span", { class: "term" }, h("span", { class: "soft tiny" }, "choice"), ` ${figure(held.factor)}`),
      " = ",
      h("strong", null, figure(total)),
    ),
    h(
      "p",
      { class: "soft small" },
      `Choice = ${figure(held.choice)}, to the power of ${held.power} (a dial): ${figure(held.factor)}. The candidate that this user is likeliest to choose has 1, and this one would be chosen ${figure(held.choice)} times as often: a share, not the probability of a task.`,
    ),
  ];
}

function reranked(found) {
  if (found.utility === undefined || found.utility === null) return null;
  const boosts = Object.entries(found.boosts).filter(([, share]) => Math.abs(share) >= 0.0005);
  const before = found.place_before_reranking;
  const moved = found.position === null ? null : before - found.position;
  const drawn = found.propensity !== undefined && found.propensity < 1;
  const lines = [
    boosts.length
      ? `${boosts.map(([name, share]) => `${words(name)} ${signed(100 * share, (value) => value.toFixed(1))} %`).join(", ")}: utility ${figure(found.utility)}`
      : `no boost applied: utility ${figure(found.utility)}`,
    `place ${count(before + 1)} of ${count(found.considered)} by utility`,
    moved === null ? "not among those chosen for the page" : moved === 0 ? "diversity left it where it was" : `diversity and exploration moved it ${moved > 0 ? "up" : "down"} by ${Math.abs(moved)}`,
    drawn ? `drawn to explore, with a chance of ${percent(found.propensity)}` : null,
  ];
  return step("Re-ranked", found.position === null ? "out" : "done", h("ul", { class: "plain-list" }, lines.filter(Boolean).map((line) => h("li", null, line))));
}
