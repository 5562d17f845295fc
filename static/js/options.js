/** How the page is shown: size of the text, calm or lively; remembered. And the transcript to take away. */

import { byId } from "./dom.js";
import { remember } from "./store.js";

const root = document.documentElement;

/** Whether movement is to be kept small: as chosen here, else as the device asks. early.js has set it. */
export function calm() {
  return root.dataset.motion === "calm";
}

/**
 * @param {import("./transcript.js").Transcript} transcript
 * @param {() => {name: string, id: string} | null} tutor who it was that is talked with
 */
export function startOptions(transcript, tutor) {
  /** @type {HTMLDialogElement} */
  const dialog = byId("options");
  byId("options-open").addEventListener("click", () => dialog.showModal());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
  for (const input of byId("text-size").querySelectorAll("input")) {
    input.checked = input.value === root.dataset.text;
    input.addEventListener("change", () => {
      root.dataset.text = input.value;
      remember("text", input.value);
    });
  }
  /** @type {HTMLInputElement} */
  const motion = byId("motion");
  const show = () => (motion.checked = calm());
  show();
  window.matchMedia("(prefers-reduced-motion: reduce)").addEventListener("change", show); // after early.js
  motion.addEventListener("change", () => {
    root.dataset.motion = motion.checked ? "calm" : "lively";
    remember("motion", root.dataset.motion);
  });
  /** @type {NodeListOf<HTMLButtonElement>} */
  const saves = document.querySelectorAll("[data-save]");
  for (const button of saves) {
    button.addEventListener("click", () => {
      const who = tutor();
      if (who) transcript.download(who.name, who.id);
    });
  }
  const enable = () => {
    for (const button of saves) button.disabled = transcript.entries.length === 0;
  };
  enable();
  transcript.addEventListener("change", enable);
}
