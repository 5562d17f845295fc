/** Small things remembered between visits. Storage may be forbidden or full: then they are simply forgotten. */

/** @param {string} key @returns {string | null} */
export function recall(key) {
  try {
    return window.localStorage.getItem(`lectern.${key}`);
  } catch {
    return null;
  }
}

/** @param {string} key @param {string} value */
export function remember(key, value) {
  try {
    window.localStorage.setItem(`lectern.${key}`, value);
  } catch (error) {
    console.info("lectern: not remembered", key, error);
  }
}

/** An id for this browser's student, made once. @returns {string} */
export function studentId() {
  const given = new URLSearchParams(window.location.search).get("student");
  if (given) return given.slice(0, 64);
  const known = recall("student");
  if (known) return known;
  const bytes = window.crypto.getRandomValues(new Uint8Array(8));
  const id = `web-${Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("")}`;
  remember("student", id);
  return id;
}
