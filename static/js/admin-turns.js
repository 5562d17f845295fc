/** The newest turns as bars: how long until the first sound, and which stage took how much of it. */

import { turns as list } from "./admin-api.js";
import { byId, el } from "./dom.js";
import { ago, ms } from "./figures.js";
import { has, onLanguage, t } from "./i18n.js";
import { mark, Rows, write } from "./rows.js";

/** @typedef {import("./admin-api.js").Turn} Turn */

const STAGES = /** @type {const} */ (["words", "model", "sentence", "voice", "sound"]);
const SHOWN = 12;
/** The bars' scale is never finer than this (ms), nor coarser than that: an outlier must not make all others vanish. */
const FINEST = 1000;
const COARSEST = 6000;
const SLOW = 1500;
const BAD = 3000;

/** What each stage took after the one before it, in ms; what it waited behind other utterances is left out. @param {Turn} turn */
export function steps(turn) {
  let before = turn.waited_ms;
  return STAGES.map((stage) => {
    const at = turn[`${stage}_ms`];
    if (at === null) return { stage, took: 0 };
    const took = Math.max(0, at - before);
    before = Math.max(before, at);
    return { stage, took };
  });
}

/** Until the first sound, from when its turn had come; null: it was not heard. @param {Turn} turn */
export function untilSound(turn) {
  return turn.sound_ms === null ? null : Math.max(0, turn.sound_ms - turn.waited_ms);
}

/** @returns {import("./rows.js").Row<{turn: Turn, scale: number}>} */
function row() {
  const when = el("b");
  const about = el("small");
  const bar = el("div", { class: "turn-bar", role: "img" });
  const parts = STAGES.map((stage) => el("span", { "data-stage": stage }));
  bar.append(...parts);
  const sound = el("span", { class: "turn-sound" });
  const badge = el("span", { class: "badge" });
  const node = el("li", { class: "turn" }, el("div", { class: "turn-about" }, when, about), bar, sound, badge);
  return {
    node,
    show: ({ turn, scale }) => {
      mark(node, "data-id", turn.utterance_id);
      write(when, ago(turn.at));
      const kind = has(`admin.kind.${turn.kind}`) ? t(`admin.kind.${turn.kind}`) : turn.kind;
      write(about, t("admin.turnAbout", { kind, characters: turn.characters, avatar: turn.avatar_id }));
      const took = steps(turn);
      for (const [index, { took: each }] of took.entries()) {
        const size = `${Math.min(100, (100 * each) / scale).toFixed(2)}%`;
        if (parts[index].style.inlineSize !== size) parts[index].style.inlineSize = size;
      }
      const words = took.filter((each) => each.took > 0).map((each) => `${t(`admin.stage.${each.stage}`)} ${ms(each.took)}`).join(", ");
      mark(bar, "aria-label", words || t("admin.unheard"));
      mark(bar, "title", words || null);
      const heard = untilSound(turn);
      write(sound, heard === null ? t("admin.unheard") : ms(heard));
      mark(sound, "data-tone", heard === null ? null : heard >= BAD ? "bad" : heard >= SLOW ? "warn" : null);
      write(badge, has(`admin.outcome.${turn.outcome}`) ? t(`admin.outcome.${turn.outcome}`) : turn.outcome);
      mark(badge, "class", `badge ${turn.outcome}`);
    },
  };
}

export class TurnChart {
  constructor() {
    /** @type {Turn[] | null} */
    this.found = null;
    /** @type {Rows<{turn: Turn, scale: number}>} */
    this.rows = new Rows(byId("turns"), (item) => item.turn.utterance_id, row);
    onLanguage(() => this.#draw());
  }

  async refresh() {
    this.found = await list(SHOWN);
    this.#draw();
  }

  #draw() {
    const found = this.found ?? [];
    byId("legend").replaceChildren(...STAGES.map((stage) => el("li", { "data-stage": stage }, t(`admin.stage.${stage}`))));
    const heard = found.map(untilSound).filter((value) => value !== null).sort((a, b) => a - b);
    const longest = heard.at(-1) ?? 0;
    const scale = Math.max(FINEST, Math.min(COARSEST, longest));
    this.rows.show(found.map((turn) => ({ turn, scale })));
    byId("turns-box").hidden = found.length === 0;
    const median = heard.length ? ms(heard[Math.floor((heard.length - 1) / 2)]) : "–";
    write(byId("turns-note"), this.found === null ? t("admin.loading") : found.length ? t("admin.turnsLead", { median }) : t("admin.noTurns"));
  }
}
