// Elements out of names, properties and children. Text is always text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

/** h("a", {class: "x", href, onclick, vars: {"--w": "3px"}}, child, [children], "text", null) */
export function h(name, properties, ...children) {
  return filled(document.createElement(name), properties, children);
}

/** The same for SVG. */
export function s(name, properties, ...children) {
  return filled(document.createElementNS(SVG, name), properties, children);
}

/** Replace all that is in an element. */
export function put(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, entry] of Object.entries(value)) element.style.setProperty(key, entry);
    else if (name === "value") element.value = value;
    else if (name === "style" || name === "innerHTML") throw new Error(`${name} is not set here`);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...flat(children));
  return element;
}

function flat(children) {
  return children.flat(4).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Calls `work` when it was not called again for `ms`. */
export function later(ms, work) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), ms);
  };
}

let last = 0;

/** An id that is free. */
export function freshId(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}
