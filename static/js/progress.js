/** How far an order is: its step, its share of the bar, and words that stay honest while the server is silent. */

import { announce, byId, el, icon } from "./dom.js";
import { sizes } from "./bytes.js";
import { t } from "./i18n.js";

export const STEPS = ["upload", "read", "find", "prepare", "ready"];
/** The step of each of the server's stages. @type {Record<string, number>} */
const STEP_OF = { queued: 1, checking: 1, decoding: 1, finding_face: 2, preparing_engine: 3, saving: 3, done: 4 };
/** How much of the bar the upload takes. */
const SHARE = 0.1;
/** A step that takes longer than this (ms) shows for how long it has been going on. */
const LONG = 3000;

/**
 * @typedef {object} Standing
 * @property {number} step of STEPS
 * @property {number} whole 0..1
 * @property {boolean} measured whether there is a measure of how far it is; else it only goes on
 */

/**
 * @param {{stage: string, progress: number} | null} record null: the server has not answered yet
 * @param {{done: number, total: number}} sent bytes; total 0: nothing is known of an upload
 * @returns {Standing}
 */
export function standing(record, sent) {
  if (record === null) {
    const part = sent.total > 0 ? sent.done / sent.total : 0;
    // All bytes have left: the server looks at the file, and does not say how far it is.
    if (part >= 1) return { step: 1, whole: SHARE, measured: false };
    return { step: 0, whole: SHARE * part, measured: true };
  }
  const queued = record.stage === "queued" && record.progress === 0;
  return { step: STEP_OF[record.stage] ?? 1, whole: SHARE + (1 - SHARE) * record.progress, measured: !queued };
}

/** The bar, the words below it, and the list of steps. */
export class ProgressView {
  constructor() {
    /** @type {HTMLProgressElement} */
    this.bar = byId("bar");
    this.reset();
  }

  reset() {
    window.clearInterval(this.timer);
    this.whole = 0;
    this.step = -1;
    this.since = 0;
    this.words = "";
  }

  /** @param {{stage: string, progress: number} | null} record @param {{done: number, total: number}} sent */
  show(record, sent) {
    const now = standing(record, sent);
    this.whole = Math.max(this.whole, now.whole); // a bar that goes back would be a lie either way
    if (now.measured) this.bar.value = this.whole;
    else this.bar.removeAttribute("value");
    byId("bar-percent").textContent = now.measured ? `${Math.floor(100 * this.whole)} %` : "";
    const name = STEPS[now.step];
    this.words = t(`teacher.stage.${name}`);
    if (now.step === 0 && sent.total > 0) this.words = t("teacher.uploaded", sizes(sent.done, sent.total));
    else if (record?.stage === "queued" && !now.measured) this.words = t("teacher.queued");
    if (now.step !== this.step) this.#enter(now.step);
    this.#tell();
    byId("steps").replaceChildren(...STEPS.map((each, index) => this.#row(each, index)));
  }

  /** @param {number} step */
  #enter(step) {
    window.clearInterval(this.timer);
    this.step = step;
    this.since = performance.now();
    this.timer = window.setInterval(() => this.#tell(), 1000);
    announce(this.words);
  }

  /** Nothing new from the server is no reason to say nothing: for how long this step has been going on. */
  #tell() {
    const gone = performance.now() - this.since;
    const seconds = Math.floor(gone / 1000);
    byId("bar-words").textContent = gone < LONG ? this.words : t("teacher.since", { words: this.words, seconds });
  }

  /** @param {string} name @param {number} index */
  #row(name, index) {
    const state = index < this.step ? "done" : index === this.step ? "now" : "later";
    const mark = el("span", { class: "step-mark" }, ...(state === "done" ? [icon("check")] : []));
    const present = state === "now" ? { "aria-current": "step" } : {};
    return el("li", { class: `step ${state}`, ...present }, mark, t(`teacher.stage.${name}`));
  }
}
