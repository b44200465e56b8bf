// A cover for every item, drawn from its id: the hue is its main category's, so that kinds of items can be told apart.
import { s } from "./dom.js";

/** A number from 0 to 2^32 that is always the same for a text (FNV-1a, then mixed). */
export function hash(text) {
  let value = 2166136261;
  for (let place = 0; place < text.length; place += 1) value = Math.imul(value ^ text.charCodeAt(place), 16777619);
  value = Math.imul(value ^ (value >>> 15), 2246822507);
  return (value ^ (value >>> 13)) >>> 0;
}

export function cover(item) {
  const kind = item.categories[0] ?? item.item_id;
  const seed = hash(item.item_id);
  const hue = (hash(kind) % 360) + (seed % 57) - 28;
  const draw = FIGURES[(seed >>> 6) % FIGURES.length];
  const lean = 30 + ((seed >>> 10) % 30);
  return s(
    "svg",
    { viewBox: "0 0 160 90", class: "cover-art", preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true" },
    s("rect", { width: 160, height: 90, fill: `hsl(${hue} ${32 + (seed >>> 17) % 14}% ${32 + (seed >>> 21) % 12}%)` }),
    s("path", { d: `M0 90V${lean}Q80 ${lean + 40} 160 ${90 - lean}V90z`, fill: `hsl(${hue + 24} 42% 28%)` }),
    draw(seed, hue),
  );
}

const light = (hue, by = 60, alpha = 0.5) => `hsl(${hue} 60% ${by}% / ${alpha})`;
const part = (seed, shift, size) => (seed >>> shift) % size;

const FIGURES = [
  (seed, hue) => {
    const [x, y] = [30 + part(seed, 3, 100), 20 + part(seed, 11, 50)];
    return [34, 22, 11].map((r, place) => s("circle", { cx: x, cy: y, r, fill: light(hue - 20 * place, 55 + 10 * place, 0.45) }));
  },
  (seed, hue) =>
    [0, 1, 2, 3, 4].map((place) =>
      s("rect", { x: 14 + 28 * place, y: 70 - part(seed, place * 4, 48), width: 15, height: 90, rx: 7.5, fill: light(hue + 12 * place, 62, 0.5) }),
    ),
  (seed, hue) => {
    const x = 20 + part(seed, 5, 60);
    return [
      s("path", { d: `M${x - 40} 90 L${x + 20} ${24 + part(seed, 9, 20)} L${x + 80} 90z`, fill: light(hue, 58, 0.5) }),
      s("path", { d: `M${x + 20} 90 L${x + 66} ${40 + part(seed, 14, 16)} L${x + 120} 90z`, fill: light(hue + 30, 66, 0.4) }),
      s("circle", { cx: 160 - x, cy: 22, r: 9, fill: light(hue + 40, 78, 0.75) }),
    ];
  },
  (seed, hue) =>
    [0, 1, 2].map((place) =>
      s("path", {
        d: `M-10 ${30 + 20 * place + part(seed, place * 5, 12)} q 45 ${-26 + part(seed, place * 3, 16)} 90 0 t 90 0`,
        fill: "none",
        stroke: light(hue + 18 * place, 68, 0.65),
        "stroke-width": 5 - place,
        "stroke-linecap": "round",
      }),
    ),
  (seed, hue) =>
    Array.from({ length: 12 }, (_, place) =>
      s("circle", {
        cx: 24 + 38 * (place % 4),
        cy: 18 + 27 * Math.floor(place / 4),
        r: 3 + part(seed, place, 8),
        fill: light(hue + 6 * place, 66, 0.5),
      }),
    ),
];
