/** What was said, as a list of bubbles. The tutor's grow word by word and are read out once, when they are complete. */

import { gap } from "./captions.js";
import { announce, el, icon } from "./dom.js";
import { onLanguage, t } from "./i18n.js";

const MOST = 200;
/** A student's message that is longer than this (characters, lines) is folded. */
const LONG = 420;
const LINES = 8;
/** The most characters shown of what no voice could say. */
const UNSAID = 80;

export class History {
  /** @param {HTMLElement} list an <ol> @param {HTMLElement} empty shown while nothing was said */
  constructor(list, empty) {
    this.list = list;
    this.empty = empty;
    /** What the tutor is saying. @type {Map<string, {node: HTMLElement, text: HTMLElement, index: number, at: number}>} */
    this.open = new Map();
    /** What the student is saying, as far as it is made out. @type {Map<string, {node: HTMLElement, text: HTMLElement, at: number}>} */
    this.guesses = new Map();
    /** The bubble an utterance belongs to: the question that asked for it, else its own. @type {Map<string, HTMLElement>} */
    this.owners = new Map();
    onLanguage(() => {
      for (const mark of this.list.querySelectorAll(".unsaid")) this.#writeUnsaid(/** @type {HTMLElement} */ (mark));
    });
  }

  /** @param {string} text what the student sent @returns {HTMLElement} its bubble */
  student(text) {
    const tidy = text.replace(/\n\s*\n(\s*\n)+/g, "\n\n");
    const { node, text: said } = this.#add("student", "student.you", tidy);
    if (tidy.length > LONG || tidy.split("\n").length > LINES) this.#fold(node, said);
    return node;
  }

  /**
   * What the student says: each guess takes the place of the one before, the final words that of all of them.
   * @param {string} id @param {string} text "" and final: there were no words after all @param {boolean} final
   * @returns {{node: HTMLElement, at: number} | null} the bubble of final words, and when they began (ms since 1970)
   */
  heard(id, text, final) {
    let guess = this.guesses.get(id);
    if (!guess && text) {
      guess = { ...this.#add("student", "student.you", ""), at: Date.now() };
      this.guesses.set(id, guess);
    }
    if (!guess) return null;
    guess.text.textContent = text;
    guess.node.classList.toggle("guess", !final);
    if (final) this.guesses.delete(id);
    if (final && !text) guess.node.remove();
    this.#show();
    this.#follow();
    return final && text ? guess : null;
  }

  /** @param {string} id @returns {boolean} whether it is known whose message an utterance belongs to */
  owned(id) {
    return this.owners.has(id);
  }

  /** @param {string} id an utterance @param {HTMLElement} bubble the question that it answers */
  own(id, bubble) {
    this.owners.set(id, bubble);
  }

  /**
   * A lasting mark under the message: part of it was not said. One mark a message, however many parts.
   * @param {string} id the utterance @param {string} part @returns {boolean} whether there was a message to mark
   */
  unsaid(id, part) {
    const bubble = this.owners.get(id);
    if (!bubble?.isConnected) return false;
    let mark = /** @type {HTMLElement | null} */ (bubble.querySelector(".unsaid"));
    const first = mark === null;
    if (!mark) {
      mark = el("p", { class: "unsaid" }, icon("info"), el("span"));
      bubble.append(mark);
    }
    const parts = (mark.dataset.parts ?? "").split("\n").filter(Boolean);
    const tidy = part.replace(/\s+/g, " ").trim();
    if (tidy && !parts.includes(tidy)) parts.push(tidy);
    mark.dataset.parts = parts.join("\n");
    const words = this.#writeUnsaid(mark);
    if (first) announce(words);
    this.#follow();
    return true;
  }

  /** @param {HTMLElement} mark @returns {string} */
  #writeUnsaid(mark) {
    const letters = [...(mark.dataset.parts ?? "").split("\n").join(" ")];
    const parts = letters.length > UNSAID ? `${letters.slice(0, UNSAID - 1).join("").trimEnd()}…` : letters.join("");
    const words = t(parts ? "student.unsaid" : "student.unsaidAll", { parts });
    /** @type {HTMLElement} */ (mark.lastElementChild).textContent = words;
    return words;
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
    this.open.set(id, { node, text, index: -1, at: Date.now() });
    if (!this.owners.has(id)) this.owners.set(id, node);
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

  /**
   * @param {{utterance_id: string, reason: string, heard?: string}} ending
   * @returns {{text: string, at: number} | null} what was heard of it, and when it began (ms since 1970)
   */
  end({ utterance_id, reason, heard }) {
    const entry = this.open.get(utterance_id);
    if (!entry) return null;
    this.open.delete(utterance_id);
    entry.node.classList.remove("speaking");
    // An interrupted sentence keeps only what was heard; a finished one is shown as it was said.
    const text = heard || entry.text.textContent || "";
    entry.text.textContent = text;
    if (reason === "interrupted") {
      entry.node.append(el("span", { class: "mark", "data-i18n": "student.interrupted" }, t("student.interrupted")));
    }
    if (text) announce(`${t("student.tutor")}: ${text}`);
    else if (entry.node.querySelector(".unsaid")) entry.text.hidden = true; // the mark is all there is
    else entry.node.remove();
    this.#show();
    this.#follow();
    return { text, at: entry.at };
  }

  clear() {
    this.open.clear();
    this.guesses.clear();
    this.owners.clear();
    this.list.replaceChildren();
    this.#show();
  }

  /** @param {"student" | "tutor"} who @param {string} label @param {string} said */
  #add(who, label, said) {
    const text = el("p", { class: "said" }, said);
    const node = el("li", { class: `bubble ${who}` }, el("span", { class: "who", "data-i18n": label }, t(label)), text);
    this.list.append(node);
    while (this.list.children.length > MOST) this.list.firstElementChild?.remove();
    for (const [id, owner] of this.owners) if (!owner.isConnected) this.owners.delete(id);
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
