/** Ids of tutors: the server's rule, and a good proposal for a name. */

const RULE = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** @param {string} id */
export function isId(id) {
  return RULE.test(id);
}

/**
 * An id for a name: "Ms. Chén" becomes "ms-chen". A name without Latin letters gets "tutor-" and four signs made from it.
 * @param {string} name @returns {string} "" for an empty name
 */
export function propose(name) {
  const plain = name
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 48);
  if (plain) return plain;
  if (!name.trim()) return "";
  let sum = 5381;
  for (const letter of name.trim()) sum = ((sum * 33) ^ (letter.codePointAt(0) ?? 0)) >>> 0;
  return `tutor-${sum.toString(36).slice(-4).padStart(4, "0")}`;
}

/** A free one: "ms-chen", else "ms-chen-2", … @param {string} id @param {Set<string>} taken */
export function free(id, taken) {
  if (!id || !taken.has(id)) return id;
  for (let number = 2; ; number += 1) if (!taken.has(`${id}-${number}`)) return `${id}-${number}`;
}
