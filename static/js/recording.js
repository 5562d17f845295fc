/** Shows the student that the session is recorded, for as long as it is. */

import { announce, byId } from "./dom.js";
import { t } from "./i18n.js";
import { INIT } from "./live.js";

export class RecordingMark {
  constructor() {
    this.box = byId("recording");
  }

  /** @param {import("./live.js").LiveSession} session */
  attach(session) {
    session.addEventListener("message", (event) => {
      const message = /** @type {CustomEvent} */ (event).detail;
      if (message.type === "recording_started") this.#show(true);
      else if (message.type === "recording_stopped") this.#show(false);
      // The answer to the first message: a connection that came back may have missed what happened meanwhile.
      else if (message.type === "processing_status" && message.request_id === INIT) this.#show(message.recording === true);
    });
    session.addEventListener("over", () => this.#show(false));
  }

  /** @param {boolean} on */
  #show(on) {
    if (this.box.hidden !== on) return;
    this.box.hidden = !on;
    announce(t(on ? "recording.started" : "recording.stopped"));
  }
}
