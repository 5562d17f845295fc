/** Lists that keep their elements: what stays is only written where it differs, so that nothing flickers or loses focus. */

/**
 * One row: its element, and how to show another state of the same thing in it.
 * @template T
 * @typedef {{node: HTMLElement, show: (item: T) => void, gone?: () => void}} Row
 */

/** @template T */
export class Rows {
  /**
   * @param {HTMLElement} parent
   * @param {(item: T) => string} key what makes two items the same thing
   * @param {(item: T) => Row<T>} make an empty row for an item; `show` fills it
   */
  constructor(parent, key, make) {
    this.parent = parent;
    this.key = key;
    this.make = make;
    /** @type {Map<string, Row<T>>} */
    this.rows = new Map();
  }

  /** @param {T[]} items in the order to show them */
  show(items) {
    const wanted = new Map(items.map((item) => [this.key(item), item]));
    for (const [key, row] of this.rows) {
      if (wanted.has(key)) continue;
      row.gone?.();
      row.node.remove();
      this.rows.delete(key);
    }
    /** @type {Element | null} */
    let place = this.parent.firstElementChild;
    for (const [key, item] of wanted) {
      let row = this.rows.get(key);
      if (!row) {
        row = this.make(item);
        this.rows.set(key, row);
      }
      row.show(item);
      if (row.node === place) place = place.nextElementSibling;
      else this.parent.insertBefore(row.node, place);
    }
  }
}

/** Write a text, if it is another one. @param {Element} node @param {string} text */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute, if it is another one; null takes it away. @param {Element} node @param {string} name @param {string | null} value */
export function mark(node, name, value) {
  if (node.getAttribute(name) === value) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}
