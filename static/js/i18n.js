/** The two languages: sentences by key, marked-up elements filled in, a switch that takes effect at once. */

import { remember } from "./store.js";
import { en } from "./strings/en.js";
import { zh } from "./strings/zh.js";

const TABLES = { en, zh };

/** A page's own words beside those of all. @param {Record<string, string>} english @param {Record<string, string>} chinese */
export function addWords(english, chinese) {
  Object.assign(en, english);
  Object.assign(zh, chinese);
}

/** @returns {"en" | "zh"} the language of the page now */
export function language() {
  return document.documentElement.lang.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** @param {string} key @returns {boolean} whether there is a sentence for the key */
export function has(key) {
  return Object.hasOwn(en, key);
}

/**
 * A sentence in the page's language.
 * @param {string} key
 * @param {Record<string, string | number>} [values] fill the `{name}` marks
 * @returns {string}
 */
export function t(key, values = {}) {
  const sentence = TABLES[language()][key] ?? en[key] ?? key;
  return sentence.replace(/\{(\w+)\}/g, (mark, name) => (name in values ? String(values[name]) : mark));
}

/**
 * Fill every `data-i18n="key"` (its text) and `data-i18n-attr="attribute:key;…"` below an element.
 * @param {ParentNode} [root]
 */
export function translate(root = document) {
  for (const node of root.querySelectorAll("[data-i18n]")) {
    node.textContent = t(/** @type {HTMLElement} */ (node).dataset.i18n ?? "");
  }
  for (const node of root.querySelectorAll("[data-i18n-attr]")) {
    for (const pair of (/** @type {HTMLElement} */ (node).dataset.i18nAttr ?? "").split(";")) {
      const [attribute, key] = pair.split(":");
      node.setAttribute(attribute, t(key));
    }
  }
}

/** @type {Set<() => void>} */
const listeners = new Set();

/** Call `listener` whenever the language changes. @param {() => void} listener */
export function onLanguage(listener) {
  listeners.add(listener);
}

/** @param {"en" | "zh"} choice */
export function setLanguage(choice) {
  document.documentElement.lang = choice === "zh" ? "zh-CN" : "en";
  remember("language", choice);
  translate();
  for (const listener of listeners) listener();
}
