/** The words of a session: captions, both sides' sentences, what the tutor is doing, typing and interrupting. */

import { CaptionView } from "./captions.js";
import { announce, byId, toast } from "./dom.js";
import { codeOf } from "./errors.js";
import { has, language, t } from "./i18n.js";
import { History } from "./history.js";
import { INIT } from "./live.js";
import { Transcript } from "./transcript.js";

/** The most characters of one message. */
export const MOST_TEXT = 4000;
/** A character that can be seen; spaces, line breaks and invisible marks alone are no message. */
/** What the tutor can be doing; words of later servers are not ours to show. */
const DOING = new Set(["idle", "listening", "waiting", "thinking", "speaking", "interrupted"]);
/** ms of thinking after which it is said aloud to a screen reader: most answers come sooner. */
const PONDER = 1200;
/** The first that is heard of an answer. */
const ANSWERS = new Set(["text_stream", "speech_started", "error"]);
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}]/u;

export class Conversation {
  constructor() {
    /** @type {import("./live.js").LiveSession | null} */
    this.session = null;
    this.captions = new CaptionView(byId("captions"));
    this.history = new History(byId("bubbles"), byId("hello"));
    this.transcript = new Transcript();
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
    /** The spoken question whose answer has not begun. @type {HTMLElement | null} */
    this.spoken = null;
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
      const elsewhere = event.isComposing || document.fullscreenElement || document.querySelector("dialog[open]");
      if (event.key === "Escape" && !elsewhere && this.interrupt()) event.preventDefault();
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

  /** Whether there is somebody to write to; else it offers nothing to say. @param {boolean} open */
  open(open) {
    byId("talk").dataset.open = open ? "yes" : "no";
  }

  /** Nothing is being said any more. */
  rest() {
    this.#quiet();
    this.#do("idle");
    this.captions.clear();
    // Whatever was being said stays as far as it was heard; what was only guessed, goes.
    for (const id of [...this.history.open.keys()]) this.#ended({ utterance_id: id, reason: "interrupted" });
    for (const id of [...this.history.guesses.keys()]) this.history.heard(id, "", true);
    this.spoken = null;
  }

  clear() {
    this.rest();
    this.asked.clear();
    this.unsaid.clear();
    this.history.clear();
    this.transcript.clear();
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
    this.transcript.add("student", text);
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
    } else if (this.spoken && ANSWERS.has(message.type) && message.utterance_id && !this.history.owned(message.utterance_id)) {
      this.history.own(message.utterance_id, this.spoken);
      this.spoken = null;
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
        this.#ended(message);
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
        // Answers to a request tell what became of it, not what the tutor is doing; but for the first one.
        if (!("request_id" in message) || message.request_id === INIT) this.#do(message.status);
        break;
      case "transcription":
        this.#heard(message);
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

  /** @param {any} message of the type transcription */
  #heard({ utterance_id = "student", text = "", final = true }) {
    const said = this.history.heard(utterance_id, text, final);
    if (!said) return;
    this.spoken = said.node;
    this.transcript.add("student", text, { at: said.at });
    announce(`${t("student.you")}: ${text}`);
  }

  /** @param {{utterance_id: string, reason: string, heard?: string}} ending */
  #ended(ending) {
    const said = this.history.end(ending);
    if (said) this.transcript.add("tutor", said.text, { at: said.at, cut: ending.reason === "interrupted" });
  }

  /** Say what the tutor is doing. @param {string} status */
  #do(status) {
    if (!DOING.has(status)) return;
    const box = byId("doing");
    const listens = this.session?.listening.available ?? false;
    box.dataset.doing = status;
    // To somebody who types, a tutor that does nothing is no news.
    box.hidden = status === "idle" && !listens;
    byId("doing-words").dataset.i18n = `doing.${status}`;
    byId("doing-words").textContent = t(`doing.${status}`);
    window.clearTimeout(this.ponder);
    if (status === "thinking") this.ponder = window.setTimeout(() => announce(t("doing.thinking")), PONDER);
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
