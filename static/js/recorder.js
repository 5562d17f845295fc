/** Recording with the camera: outline to fit into, countdown, twelve seconds, and the take back to the page. */

import { byId } from "./dom.js";
import { onLanguage, t } from "./i18n.js";

const SECONDS = 12;
const LEAST = 5;
const TYPES = ["video/mp4;codecs=avc1.640028", "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];

/** @param {number} ms */
const wait = (ms) => new Promise((resolve) => window.setTimeout(resolve, ms));

export class Recorder {
  /** @param {(take: Blob, name: string) => void} onTake @param {() => void} onClose @param {(key: string) => void} onError */
  constructor(onTake, onClose, onError) {
    this.onTake = onTake;
    this.onClose = onClose;
    this.onError = onError;
    /** @type {HTMLVideoElement} */
    this.camera = byId("camera");
    /** @type {HTMLButtonElement} */
    this.go = byId("recorder-go");
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {MediaRecorder | null} */
    this.recording = null;
    /** @type {"closed" | "asking" | "ready" | "counting" | "recording"} */
    this.phase = "closed";
    this.go.addEventListener("click", () => void this.#press());
    byId("recorder-back").addEventListener("click", () => this.close());
    onLanguage(() => this.#words());
  }

  /** Ask for the camera and show it. */
  async open() {
    if (!window.MediaRecorder || !navigator.mediaDevices?.getUserMedia) {
      this.onError("recorder.unsupported");
      this.onClose();
      return;
    }
    this.#enter("asking");
    try {
      const video = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 25, max: 30 }, facingMode: "user" };
      const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
      if (this.phase !== "asking") {
        for (const track of stream.getTracks()) track.stop(); // closed while the browser was asking
        return;
      }
      this.stream = stream;
      this.camera.srcObject = stream;
      this.#enter("ready");
      this.go.focus();
    } catch (error) {
      const name = error instanceof DOMException ? error.name : "";
      const keys = { NotAllowedError: "denied", NotFoundError: "none", OverconstrainedError: "none", NotReadableError: "busy" };
      this.close();
      this.onError(`recorder.${keys[/** @type {keyof typeof keys} */ (name)] ?? "busy"}`);
    }
  }

  close() {
    if (this.recording?.state === "recording") this.recording.stop();
    this.recording = null;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.camera.srcObject = null;
    this.#enter("closed");
    this.onClose();
  }

  async #press() {
    if (this.phase === "ready") await this.#count();
    else if (this.phase === "recording") this.recording?.stop();
  }

  async #count() {
    this.#enter("counting");
    const count = byId("count");
    count.hidden = false;
    for (const number of [3, 2, 1]) {
      count.textContent = String(number);
      await wait(900);
      if (this.phase !== "counting") return;
    }
    count.hidden = true;
    this.#record();
  }

  #record() {
    if (!this.stream) return;
    const type = TYPES.find((each) => MediaRecorder.isTypeSupported(each));
    const recording = new MediaRecorder(this.stream, { ...(type ? { mimeType: type } : {}), videoBitsPerSecond: 6_000_000 });
    /** @type {Blob[]} */
    const pieces = [];
    const began = performance.now();
    this.recording = recording;
    recording.addEventListener("dataavailable", (event) => pieces.push(event.data));
    recording.addEventListener("error", () => {
      this.close();
      this.onError("recorder.busy");
    });
    recording.addEventListener("stop", () => {
      window.clearInterval(timer);
      if (this.recording !== recording) return; // cancelled
      const seconds = (performance.now() - began) / 1000;
      this.recording = null;
      if (seconds < LEAST) {
        this.#enter("ready");
        byId("recorder-words").textContent = t("recorder.short", { seconds: LEAST });
        return;
      }
      const kind = recording.mimeType.split(";")[0] || "video/webm";
      this.close();
      this.onTake(new Blob(pieces, { type: kind }), `recording.${kind.endsWith("mp4") ? "mp4" : "webm"}`);
    });
    recording.start(1000);
    this.#enter("recording");
    const timer = window.setInterval(() => {
      const gone = (performance.now() - began) / 1000;
      byId("meter-bar").style.inlineSize = `${Math.min(100, (100 * gone) / SECONDS)}%`;
      if (gone >= SECONDS && recording.state === "recording") recording.stop();
    }, 100);
  }

  /** @param {typeof this.phase} phase */
  #enter(phase) {
    this.phase = phase;
    byId("count").hidden = phase !== "counting";
    byId("meter").hidden = phase !== "recording";
    byId("meter-bar").style.inlineSize = "0";
    byId("recorder-frame").dataset.phase = phase;
    this.go.disabled = phase === "asking" || phase === "counting";
    this.#words();
  }

  #words() {
    const words = { closed: "", asking: "recorder.ask", ready: "recorder.fit", counting: "recorder.hold", recording: "recorder.hold" };
    const key = words[this.phase];
    byId("recorder-words").textContent = key ? t(key) : "";
    this.go.textContent = t(this.phase === "recording" ? "recorder.stop" : "recorder.start");
  }
}
