/** The teacher page: a clip and a few facts in, a tutor out. It wires the parts together. */

import { startChrome } from "./chrome.js";
import { ClipChooser } from "./clip.js";
import { byId } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { Library } from "./library.js";
import { Maker } from "./maker.js";
import { Preview } from "./preview.js";
import { free, isId, propose } from "./slug.js";

startChrome("teacher.title");

/** @type {HTMLInputElement} */
const name = byId("name");
/** @type {HTMLInputElement} */
const id = byId("id");
/** @type {HTMLInputElement} */
const blur = byId("blur");
/** @type {HTMLInputElement} */
const consent = byId("consent");
/** @type {HTMLButtonElement} */
const create = byId("create");
let idTouched = false;

const clip = new ClipChooser(check);
const preview = new Preview();
const maker = new Maker(preview, () => void library.refresh(), back);
const library = new Library(
  (record) => {
    byId("bench").hidden = true;
    byId("tips").hidden = true;
    maker.show(record);
  },
  async (gone) => {
    if (maker.id !== gone || !maker.working) return;
    await preview.close();
    maker.reset();
    back("nothing");
  },
  check,
);

/** What still stands between the teacher and the button, said one at a time. */
function check() {
  const chosen = id.value.trim();
  let complaint = "";
  if (chosen && !isId(chosen)) complaint = t("teacher.idBad");
  else if (library.taken.has(chosen)) complaint = t("teacher.idTaken");
  byId("id-error").textContent = complaint;
  byId("id-error").hidden = !complaint;
  id.setAttribute("aria-invalid", String(complaint !== ""));
  let missing = "";
  if (!clip.file) missing = t("teacher.needClip");
  else if (!chosen) missing = t("teacher.needName");
  else if (!consent.checked) missing = t("teacher.needConsent");
  if (byId("missing").textContent !== missing) byId("missing").textContent = missing;
  create.disabled = missing !== "" || complaint !== "";
}

/** Back to the form. @param {"all" | "fields" | "nothing"} keep of what was in it */
function back(keep) {
  byId("bench").hidden = false;
  byId("tips").hidden = false;
  if (keep !== "all") {
    clip.clear();
    consent.checked = false; // another clip, another consent
  }
  if (keep === "nothing") {
    name.value = "";
    id.value = "";
    idTouched = false;
  }
  check();
  byId("bench").scrollIntoView({ block: "nearest" });
  (keep === "all" ? create : byId("file")).focus({ preventScroll: true });
}

/** A still of the chosen clip, small, as a data address. @returns {string} */
function still() {
  const source = clip.image.hidden ? clip.video : clip.image;
  const width = source instanceof HTMLVideoElement ? source.videoWidth : source.naturalWidth;
  const height = source instanceof HTMLVideoElement ? source.videoHeight : source.naturalHeight;
  if (source.hidden || width === 0) return "";
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, 640 / Math.max(width, height));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.getContext("2d")?.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.8);
}

name.addEventListener("input", () => {
  if (!idTouched) id.value = free(propose(name.value), library.taken);
  check();
});
id.addEventListener("input", () => {
  idTouched = id.value !== "";
  check();
});
consent.addEventListener("change", check);
byId("bench").addEventListener("submit", (event) => {
  event.preventDefault();
  check();
  if (create.disabled || !clip.file) return;
  const picture = still();
  clip.video.pause();
  byId("bench").hidden = true;
  byId("tips").hidden = true;
  const order = { id: id.value.trim(), name: name.value.trim(), blur: blur.checked, consent: consent.checked, file: clip.file, fileName: clip.fileName };
  void maker.make(order, picture);
});
window.addEventListener("beforeunload", (event) => {
  if (maker.sending) event.preventDefault(); // the upload would be lost
});
onLanguage(check);

check();
void library.refresh();
