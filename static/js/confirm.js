/** The question before something that cannot be undone. */

import { byId } from "./dom.js";

/**
 * Ask; the safe answer has the focus.
 * @param {{title: string, text: string, yes: string, no: string}} words
 * @returns {Promise<boolean>}
 */
export async function sure({ title, text, yes, no }) {
  /** @type {HTMLDialogElement} */
  const dialog = byId("confirm");
  if (dialog.open) return false;
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  byId("confirm-no").textContent = no;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "yes";
}
