/** Says that the conversation is about to end, and how long that is; what ends for want of talk can be kept. */

import { announce, byId } from "./dom.js";
import { onLanguage, t } from "./i18n.js";

const REASONS = new Set(["max_duration", "idle"]);

export class Ending {
  constructor() {
    this.box = byId("ending");
    /** Ends that were told: by reason, when, in ms of `performance.now()`. @type {Map<string, number>} */
    this.told = new Map();
    /** @type {import("./live.js").LiveSession | null} */
    this.session = null;
    byId("ending-stay").addEventListener("click", () => this.session?.send({ type: "stay" }));
    onLanguage(() => this.#write());
  }

  /** @param {import("./live.js").LiveSession} session */
  attach(session) {
    this.session = session;
    this.#clear();
    session.addEventListener("message", (event) => {
      const message = /** @type {CustomEvent} */ (event).detail;
      if (message.type === "session_ending" && REASONS.has(message.reason)) this.#tell(message);
      else if (message.type === "server_draining") this.#tell({ seconds: message.seconds, reason: "draining" });
      else if (message.type === "session_continues") this.#forget(message.reason);
    });
    session.addEventListener("over", () => {
      if (this.session === session) this.#clear();
    });
  }

  /** @param {{seconds: number | null, reason: string}} message seconds: null: the student may take all the time */
  #tell({ seconds, reason }) {
    this.told.set(reason, seconds === null ? Infinity : performance.now() + seconds * 1000);
    announce(seconds === null ? t("ending.unhurried") : t(`ending.${reason}`, { time: t("ending.seconds", { seconds }) }));
    window.clearInterval(this.timer);
    this.timer = window.setInterval(() => this.#write(), 500);
    this.#write();
  }

  /** @param {string} reason */
  #forget(reason) {
    if (!this.told.delete(reason)) return;
    announce(t("ending.continues"));
    this.#write();
  }

  #clear() {
    this.told.clear();
    this.#write();
  }

  #write() {
    // The one that comes first.
    const [first] = [...this.told].sort((one, other) => one[1] - other[1]);
    this.box.hidden = !first;
    if (!first) {
      window.clearInterval(this.timer);
      return;
    }
    const [reason, at] = first;
    byId("ending-stay").hidden = reason !== "idle";
    if (at === Infinity) {
      byId("ending-words").textContent = t("ending.unhurried");
      return;
    }
    const left = Math.max(0, Math.ceil((at - performance.now()) / 1000));
    const time = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    byId("ending-words").textContent = t(`ending.${reason}`, { time });
  }
}
