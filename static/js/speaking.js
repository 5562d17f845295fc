/** Talking to the tutor: the microphone's button, hold or open, level meter, and what to do where it cannot be had. */

import { announce, byId, setIcon } from "./dom.js";
import { has, onLanguage, t } from "./i18n.js";
import { Microphone, level } from "./microphone.js";
import { calm } from "./options.js";
import { recall, remember } from "./store.js";

/** ms; a press that is shorter leaves the microphone on until the next one: nobody has to be able to hold a button. */
const TAP = 350;
/** ms that are still sent after the button is let go: people let go with the last syllable. */
const TAIL = 250;
/** ms without talking after which the device is given back; until then the next word needs no waiting. */
const KEEP = 60_000;
/** How much of the meter falls between two looks: it jumps up and sinks. */
const FALL = 0.15;
/** ms of utter silence after which the student is told. */
const DEAD = 4000;

/** Whether to talk now, from presses: hold to talk, or tap on and tap off. Times in ms. */
export class Presses {
  constructor() {
    this.talking = false;
    this.since = 0;
    this.down = false;
  }

  /** @param {number} now */
  press(now) {
    this.down = !this.talking; // a press that ends a tapped-on turn begins nothing
    this.talking = this.down;
    this.since = now;
  }

  /** @param {number} now @param {boolean} [tap] whether a short press leaves it on */
  release(now, tap = true) {
    if (!this.down) return;
    this.down = false;
    if (!tap || now - this.since >= TAP) this.talking = false;
  }

  stop() {
    this.down = false;
    this.talking = false;
  }
}

export class Speaking {
  constructor() {
    this.microphone = new Microphone();
    this.presses = new Presses();
    /** @type {"push" | "open"} */
    this.mode = recall("microphone") === "open" ? "open" : "push";
    /** @type {import("./live.js").LiveSession | null} */
    this.session = null;
    /** Where the microphone's sound goes now. @type {RTCRtpSender | null} */
    this.sender = null;
    /** The element that was clicked last: the space bar there means talking, not clicking again. @type {Element | null} */
    this.clicked = null;
    this.holdsSpace = false;
    this.deadSince = 0;
    this.shown = 0;
    /** In the strip, and among the picture's controls in full screen. */
    this.buttons = [byId("mic"), byId("mic-full")];
    this.#wire();
    this.#show();
  }

  #wire() {
    for (const button of this.buttons) this.#wireButton(button);
    for (const input of byId("mic-mode").querySelectorAll("input")) {
      input.checked = input.value === this.mode;
      input.addEventListener("change", () => this.#choose(input.value === "open" ? "open" : "push"));
    }
    byId("mic-retry").addEventListener("click", () => {
      if (this.mode === "open") this.#press();
      else void this.microphone.open();
    });
    this.microphone.addEventListener("change", () => this.#changed());
    document.addEventListener("pointerdown", (event) => {
      this.clicked = event.target instanceof Element ? event.target.closest("button, a, input") : null;
    });
    document.addEventListener("keydown", (event) => this.#spaceDown(event));
    document.addEventListener("keyup", (event) => {
      if (event.key !== " " || !this.holdsSpace) return;
      event.preventDefault(); // else it would click what has the focus
      this.#letGo();
    });
    // A key that is let go in another window is never heard of.
    window.addEventListener("blur", () => this.#letGo(true));
    onLanguage(() => this.#show());
  }

  /** @param {HTMLElement} button */
  #wireButton(button) {
    button.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      button.setPointerCapture(event.pointerId);
      this.#press();
    });
    for (const name of ["pointerup", "pointercancel"]) button.addEventListener(name, () => this.#release());
    button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press is not a question
    button.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      if (!event.repeat) this.#press();
    });
    button.addEventListener("keyup", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      this.#release();
    });
    button.addEventListener("click", (event) => {
      // Only where no pointer and no key was: a screen reader's click, or a voice command.
      if (event.detail !== 0 || this.presses.down) return;
      this.#press();
      this.#release();
    });
  }

  /** @param {KeyboardEvent} event */
  #spaceDown(event) {
    if (event.key === "Tab") this.clicked = null;
    if (event.key !== " " || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (this.holdsSpace) event.preventDefault(); // repeats; the page is not to scroll
    if (event.repeat || event.defaultPrevented || this.mode !== "push" || !this.#usable || document.querySelector("dialog[open]")) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.closest("textarea, select, [contenteditable], input:not([type=range])")) return;
    const own = target.closest("button, a, input, summary");
    if (own && own !== this.clicked) return; // reached by keyboard: the space bar is its own
    event.preventDefault();
    this.holdsSpace = true;
    this.#press();
  }

  /** @param {boolean} [all] the button, too, not the space bar only */
  #letGo(all = false) {
    if (!this.holdsSpace && !(all && this.presses.down)) return;
    this.holdsSpace = false;
    this.presses.release(performance.now(), false);
    this.#sync();
  }

  get #usable() {
    const state = this.session?.state;
    return (state === "live" || state === "weak") && (this.session?.listening.available ?? false);
  }

  /** @param {import("./live.js").LiveSession} session */
  attach(session) {
    this.stop();
    this.session = session;
    // Each new connection has a sender of its own; what is being said goes on in it.
    session.addEventListener("stream", () => {
      if (session !== this.session) return;
      this.sender = null;
      this.#sync();
    });
    session.addEventListener("state", () => {
      if (session === this.session) this.#show();
    });
    session.addEventListener("over", () => {
      if (session === this.session) this.stop();
    });
    this.#show();
  }

  /** The microphone off, and given back. */
  stop() {
    this.presses.stop();
    this.holdsSpace = false;
    window.clearTimeout(this.tail);
    this.#send(null);
    this.microphone.close();
    this.session = null;
    this.sender = null;
    this.#show();
  }

  /** @param {"push" | "open"} mode */
  #choose(mode) {
    this.mode = mode;
    remember("microphone", mode);
    this.presses.stop();
    this.microphone.close();
    this.#sync();
  }

  #press() {
    if (!this.#usable) return;
    this.presses.press(performance.now());
    if (this.mode === "open") this.presses.down = false; // on until the next press, however long this one is
    this.#sync();
  }

  #release() {
    if (!this.presses.down) return;
    this.presses.release(performance.now());
    this.#sync();
  }

  /** Bring the device and the connection to what is wanted. */
  #sync() {
    window.clearTimeout(this.tail);
    window.clearTimeout(this.keep);
    const { talking } = this.presses;
    if (talking && this.microphone.track) this.#send(this.microphone.track);
    else if (talking && this.microphone.state === "off") void this.microphone.open();
    else if (!talking && this.mode === "open") {
      this.#send(null);
      if (this.microphone.state !== "off") this.microphone.close();
    } else if (!talking && this.microphone.track) {
      this.tail = window.setTimeout(() => this.#send(null), TAIL);
      this.keep = window.setTimeout(() => this.microphone.close(), KEEP);
    }
    this.#show();
  }

  /** @param {MediaStreamTrack | null} track */
  #send(track) {
    const sender = this.session?.media?.sender ?? null;
    if (!sender || (sender === this.sender && sender.track === track)) return;
    this.sender = sender;
    sender.replaceTrack(track).catch((error) => console.info("lectern: the connection had gone", error));
  }

  #changed() {
    const { microphone, presses } = this;
    if (microphone.state === "off") presses.stop();
    // What is to be said about it stands beside the picture.
    if (microphone.trouble && document.fullscreenElement) void document.exitFullscreen();
    // A permission was asked for meanwhile, and the button let go to give it.
    this.#sync();
    if (microphone.state === "on" && !presses.talking) announce(t("mic.ready"));
  }

  // -- what is seen -----------------------------------------------------------------------------------------------

  #show() {
    const { microphone, presses, session } = this;
    const known = session?.info !== undefined && session?.info !== null && !session.over;
    const { available, code, reason } = session?.listening ?? { available: false, code: null, reason: null };
    const on = presses.talking && microphone.state === "on";
    byId("voice").hidden = !known;
    byId("voice-row").hidden = !available || microphone.trouble !== "";
    byId("mic-none").hidden = available;
    const why = has(`mic.unavailable.${code}`) ? t(`mic.unavailable.${code}`) : reason || t("mic.unavailable");
    byId("mic-none-words").textContent = t("mic.typing", { why });
    byId("mic-trouble").hidden = !available || microphone.trouble === "";
    const trouble = microphone.trouble ? t(`mic.${microphone.trouble}`) : "";
    if (byId("mic-trouble-words").textContent !== trouble) byId("mic-trouble-words").textContent = trouble;
    byId("space-hint").hidden = !available || this.mode !== "push";
    byId("hello-words").dataset.i18n = available ? "student.helloVoice" : "student.helloText";
    byId("hello-words").textContent = t(byId("hello-words").dataset.i18n ?? "");
    const state = microphone.state === "asking" ? "asking" : on ? "on" : "off";
    if (state !== byId("voice").dataset.state) this.#entered(state);
    byId("voice").dataset.state = state;
    byId("voice").dataset.mode = this.mode;
    const name = t(this.mode === "push" ? "mic.talk" : "mic.switch");
    for (const button of this.buttons) {
      button.toggleAttribute("disabled", !this.#usable);
      button.setAttribute("aria-pressed", String(on));
      button.setAttribute("aria-label", name);
      setIcon(button, this.mode === "open" && !on ? "micoff" : "mic");
    }
    byId("mic-full").hidden = !available;
    this.#words(state, on);
  }

  /** @param {string} state @param {boolean} on */
  #words(state, on) {
    const dead = on && this.deadSince > 0 && performance.now() - this.deadSince > DEAD;
    let key = `mic.${this.mode}.${on ? "on" : "off"}`;
    if (state === "asking") key = "mic.asking";
    else if (dead) key = "mic.dead";
    else if (on && this.mode === "push" && !this.presses.down) key = "mic.push.tapped";
    if (byId("mic-words").textContent !== t(key)) byId("mic-words").textContent = t(key);
  }

  /** @param {string} state */
  #entered(state) {
    window.clearInterval(this.meter);
    this.deadSince = 0;
    this.shown = 0;
    byId("mic-level").style.setProperty("--level", "0");
    if (state === "on") {
      // A meter is no decoration, but it need not flicker for those who asked for calm.
      this.meter = window.setInterval(() => this.#measure(), calm() ? 300 : 60);
    }
    // The button says its own state when it has the focus.
    const focused = document.activeElement instanceof HTMLElement && this.buttons.includes(document.activeElement);
    const told = focused || !this.session;
    if (!told && state !== "asking") announce(t(state === "on" ? "mic.nowOn" : "mic.nowOff"));
  }

  #measure() {
    const decibels = this.microphone.decibels();
    this.shown = Math.max(level(decibels), this.shown - FALL, 0);
    byId("mic-level").style.setProperty("--level", this.shown.toFixed(3));
    if (!Microphone.dead(decibels)) this.deadSince = 0;
    else if (this.deadSince === 0) this.deadSince = performance.now();
    this.#words("on", true);
  }
}
