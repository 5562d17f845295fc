/** The waiting line on the student page: "You are 3rd in line", kept up to date, with a way to leave it. */

import { announce } from "./dom.js";
import { language, onLanguage, t } from "./i18n.js";

/** @typedef {import("./turn.js").Place} Place */

export class Queue {
  /** @param {import("./notice.js").Notice} notice the card that says it */
  constructor(notice) {
    this.notice = notice;
    /** @type {Place | null} */
    this.place = null;
    onLanguage(() => this.#title());
  }

  /** @param {import("./live.js").LiveSession} session */
  attach(session) {
    session.addEventListener("place", (event) => this.#show(session, /** @type {CustomEvent} */ (event).detail));
  }

  /** @param {import("./live.js").LiveSession} session @param {Place | null} place */
  #show(session, place) {
    const before = this.place;
    this.place = place;
    this.#title();
    if (place === null) {
      if (!session.over) this.notice.hide();
    } else if (before === null) {
      this.notice.show({
        icon: "clock",
        title: () => title(this.place),
        text: () => words(this.place),
        action: () => t("queue.leave"),
        act: () => session.end(),
      });
    } else {
      this.notice.write();
      if (place.position !== before.position) announce(title(place));
    }
  }

  /** The place leads the page's title: who waits looks at another page meanwhile. */
  #title() {
    const name = t("student.title");
    document.title = this.place === null ? name : `(${this.place.position}) ${name}`;
  }
}

/** @param {Place | null} place */
export function title(place) {
  if (place === null) return "";
  return place.position === 1 ? t("queue.next") : t("queue.title", { place: ordinal(place.position) });
}

/** @param {Place | null} place */
export function words(place) {
  const seconds = place?.seconds ?? null;
  if (seconds === null) return t("queue.unknown");
  if (seconds < 60) return t("queue.soon");
  const minutes = Math.round(seconds / 60);
  return minutes === 1 ? t("queue.minute") : t("queue.minutes", { minutes });
}

/** 1st, 2nd, 3rd, 11th; a plain number in Chinese. @param {number} number */
export function ordinal(number) {
  if (language() === "zh") return String(number);
  const endings = { one: "st", two: "nd", few: "rd" };
  const rule = new Intl.PluralRules("en", { type: "ordinal" }).select(number);
  return `${number}${endings[/** @type {keyof typeof endings} */ (rule)] ?? "th"}`;
}
