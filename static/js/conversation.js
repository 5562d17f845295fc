/** The words of a session: captions, history, what the tutor is doing, typing and interrupting. */

import { CaptionView } from "./captions.js";
import { byId, toast } from "./dom.js";
import { codeOf } from "./errors.js";
import { has, language, t } from "./i18n.js";
import { History } from "./history.js";

/** The most characters of one message. */
export const MOST_TEXT = 4000;
/** A character that can be seen; spaces, line breaks and invisible marks alone are no message. */
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}]/u;

export class Conversation {
  constructor() {
    /** @type {import("./live.js").LiveSession | null} */
    this.session = null;
    this.captions = new CaptionView(byId("captions"));
    this.history = new History(byId("bubbles"), byId("hello"));
    /** @type {HTMLTextAreaElement} */
    this.text = byId("text");
    /** @type {HTMLButtonElement} */
    this.button = byId("interrupt");
    /** @type {Set<string>} */
    this.speaking = new Set();
    /** Questions on their way, by request id: which utterance will answer them is not known yet. @type {Map<string, HTMLElement>} */
    this.asked = new Map();
    this.requests = 0;
    /** What could not be said of utterances that have no message to mark yet. @type {Map<string, string[]>} */
    this.unsaid = new Map();
    this.#wire();
  }

  #wire() {
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.say(this.text.value)) {
        this.text.value = "";
        this.#grow();
      }
    });
    this.text.addEventListener("keydown", (event) => {
      // While a Chinese word is being composed, Enter belongs to the input method.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      /** @type {HTMLFormElement} */ (byId("composer")).requestSubmit();
    });
    this.text.addEventListener("input", () => this.#grow());
    for (const button of document.querySelectorAll(".try")) {
      button.addEventListener("click", () => {
        this.say(button.textContent ?? "");
        this.text.focus();
      });
    }
    this.button.addEventListener("click", () => this.interrupt());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing && !document.fullscreenElement && this.interrupt()) {
        event.preventDefault();
      }
    });
  }

  /** Listen to a session from here on. @param {import("./live.js").LiveSession} session */
  attach(session) {
    this.session = session;
    /** The server's session that the open bubbles belong to. @type {string | undefined} */
    let present;
    session.addEventListener("message", (event) => this.#take(/** @type {CustomEvent} */ (event).detail));
    session.addEventListener("over", () => this.rest());
    session.addEventListener("state", () => {
      if (session.state === "reconnecting") {
        this.#quiet();
        this.captions.clear();
      }
      if (session.state !== "live" && session.state !== "weak") return;
      // A new session on the server knows nothing of what the old one was saying.
      if (present !== undefined && present !== session.info?.session_id) this.rest();
      present = session.info?.session_id;
    });
  }

  /** Nothing is being said any more. */
  rest() {
    this.#quiet();
    this.captions.clear();
    this.history.close();
  }

  clear() {
    this.rest();
    this.asked.clear();
    this.unsaid.clear();
    this.history.clear();
  }

  /** @param {string} raw @returns {boolean} whether it was sent */
  say(raw) {
    const text = raw.trim();
    if (!VISIBLE.test(text)) return false;
    if (text.length > MOST_TEXT) {
      toast(t("student.tooLong", { count: text.length, max: MOST_TEXT }), "bad", "tooLong");
      return false;
    }
    const request = `q${(this.requests += 1)}`;
    if (!this.session?.send({ type: "text", text, request_id: request })) {
      toast(t("student.notConnected"), "bad", "notConnected");
      return false;
    }
    this.asked.set(request, this.history.student(text));
    return true;
  }

  /** @returns {boolean} whether there was something to interrupt */
  interrupt() {
    if (this.button.disabled) return false;
    const sent = this.session?.interrupt() ?? false;
    if (sent) this.captions.clear();
    return sent;
  }

  #grow() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, 140)}px`;
  }

  #quiet() {
    this.speaking.clear();
    this.button.disabled = true;
    byId("stage").classList.remove("speaking");
    byId("thinking").hidden = true;
  }

  /** @param {any} message */
  #take(message) {
    const question = this.asked.get(message.request_id);
    if (question) {
      this.asked.delete(message.request_id);
      if (message.utterance_id) this.history.own(message.utterance_id, question);
      this.#markUnsaid(message.utterance_id);
    }
    switch (message.type) {
      case "speech_started":
        this.speaking.add(message.utterance_id);
        this.button.disabled = false;
        byId("stage").classList.add("speaking");
        byId("thinking").hidden = true;
        this.history.begin(message.utterance_id);
        this.#markUnsaid(message.utterance_id);
        break;
      case "caption":
        this.captions.word(message);
        this.history.word(message);
        break;
      case "speech_ended":
        this.speaking.delete(message.utterance_id);
        this.#markUnsaid(message.utterance_id, true);
        this.history.end(message);
        if (this.speaking.size === 0) {
          this.#quiet();
          if (message.reason === "interrupted") this.captions.clear();
          else this.captions.rest();
        }
        break;
      case "interrupted":
        this.#quiet();
        this.captions.clear();
        break;
      case "processing_status":
        byId("thinking").hidden = message.status !== "thinking" || this.speaking.size > 0;
        // While it thinks there is something to interrupt, too.
        if (message.status === "thinking") this.button.disabled = false;
        else if (message.status === "idle" && this.speaking.size === 0) this.#quiet();
        break;
      case "text_stream":
        if (message.demonstration) byId("demo").hidden = false;
        break;
      case "error":
        this.#trouble(message);
        break;
      default:
        break; // messages of later servers: not ours to judge
    }
  }

  /** @param {any} message of the type error */
  #trouble(message) {
    const code = String(message.code ?? "");
    if (code === "cannot_say" && message.utterance_id) {
      const parts = this.unsaid.get(message.utterance_id) ?? [];
      this.unsaid.set(message.utterance_id, [...parts, String(message.details?.text ?? "")]);
      this.#markUnsaid(message.utterance_id);
      return;
    }
    const key = `error.${codeOf(code)}`;
    const own = has(key) ? t(key) : (message.message ?? t("error.server"));
    // The talk goes on: which voice it is that went away helps nobody here. Else the server's English sentence says more.
    const goesOn = code === "voice_fallback" || code === "engine_fallback";
    toast(language() === "en" && message.message && !goesOn ? message.message : own, goesOn ? "info" : "bad", code);
  }

  /** Mark the message of an utterance, once there is one. @param {string} id @param {boolean} [last] it will have none later */
  #markUnsaid(id, last = false) {
    const parts = this.unsaid.get(id);
    if (!parts) return;
    const marked = parts.map((part) => this.history.unsaid(id, part)).every(Boolean);
    if (marked || last) this.unsaid.delete(id);
    if (last && !marked) toast(t("error.cannot_say"), "bad", "cannot_say");
  }
}
