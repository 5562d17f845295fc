/** The clip: dropped, picked or recorded, then shown before it is used. */

import { size } from "./bytes.js";
import { byId } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { Recorder } from "./recorder.js";
import { fitTo, shape } from "./shape.js";

const NAMES = /\.(mp4|m4v|mov|mkv|webm|avi|jpe?g|png)$/i;

export class ClipChooser {
  /** @param {() => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {Blob | null} */
    this.file = null;
    this.fileName = "";
    this.url = "";
    this.errorKey = "";
    /** @type {HTMLVideoElement} */
    this.video = byId("chosen-video");
    /** @type {HTMLImageElement} */
    this.image = byId("chosen-image");
    /** @type {HTMLInputElement} */
    this.input = byId("file");
    this.recorder = new Recorder(
      (take, name) => this.take(take, name),
      () => this.#show(),
      (key) => this.#complain(key),
    );
    fitTo(byId("chosen-frame"), this.video);
    fitTo(byId("chosen-frame"), this.image);
    this.#wire();
  }

  #wire() {
    this.input.addEventListener("change", () => {
      const file = this.input.files?.[0];
      if (file) this.#offer(file);
      this.input.value = "";
    });
    byId("record").addEventListener("click", () => {
      this.#complain("");
      byId("drop").hidden = true;
      byId("recorder").hidden = false;
      void this.recorder.open();
    });
    byId("another").addEventListener("click", () => {
      this.clear();
      this.input.focus();
    });
    this.video.addEventListener("error", () => {
      if (this.url) this.#kind("none");
    });
    this.image.addEventListener("error", () => {
      if (this.url) this.#kind("none");
    });
    onLanguage(() => this.#complain(this.errorKey));

    // The whole page takes the file: nobody misses it, and the browser never opens it instead.
    const drop = byId("clip");
    let inside = 0;
    const mark = (/** @type {boolean} */ over) => {
      drop.classList.toggle("over", over);
      byId("drop-title").dataset.i18n = over ? "teacher.dropNow" : "teacher.drop";
      byId("drop-title").textContent = t(over ? "teacher.dropNow" : "teacher.drop");
    };
    const carries = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
    document.addEventListener("dragenter", (event) => {
      if (carries(event)) mark(++inside > 0);
    });
    document.addEventListener("dragleave", (event) => {
      if (carries(event)) mark(--inside > 0);
    });
    document.addEventListener("dragover", (event) => {
      if (carries(event)) event.preventDefault();
    });
    document.addEventListener("drop", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      inside = 0;
      mark(false);
      const file = event.dataTransfer?.files[0];
      if (file && !byId("bench").hidden) this.#offer(file);
    });
  }

  /** @param {File} file */
  #offer(file) {
    if (this.recorder.phase !== "closed") this.recorder.close();
    const fits = /^(video\/|image\/(jpeg|png)$)/.test(file.type) || NAMES.test(file.name);
    if (!fits) this.#complain("teacher.wrongType");
    else if (file.size === 0) this.#complain("teacher.emptyFile");
    else this.take(file, file.name);
  }

  /** Use this clip. @param {Blob} file @param {string} name */
  take(file, name) {
    this.#forget();
    this.#complain("");
    this.file = file;
    this.fileName = name;
    this.url = URL.createObjectURL(file);
    byId("chosen-name").textContent = `${name} · ${size(file.size)}`;
    if (file.type.startsWith("image/") || /\.(jpe?g|png)$/i.test(name)) {
      this.image.src = this.url;
      this.#kind("image");
    } else {
      this.video.src = this.url;
      this.#kind("video");
      if (document.documentElement.dataset.motion !== "calm") this.video.play().catch((error) => console.info("lectern: the clip waits for a touch", error));
    }
    this.#show();
    this.onChange();
  }

  clear() {
    this.#forget();
    this.#show();
    this.onChange();
  }

  #forget() {
    const old = this.url;
    this.url = "";
    this.file = null;
    this.video.removeAttribute("src");
    this.video.load();
    this.image.removeAttribute("src");
    if (old) URL.revokeObjectURL(old);
  }

  /** @param {"video" | "image" | "none"} kind */
  #kind(kind) {
    this.video.hidden = kind !== "video";
    this.image.hidden = kind !== "image";
    byId("chosen-none").hidden = kind !== "none";
    if (kind === "none") shape(byId("chosen-frame"), 16, 10);
  }

  #show() {
    byId("recorder").hidden = true;
    byId("drop").hidden = this.file !== null;
    byId("chosen").hidden = this.file === null;
  }

  /** @param {string} key a sentence, or "" for none */
  #complain(key) {
    this.errorKey = key;
    byId("clip-error").hidden = !key;
    byId("clip-error").textContent = key ? t(key) : "";
    if (key) this.#show();
  }
}
