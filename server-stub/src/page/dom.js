// Elements. Text from workflows goes through here as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, rule] of Object.entries(value)) element.style.setProperty(key, rule);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** An HTML element. Attributes that are `false` or absent are left out; `on…` are listeners; `style` is an object. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * Fills a place anew if what it shows has changed: else what somebody selected, opened or focused there would be lost.
 * Elements with the same `data-key` keep the focus, and stay open.
 */
export function refresh(place, data, build) {
  const text = JSON.stringify(data);
  if (place.shown === text) return;
  place.shown = text;
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset?.key : undefined;
  const open = new Set([...place.querySelectorAll("details[open][data-key]")].map((element) => element.dataset.key));
  place.replaceChildren(...[build(data)].flat());
  for (const element of place.querySelectorAll("[data-key]")) {
    if (open.has(element.dataset.key)) element.open = true;
    if (element.dataset.key === focused) element.focus({ preventScroll: true });
  }
}
