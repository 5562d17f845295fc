/** A few words for building and finding elements. Text always goes in as text, never as markup. */

/**
 * The element with this id; a page without it is broken, and says so at once.
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`no element #${id}`);
  return /** @type {T} */ (node);
}

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, string | boolean | ((event: Event) => void)>} [attributes] `on…` functions are listeners
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of icons.svg; decoration only, the words beside it carry the meaning. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/** Exchange the icon inside a button. @param {Element} button @param {string} name */
export function setIcon(button, name) {
  button.querySelector("use")?.setAttribute("href", `/static/icons.svg#${name}`);
}

/** Say something to a screen reader, without a change on the screen; after what is being said. @param {string} text */
export function announce(text) {
  const node = document.getElementById("announcer");
  if (!node || !text) return;
  // Added, not exchanged: two sentences in quick succession are both read out.
  const line = el("span", {}, text);
  node.append(line);
  window.setTimeout(() => line.remove(), 5000);
}

/**
 * A short message at the edge of the page, gone by itself.
 * @param {string} text
 * @param {"info" | "bad"} [tone]
 * @param {string} [kind] the new message takes the place of an older one of the same kind
 */
export function toast(text, tone = "info", kind = "") {
  const box = byId("toasts");
  for (const old of [...box.children]) {
    if (kind && old instanceof HTMLElement && old.dataset.kind === kind) old.remove();
  }
  const card = el("p", { class: `toast ${tone}`, "data-kind": kind }, icon(tone === "bad" ? "warn" : "info"), el("span", {}, text));
  while (box.children.length >= 3) box.firstElementChild?.remove();
  box.append(card);
  window.setTimeout(() => card.remove(), 7000);
}
