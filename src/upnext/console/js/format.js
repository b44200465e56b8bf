// Numbers, times and names as people read them.

const whole = new Intl.NumberFormat("en");

export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));

/** Three or four digits that matter. */
export function figure(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1000) return whole.format(Math.round(value));
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size >= 1) return value.toFixed(2);
  if (size >= 0.1) return value.toFixed(3);
  if (size >= 0.0005) return value.toFixed(4);
  return value.toExponential(1);
}

export const signed = (value, write = figure) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${write(Math.abs(value))}`;

export function ms(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);

/** Seconds that were predicted: tenths are all that they are good for. */
export const seconds = (value) => (value === null || value === undefined ? "–" : `${value.toFixed(value >= 100 ? 0 : 1)} s`);

/** Seconds as a player shows them: 3:07, 1:02:07. */
export function length(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const total = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const two = (part) => String(part).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

const STEPS = [[60, "second"], [60, "minute"], [24, "hour"], [7, "day"], [4.35, "week"], [12, "month"], [Infinity, "year"]];

/** How long ago, in one unit. */
export function ago(then, now = Date.now()) {
  if (!then) return "";
  let size = Math.max((now - then) / 1000, 0);
  if (size < 5) return "just now";
  for (const [step, name] of STEPS) {
    if (size < step) return `${Math.floor(size)} ${name}${Math.floor(size) === 1 ? "" : "s"} ago`;
    size /= step;
  }
  return "";
}

const SHORT = [[60, "s"], [60, "min"], [24, "h"], [7, "d"], [4.35, "wk"], [12, "mo"], [Infinity, "y"]];

/** How old, as short as can be: 5 d. */
export function age(then, now = Date.now()) {
  if (!then) return "";
  let size = Math.max((now - then) / 1000, 0);
  for (const [step, name] of SHORT) {
    if (size < step) return `${Math.floor(size)} ${name}`;
    size /= step;
  }
  return "";
}

export function bytes(value) {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} GB`;
  return value >= 1e6 ? `${(value / 1e6).toFixed(1)} MB` : `${Math.round(value / 1e3)} kB`;
}

export const day = (moment) => (moment ? new Date(moment).toISOString().slice(0, 16).replace("T", " ") : "–");

/** A name from the configuration as words: because_you_watched -> because you watched. */
export const words = (name) => name.replaceAll("_", " ");

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** An event in the past tense. */
const PAST = { watch: "watched", click: "opened", like: "liked", share: "shared", hide: "hid", dislike: "disliked", long_view: "watched for long" };

export const past = (event) => PAST[event] ?? words(event);
