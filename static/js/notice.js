/** The card over the picture that says what happened and what can be done; may count down to a retry. */

import { byId, setIcon } from "./dom.js";
import { onLanguage, t } from "./i18n.js";

/**
 * @typedef {object} NoticeContent
 * @property {string} icon
 * @property {() => string} title in the language of the moment
 * @property {() => string} text
 * @property {() => string} [hint] for those who can mend it
 * @property {() => string} [action] what its button says; none: there is nothing to do
 * @property {number} [seconds] retry by itself after so many
 * @property {boolean} [other] offer another tutor too
 * @property {() => void} [act] what the button does; without it: try again
 */

export class Notice {
  /** @param {() => void} onRetry @param {() => void} onOther */
  constructor(onRetry, onOther) {
    this.box = byId("notice");
    /** @type {NoticeContent | null} */
    this.content = null;
    this.left = 0;
    this.onRetry = onRetry;
    byId("notice-retry").addEventListener("click", () => {
      const act = this.content?.act ?? onRetry;
      this.hide();
      act();
    });
    byId("notice-other").addEventListener("click", () => {
      this.hide();
      onOther();
    });
    onLanguage(() => this.write());
  }

  /** @param {NoticeContent} content */
  show(content) {
    this.hide();
    this.content = content;
    this.left = Math.ceil(content.seconds ?? 0);
    setIcon(this.box, content.icon);
    byId("notice-other").hidden = !content.other;
    byId("notice-retry").hidden = !content.action;
    byId("notice-count").hidden = this.left === 0;
    this.write();
    this.box.hidden = false;
    this.box.focus({ preventScroll: true });
    if (this.left > 0) this.timer = window.setInterval(() => this.#tick(), 1000);
  }

  hide() {
    window.clearInterval(this.timer);
    this.content = null;
    this.box.hidden = true;
  }

  #tick() {
    this.left -= 1;
    if (this.left <= 0) {
      this.hide();
      this.onRetry();
    } else this.write();
  }

  /** Its sentences anew: what they tell has changed. */
  write() {
    if (!this.content) return;
    byId("notice-title").textContent = this.content.title();
    byId("notice-text").textContent = this.content.text();
    const hint = this.content.hint?.() ?? "";
    byId("notice-hint").textContent = hint;
    byId("notice-hint").hidden = hint === "";
    byId("notice-retry").textContent = this.content.action?.() ?? "";
    byId("notice-count").textContent = t("notice.countdown", { seconds: this.left });
  }
}
