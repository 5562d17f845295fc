/** Shows the student that the session is recorded, or sent on to another server, for as long as it is. */

import { announce, byId } from "./dom.js";
import { t } from "./i18n.js";
import { INIT } from "./live.js";

export class RecordingMark {
  constructor() {
    this.recording = byId("recording");
    this.sent = byId("outputs");
    this.outputs = 0;
  }

  /** @param {import("./live.js").LiveSession} session */
  attach(session) {
    session.addEventListener("message", (event) => this.#take(/** @type {CustomEvent} */ (event).detail));
    session.addEventListener("over", () => {
      this.#record(false);
      this.#send(0);
    });
  }

  /** @param {any} message */
  #take(message) {
    switch (message.type) {
      case "recording_started":
        return this.#record(true);
      case "recording_stopped":
        return this.#record(false);
      case "output_started":
        return this.#send(this.outputs + 1);
      case "output_stopped":
        return this.#send(Math.max(0, this.outputs - 1));
      case "processing_status":
        // The answer to the first message: a connection that came back may have missed what happened meanwhile.
        if (message.request_id !== INIT) return;
        this.#record(message.recording === true);
        this.#send(Number(message.outputs ?? 0));
        return;
      default:
    }
  }

  /** @param {boolean} on */
  #record(on) {
    if (this.recording.hidden !== on) return;
    this.recording.hidden = !on;
    announce(t(on ? "recording.started" : "recording.stopped"));
  }

  /** @param {number} count of places that it is sent to */
  #send(count) {
    const changed = this.sent.hidden === count > 0;
    this.outputs = count;
    this.sent.hidden = count === 0;
    if (changed) announce(t(count > 0 ? "recording.sentStarted" : "recording.sentStopped"));
  }
}
