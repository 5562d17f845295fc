/** What was said, as a list of bubbles. The tutor's grow word by word and are read out once, when they are complete. */

import { gap } from "./captions.js";
import { announce, el } from "./dom.js";
import { t } from "./i18n.js";

const MOST = 200;
/** A student's message that is longer than this (characters, lines) is folded. */
const LONG = 420;
const LINES = 8;

export class History {
  /** @param {HTMLElement} list an <ol> @param {HTMLElement} empty shown while nothing was said */
  constructor(list, empty) {
    this.list = list;
    this.empty = empty;
    /** @type {Map<string, {node: HTMLElement, text: HTMLElement, index: number}>} */
    this.open = new Map();
  }

  /** @param {string} text what the student sent */
  student(text) {
    const tidy = text.replace(/\n\s*\n(\s*\n)+/g, "\n\n");
    const { node, text: said } = this.#add("student", "student.you", tidy);
    if (tidy.length > LONG || tidy.split("\n").length > LINES) this.#fold(node, said);
  }

  /** Show the beginning only, with a button for the rest. @param {HTMLElement} node @param {HTMLElement} said */
  #fold(node, said) {
    said.classList.add("folded");
    const more = el("button", { class: "more", type: "button", "aria-expanded": "false", "data-i18n": "student.more" }, t("student.more"));
    more.addEventListener("click", () => {
      const folded = said.classList.toggle("folded");
      more.setAttribute("aria-expanded", String(!folded));
      more.dataset.i18n = folded ? "student.more" : "student.less";
      more.textContent = t(more.dataset.i18n);
    });
    node.append(more);
    this.#follow();
  }

  /** @param {string} id an utterance began */
  begin(id) {
    if (this.open.has(id)) return;
    const { node, text } = this.#add("tutor", "student.tutor", "");
    node.classList.add("speaking");
    this.open.set(id, { node, text, index: -1 });
  }

  /** @param {{utterance_id: string, index: number, word: string}} caption */
  word({ utterance_id, index, word }) {
    this.begin(utterance_id);
    const entry = this.open.get(utterance_id);
    if (!entry || index <= entry.index) return;
    entry.index = index;
    const said = entry.text.textContent ?? "";
    entry.text.textContent = said + gap(said, word) + word;
    this.#follow();
  }

  /** @param {{utterance_id: string, reason: string, heard?: string}} ending */
  end({ utterance_id, reason, heard }) {
    const entry = this.open.get(utterance_id);
    if (!entry) return;
    this.open.delete(utterance_id);
    entry.node.classList.remove("speaking");
    // An interrupted sentence keeps only what was heard; a finished one is shown as it was said.
    const text = heard || entry.text.textContent || "";
    entry.text.textContent = text;
    if (reason === "interrupted") {
      entry.node.append(el("span", { class: "mark", "data-i18n": "student.interrupted" }, t("student.interrupted")));
    }
    if (text) announce(`${t("student.tutor")}: ${text}`);
    else entry.node.remove();
    this.#show();
    this.#follow();
  }

  /** The session is over: whatever was being said stays as far as it was heard. */
  close() {
    for (const id of [...this.open.keys()]) this.end({ utterance_id: id, reason: "interrupted" });
  }

  clear() {
    this.open.clear();
    this.list.replaceChildren();
    this.#show();
  }

  /** @param {"student" | "tutor"} who @param {string} label @param {string} said */
  #add(who, label, said) {
    const text = el("p", { class: "said" }, said);
    const node = el("li", { class: `bubble ${who}` }, el("span", { class: "who", "data-i18n": label }, t(label)), text);
    this.list.append(node);
    while (this.list.children.length > MOST) this.list.firstElementChild?.remove();
    this.#show();
    this.#follow();
    return { node, text };
  }

  #show() {
    this.empty.hidden = this.list.children.length > 0;
  }

  #follow() {
    const box = this.list.parentElement;
    if (box) box.scrollTop = box.scrollHeight;
  }
}
