/** Sizes of files in the unit that suits them: "820 B", "46 kB", "6.3 MB". */

const UNITS = ["B", "kB", "MB", "GB"];

/** @param {number} bytes @returns {{power: number, unit: string}} */
function unitOf(bytes) {
  let power = 0;
  // 999 950 B would be shown as "1000 kB".
  while (power < UNITS.length - 1 && bytes >= 999.5 * 1000 ** power) power += 1;
  return { power, unit: UNITS[power] };
}

/** @param {number} bytes @param {number} power */
function figure(bytes, power) {
  return (bytes / 1000 ** power).toFixed(power < 2 ? 0 : 1);
}

/** @param {number} bytes @returns {string} */
export function size(bytes) {
  const { power, unit } = unitOf(bytes);
  return `${figure(bytes, power)} ${unit}`;
}

/** A part and a whole in the whole's unit, as values for a sentence. @param {number} done @param {number} total */
export function sizes(done, total) {
  const { power, unit } = unitOf(total);
  return { done: figure(done, power), total: figure(total, power), unit };
}
