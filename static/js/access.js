/** The server's key, where one is set: asked for once a tab, sent with every call. It never leaves this tab. */

import { byId } from "./dom.js";

const NAME = "lectern.key";
let key = "";
try {
  key = window.sessionStorage.getItem(NAME) ?? "";
} catch (error) {
  console.info("lectern: the key is kept for this page only", error);
}

/** The session that this page is for, if it has no key: its token opens that one alone. @type {{id: string, token: string} | null} */
let own = null;

/** @param {string} id @param {string} token */
export function useSession(id, token) {
  own = { id, token };
}

/** The id of the session that this page is for, if it is for one only. @returns {string | null} */
export function ownSession() {
  return own?.id ?? null;
}

/** @returns {Record<string, string>} the header that carries the key, or the token; empty without one */
export function keyHeader() {
  const shown = own?.token ?? key;
  return shown ? { Authorization: `Bearer ${shown}` } : {};
}

/** @param {string} value */
function keep(value) {
  key = value;
  try {
    window.sessionStorage.setItem(NAME, value);
  } catch (error) {
    console.info("lectern: the key is kept for this page only", error);
  }
}

/** Ask for the key; resolves to whether one was given. @returns {Promise<boolean>} */
export async function askForKey() {
  /** @type {HTMLDialogElement} */
  const dialog = byId("access");
  if (dialog.open) return false;
  /** @type {HTMLInputElement} */
  const field = byId("key");
  field.value = "";
  byId("access-wrong").hidden = key === "";
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "yes" || !field.value.trim()) return false;
  keep(field.value.trim());
  return true;
}
