/** Engines, voices, ears and model: which there are, and why one is off. */

import { engines, voices } from "./admin-api.js";
import { byId, el } from "./dom.js";
import { number } from "./figures.js";
import { has, onLanguage, t } from "./i18n.js";
import { mark, Rows, write } from "./rows.js";

/** @typedef {{name: string, title: string, words: string, badge: string, tone: string}} Part */

/** @returns {import("./rows.js").Row<Part>} */
function partRow() {
  const title = el("span", { class: "part-name" });
  const badge = el("span", { class: "badge" });
  const words = el("p", { class: "part-words" });
  const node = el("li", { class: "part" }, title, badge, words);
  return {
    node,
    show: (part) => {
      mark(node, "data-name", part.name);
      write(title, part.title);
      write(badge, part.badge);
      mark(badge, "class", `badge ${part.tone}`);
      badge.hidden = part.badge === "";
      write(words, part.words);
      words.hidden = part.words === "";
    },
  };
}

/** @param {import("./admin-api.js").Engine} engine @returns {Part} */
function enginePart(engine) {
  const { name, chosen, available, code, cause, why, figures } = engine;
  let words = name === "warp" ? t("admin.engineWarp") : "";
  // Our own sentence where there is one for the code and the cause.
  if (code) words = [`admin.engineWhy.${code}`, `admin.engineCause.${cause}`].filter(has).map((key) => t(key)).join(" ") || (why ?? code);
  if (chosen && !code && figures?.mouths_per_second) {
    const { mouths_per_second: rate, device, capacity, restarts } = figures;
    words = t("admin.engineRate", { rate: number(rate), device: device ?? "", capacity: capacity ?? "–", restarts });
  }
  const badge = chosen ? t("admin.chosen") : available && !code ? t("admin.available") : t("admin.off");
  const tone = chosen ? (code ? "preparing" : "active") : available && !code ? "ready" : "off";
  return { name, title: has(`admin.engine.${name}`) ? t(`admin.engine.${name}`) : name, words, badge, tone };
}

export class PartLists {
  constructor() {
    /** @type {import("./admin-api.js").Engine[]} */
    this.engines = [];
    /** @type {import("./admin-api.js").Voices | null} */
    this.voices = null;
    const rows = (/** @type {string} */ id) => /** @type {Rows<Part>} */ (new Rows(byId(id), (part) => part.name, partRow));
    this.rows = { engines: rows("engines"), voices: rows("voices"), listening: rows("listening"), model: rows("model") };
    onLanguage(() => this.#draw());
  }

  async refresh() {
    [this.engines, this.voices] = await Promise.all([engines(), voices()]);
    this.#draw();
  }

  #draw() {
    this.rows.engines.show(this.engines.map(enginePart));
    if (!this.voices) return;
    const { voices: found, listening, model } = this.voices;
    this.rows.voices.show(
      found.map((voice) => ({
        name: voice.name,
        title: voice.name,
        words: voice.available ? "" : t("admin.voiceResting", { seconds: number(voice.again_in ?? 0) }),
        badge: t(!voice.available ? "admin.resting" : voice.default ? "admin.voiceDefault" : voice.online ? "admin.voiceOnline" : "admin.voiceBuiltIn"),
        tone: !voice.available ? "preparing" : voice.default ? "active" : "plain",
      })),
    );
    const why = listening.code && has(`mic.unavailable.${listening.code}`) ? t(`mic.unavailable.${listening.code}`) : (listening.reason ?? "");
    this.rows.listening.show([
      {
        name: "listening",
        title: t("admin.listening"),
        words: listening.available ? t("admin.listeningOn") : why,
        badge: t(listening.available ? "admin.chosen" : "admin.off"),
        tone: listening.available ? "active" : "off",
      },
    ]);
    const demo = model.mode === "demo";
    const modelPart = { name: "model", title: model.name ?? t("admin.model"), words: demo ? t("admin.modelDemo") : "" };
    this.rows.model.show([{ ...modelPart, badge: t(demo ? "admin.off" : "admin.chosen"), tone: demo ? "off" : "active" }]);
  }
}
