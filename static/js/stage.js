/** The picture and its controls: poster, sound, volume, captions, full screen, the state in words. */

import { showPreview } from "./api.js";
import { announce, byId, setIcon } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { recall, remember } from "./store.js";

export class Stage {
  constructor() {
    this.box = byId("stage");
    /** @type {HTMLVideoElement} */
    this.video = byId("video");
    /** @type {HTMLImageElement} */
    this.poster = byId("poster");
    /** @type {HTMLImageElement} */
    this.backdrop = byId("backdrop");
    /** @type {HTMLInputElement} */
    this.volume = byId("volume");
    this.mute = byId("mute");
    this.cc = byId("cc");
    this.full = byId("full");
    this.unlock = byId("unlock");
    this.captions = byId("captions");
    /** When the first picture of the present stream was shown, ms of `performance.now()`; 0: not yet. */
    this.firstFrameAt = 0;
    /** @type {import("./live.js").State} */
    this.state = "idle";
    this.#wire();
  }

  #wire() {
    const volume = Number(recall("volume") ?? 100);
    this.volume.value = String(Number.isFinite(volume) ? volume : 100);
    this.video.volume = Number(this.volume.value) / 100;
    this.volume.addEventListener("input", () => {
      this.video.volume = Number(this.volume.value) / 100;
      this.video.muted = this.volume.value === "0";
      remember("volume", this.volume.value === "0" ? "100" : this.volume.value);
      this.#showSound();
    });
    this.mute.addEventListener("click", () => {
      this.video.muted = !this.video.muted;
      if (!this.video.muted && this.volume.value === "0") {
        this.volume.value = "100";
        this.video.volume = 1;
      }
      if (!this.video.muted) this.unlock.hidden = true;
      this.#showSound();
    });
    const wanted = recall("captions") !== "off";
    this.cc.setAttribute("aria-pressed", String(wanted));
    this.captions.classList.toggle("off", !wanted);
    this.cc.addEventListener("click", () => {
      const on = this.cc.getAttribute("aria-pressed") !== "true";
      this.cc.setAttribute("aria-pressed", String(on));
      this.captions.classList.toggle("off", !on);
      remember("captions", on ? "on" : "off");
    });
    this.unlock.addEventListener("click", () => {
      this.video.muted = false;
      this.unlock.hidden = true;
      void this.play();
    });
    if (!document.fullscreenEnabled) this.full.hidden = true;
    this.full.addEventListener("click", async () => {
      try {
        if (document.fullscreenElement) await document.exitFullscreen();
        else await this.box.requestFullscreen();
      } catch (error) {
        console.info("lectern: no full screen", error);
      }
    });
    document.addEventListener("fullscreenchange", () => {
      const on = document.fullscreenElement !== null;
      setIcon(this.full, on ? "unfull" : "full");
      this.#name(this.full, on ? "control.unfull" : "control.full");
    });
    this.video.addEventListener("resize", () => {
      if (this.video.videoWidth > 0) this.#shape(this.video.videoWidth, this.video.videoHeight);
    });
    this.poster.addEventListener("load", () => {
      this.#shape(this.poster.naturalWidth, this.poster.naturalHeight);
      this.poster.hidden = false;
      this.backdrop.hidden = false;
    });
    this.poster.addEventListener("error", () => {
      this.poster.hidden = true;
      this.backdrop.hidden = true;
    });
    onLanguage(() => {
      this.#words();
      this.#showSound();
    });
    this.#showSound();
  }

  /** @param {number} width @param {number} height */
  #shape(width, height) {
    this.box.dataset.shape = height > width ? "tall" : "wide";
  }

  /** @param {HTMLElement} button @param {string} key */
  #name(button, key) {
    button.dataset.i18nAttr = `aria-label:${key};title:${key}`;
    button.setAttribute("aria-label", t(key));
    button.title = t(key);
  }

  #showSound() {
    setIcon(this.mute, this.video.muted ? "muted" : "sound");
    this.mute.setAttribute("aria-pressed", String(this.video.muted));
    this.#name(this.mute, "control.mute");
  }

  /** The still of an avatar, before its picture moves. @param {string | null} avatarId */
  showPoster(avatarId) {
    this.box.classList.remove("playing");
    if (avatarId === null) {
      this.poster.hidden = true;
      this.backdrop.hidden = true;
      this.poster.removeAttribute("src");
      this.poster.dataset.of = "";
      return;
    }
    void showPreview(this.poster, avatarId);
    void showPreview(this.backdrop, avatarId);
  }

  /** Show a stream, with sound if the browser allows it. @param {MediaStream} stream */
  async show(stream) {
    this.firstFrameAt = 0;
    this.video.srcObject = stream;
    this.video.requestVideoFrameCallback?.((now) => {
      if (this.video.srcObject !== stream) return;
      this.firstFrameAt = now;
      this.box.classList.add("playing");
    });
    this.video.addEventListener("playing", () => this.box.classList.add("playing"), { once: true });
    await this.play();
  }

  async play() {
    try {
      await this.video.play();
      return;
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "NotAllowedError") return;
    }
    // Sound needs a touch first: show the picture without it, and ask.
    this.video.muted = true;
    this.unlock.hidden = false;
    this.#showSound();
    try {
      await this.video.play();
    } catch (error) {
      console.info("lectern: the picture waits for a touch", error);
    }
  }

  stop() {
    this.video.srcObject = null;
    this.unlock.hidden = true;
    this.box.classList.remove("playing");
    if (document.fullscreenElement) void document.exitFullscreen();
  }

  /** @param {import("./live.js").State} state */
  setState(state) {
    const before = this.state;
    this.state = state;
    this.box.dataset.state = state;
    byId("ring").hidden = !(state === "connecting" || state === "reconnecting");
    this.#words();
    if (state !== before && state !== "idle") announce(t(`state.${state}`));
  }

  #words() {
    byId("status-words").dataset.i18n = `state.${this.state}`;
    byId("status-words").textContent = t(`state.${this.state}`);
  }
}
