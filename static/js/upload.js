/** Sending the clip: one form, with progress as the bytes leave, and a way to stop. */

import { keyHeader } from "./access.js";
import { ApiError, problem } from "./api.js";

/**
 * @typedef {object} Order
 * @property {string} id
 * @property {string} name
 * @property {boolean} blur
 * @property {boolean} consent
 * @property {Blob} file
 * @property {string} fileName
 */

/**
 * @param {Order} order
 * @param {(done: number, total: number) => void} onProgress bytes
 * @param {AbortSignal} signal
 * @returns {Promise<any>} what the server answered
 */
export function upload(order, onProgress, signal) {
  const form = new FormData();
  // The fields first: then the server can refuse them before it takes the file.
  form.append("avatar_id", order.id);
  form.append("tutor_id", order.name);
  form.append("apply_blur", String(order.blur));
  form.append("consent", String(order.consent));
  form.append("video_file", order.file, order.fileName);
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    let last = performance.now();
    // A stalled network: no byte moved for a minute.
    const watch = window.setInterval(() => {
      if (performance.now() - last > 60_000) {
        call.abort();
        finish(() => reject(new ApiError("timeout", "")));
      }
    }, 2000);
    const stop = () => {
      call.abort();
      finish(() => reject(new ApiError("aborted", "")));
    };
    /** @param {() => void} act */
    const finish = (act) => {
      window.clearInterval(watch);
      signal.removeEventListener("abort", stop);
      act();
    };
    call.upload.addEventListener("progress", (event) => {
      last = performance.now();
      onProgress(event.loaded, event.total);
    });
    call.addEventListener("load", () => {
      finish(() => {
        if (call.status >= 200 && call.status < 300) resolve(JSON.parse(call.responseText));
        else reject(problem(call.status, call.responseText, call.getResponseHeader("Retry-After")));
      });
    });
    call.addEventListener("error", () => finish(() => reject(new ApiError("network", ""))));
    signal.addEventListener("abort", stop);
    call.open("POST", "/v1/avatars/upload");
    for (const [name, value] of Object.entries(keyHeader())) call.setRequestHeader(name, value);
    call.send(form);
  });
}
