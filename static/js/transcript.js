/** What both sides said, as a record to keep, and as a text file. */

import { language, t } from "./i18n.js";

/** The most entries that are kept; a day of talking has fewer. */
const MOST = 5000;

/**
 * @typedef {object} Entry
 * @property {"student" | "tutor"} who
 * @property {string} text
 * @property {number} at ms since 1970: when it was said
 * @property {boolean} cut the tutor was interrupted there
 */

export class Transcript extends EventTarget {
  constructor() {
    super();
    /** @type {Entry[]} */
    this.entries = [];
  }

  /** @param {"student" | "tutor"} who @param {string} text @param {{at?: number, cut?: boolean}} [more] */
  add(who, text, { at = Date.now(), cut = false } = {}) {
    if (!text.trim()) return;
    this.entries.push({ who, text: text.trim(), at, cut });
    // In the order in which it was begun: a tutor's words are complete only after the student's interruption.
    this.entries.sort((one, other) => one.at - other.at);
    this.entries.splice(0, this.entries.length - MOST);
    this.dispatchEvent(new Event("change"));
  }

  clear() {
    this.entries = [];
    this.dispatchEvent(new Event("change"));
  }

  /** The file's text, in the language of the page. @param {string} tutor its name @param {number} [now] */
  text(tutor, now = Date.now()) {
    const place = language() === "zh" ? "zh-CN" : "en-GB";
    const day = new Intl.DateTimeFormat(place, { dateStyle: "long", timeStyle: "short" }).format(now);
    const time = new Intl.DateTimeFormat(place, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
    const lines = this.entries.map(({ who, text, at, cut }) => {
      const name = t(who === "student" ? "student.you" : "student.tutor");
      const mark = cut ? ` (${t("student.interrupted")})` : "";
      return `[${time.format(at)}] ${t("transcript.line", { name, text: text.replace(/\s*\n\s*/g, "\n    ") })}${mark}`;
    });
    return [t("transcript.title", { tutor }), day, t("student.disclosure"), "", ...lines, ""].join("\n");
  }

  /** A name for the file: `lectern-ms-chen-2026-01-31-0905.txt`. @param {string} id the tutor's @param {number} [now] */
  static fileName(id, now = Date.now()) {
    const moment = new Date(now);
    const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
    const day = [moment.getFullYear(), two(moment.getMonth() + 1), two(moment.getDate())].join("-");
    return `lectern-${id}-${day}-${two(moment.getHours())}${two(moment.getMinutes())}.txt`;
  }

  /** Hand it to the browser as a download. @param {string} tutor @param {string} id */
  download(tutor, id) {
    const address = URL.createObjectURL(new Blob([this.text(tutor)], { type: "text/plain;charset=utf-8" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = Transcript.fileName(id);
    link.click();
    window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}
