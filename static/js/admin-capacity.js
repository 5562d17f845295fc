/** How full the server is, as bars. */

import { capacity } from "./admin-api.js";
import { size } from "./bytes.js";
import { byId, el } from "./dom.js";
import { number, percent } from "./figures.js";
import { onLanguage, t } from "./i18n.js";
import { mark, Rows, write } from "./rows.js";

/** @typedef {import("./admin-api.js").Bar} Bar */
/** @typedef {{name: string, bar: Bar}} Named */

const NAMES = /** @type {const} */ (["sessions", "speaking", "waiting", "cpu", "loop", "memory", "disk"]);
const WARN = 0.8;
const FULL = 0.95;

/** @param {Named} named @returns {string} */
function words({ name, bar }) {
  const bytes = name === "memory" || name === "disk";
  const share = name === "cpu" || name === "loop";
  const shown = (/** @type {number} */ value) => (bytes ? size(value) : share ? percent(value / 100, 0) : number(value));
  const used = shown(bar.used);
  if (bar.limit === null || (share && bar.limit === 100)) return t("admin.noLimit", { used });
  return t("admin.of", { used, limit: shown(bar.limit) });
}

/** @returns {import("./rows.js").Row<Named>} */
function row() {
  const label = el("span", { class: "bar-label" });
  const value = el("span", { class: "bar-value" });
  const fill = el("span");
  const meter = el("div", { class: "meter", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
  const node = el("li", { class: "bar-row" }, label, value, meter);
  return {
    node,
    show: (named) => {
      const { name, bar } = named;
      mark(node, "data-name", name);
      write(label, t(`admin.bar.${name}`));
      write(value, words(named));
      const share = bar.limit ? Math.min(1, bar.used / bar.limit) : 0;
      const whole = String(Math.round(share * 100));
      mark(meter, "aria-label", t(`admin.bar.${name}`));
      mark(meter, "aria-valuenow", whole);
      mark(meter, "aria-valuetext", words(named));
      mark(node, "data-tone", share >= FULL ? "bad" : share >= WARN ? "warn" : null);
      mark(node, "data-open", bar.limit === null ? "yes" : null);
      if (fill.style.inlineSize !== `${whole}%`) fill.style.inlineSize = `${whole}%`;
    },
  };
}

export class CapacityBars {
  constructor() {
    /** @type {Rows<Named>} */
    this.rows = new Rows(byId("bars"), (named) => named.name, row);
    /** @type {import("./admin-api.js").Capacity | null} */
    this.found = null;
    onLanguage(() => this.#draw());
  }

  /** @returns {Promise<string | null>} why a session that came now would be refused, if it would */
  async refresh() {
    this.found = await capacity();
    this.#draw();
    return this.found.refused ?? null;
  }

  #draw() {
    const found = this.found;
    if (found) this.rows.show(NAMES.filter((name) => found[name]).map((name) => ({ name, bar: found[name] })));
  }
}
