/** The teacher hears the tutor: one small stage, a session that begins with the first sentence. */

import { showPreview } from "./api.js";
import { CaptionView } from "./captions.js";
import { byId } from "./dom.js";
import { codeOf, explain, remedy } from "./errors.js";
import { has, onLanguage, t } from "./i18n.js";
import { LiveSession } from "./live.js";
import { fitTo } from "./shape.js";
import { studentId } from "./store.js";

export class Preview {
  constructor() {
    this.box = byId("stage");
    /** @type {HTMLVideoElement} */
    this.video = byId("video");
    /** @type {HTMLImageElement} */
    this.poster = byId("poster");
    /** @type {HTMLInputElement} */
    this.sentence = byId("sentence");
    this.captions = new CaptionView(byId("captions"));
    /** @type {LiveSession | null} */
    this.session = null;
    this.avatarId = "";
    /** Said as soon as the session lives. */
    this.waiting = "";
    this.failure = () => "";
    byId("speak").addEventListener("submit", (event) => {
      event.preventDefault();
      this.speak(this.sentence.value.trim());
    });
    byId("unlock").addEventListener("click", () => {
      this.video.muted = false;
      byId("unlock").hidden = true;
      void this.#play();
    });
    fitTo(this.box, this.poster);
    fitTo(this.box, this.video);
    window.addEventListener("pagehide", () => this.session?.end({ keepalive: true }));
    onLanguage(() => {
      this.#words();
      byId("speak-error").textContent = this.failure();
    });
  }

  /** Show an avatar, still silent. @param {string} id */
  open(id) {
    this.close();
    this.avatarId = id;
    void showPreview(this.poster, id);
    this.box.hidden = false;
    byId("speak").hidden = false;
    if (!this.sentence.value) this.sentence.value = t("teacher.sentenceDefault");
    this.#fail(() => "");
    this.#words();
  }

  /** End what goes on. @returns {Promise<void>} fulfilled when the server knows */
  async close() {
    const session = this.session;
    this.session = null;
    this.waiting = "";
    this.captions.clear();
    this.video.srcObject = null;
    this.box.classList.remove("playing");
    this.box.hidden = true;
    byId("speak").hidden = true;
    byId("unlock").hidden = true;
    session?.end();
    await session?.gone;
  }

  /** @param {string} text */
  speak(text) {
    if (!text) {
      this.sentence.focus();
      return;
    }
    this.#fail(() => "");
    if (this.session && !this.session.over) {
      // A new sentence replaces the one being said.
      this.session.interrupt();
      if (!this.session.send({ type: "say", text })) this.waiting = text;
      return;
    }
    this.waiting = text;
    this.#start();
  }

  #start() {
    const session = new LiveSession(this.avatarId, studentId());
    this.session = session;
    session.addEventListener("state", () => {
      if (this.session !== session) return;
      this.#words();
      if (session.state === "live" && this.waiting) {
        const text = this.waiting;
        this.waiting = "";
        session.send({ type: "say", text });
      }
    });
    session.addEventListener("stream", (event) => {
      this.video.srcObject = /** @type {CustomEvent} */ (event).detail;
      this.video.addEventListener("playing", () => this.box.classList.add("playing"), { once: true });
      void this.#play();
    });
    session.addEventListener("message", (event) => this.#take(/** @type {CustomEvent} */ (event).detail));
    session.addEventListener("over", (event) => {
      const how = /** @type {CustomEvent} */ (event).detail;
      this.captions.clear();
      this.box.classList.remove("playing");
      if (this.session !== session || how.reason === "left") return;
      this.#fail(() => (how.reason === "error" ? `${explain(how.error)} ${remedy(how.error)}`.trim() : t(`notice.${how.reason}Text`)));
    });
    void session.start();
  }

  async #play() {
    try {
      await this.video.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "NotAllowedError") return;
      this.video.muted = true;
      byId("unlock").hidden = false;
      await this.video.play().catch((later) => console.info("lectern: the picture waits for a touch", later));
    }
  }

  /** @param {any} message */
  #take(message) {
    if (message.type === "caption") this.captions.word(message);
    else if (message.type === "speech_ended") this.captions.rest();
    else if (message.type === "error") {
      const key = `error.${codeOf(message.code ?? "")}`;
      this.#fail(() => (has(key) ? t(key) : String(message.message ?? t("error.server"))));
    }
  }

  /** @param {() => string} words */
  #fail(words) {
    this.failure = words;
    byId("speak-error").textContent = words();
    byId("speak-error").hidden = !words();
  }

  #words() {
    const state = this.session?.state ?? "idle";
    this.box.dataset.state = state;
    byId("ring").hidden = !(state === "connecting" || state === "reconnecting");
    byId("status-words").textContent = t(`state.${state}`);
  }
}
