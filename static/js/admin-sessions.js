/** The live sessions: a card each, with the picture of the moment, its figures and the button that stops it. */

import { sessions as list, stopSession, thumbnail } from "./admin-api.js";
import { ApiError, displayName } from "./api.js";
import { sure } from "./confirm.js";
import { byId, el, icon, toast } from "./dom.js";
import { explain } from "./errors.js";
import { bitrate, duration, fps, ms, percent } from "./figures.js";
import { has, onLanguage, t } from "./i18n.js";
import { mark, Rows, write } from "./rows.js";

/** @typedef {import("./admin-api.js").OperatorSession} OperatorSession */

const PICTURE_MS = 2000;

/** When a figure is worth a look, and when it is bad: [from here on, from here on]. */
const LIMITS = { late: [0.01, 0.05], rtt: [200, 400], loss: [0.02, 0.08], sound: [1500, 3000], slow: [24, 20] };

/** @param {number | null | undefined} value @param {number[]} limits rising, or falling @returns {string | null} */
function tone(value, [warn, bad]) {
  if (typeof value !== "number") return null;
  const over = (/** @type {number} */ limit) => (warn < bad ? value >= limit : value < limit);
  return over(bad) ? "bad" : over(warn) ? "warn" : null;
}

/** A session's picture, asked for again as long as it is on the screen. */
class Still {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.image = /** @type {HTMLImageElement} */ (el("img", { alt: "", hidden: true }));
    this.empty = icon("face");
    this.node = el("div", { class: "card-picture" }, this.empty, this.image);
    this.seen = false;
    this.there = false;
    this.address = "";
    this.timer = 0;
    this.watch = new IntersectionObserver((entries) => {
      const seen = entries.some((entry) => entry.isIntersecting);
      if (seen && !this.seen) void this.#look();
      this.seen = seen;
    });
    this.watch.observe(this.node);
    this.woken = () => void (this.seen && !document.hidden && this.#look());
    document.addEventListener("visibilitychange", this.woken);
  }

  /** @param {boolean} there whether the session has a picture */
  tell(there) {
    const came = there && !this.there;
    this.there = there;
    if (!there) this.image.hidden = true;
    if (came && this.seen && !document.hidden) void this.#look();
  }

  async #look() {
    window.clearTimeout(this.timer);
    if (!this.there) return;
    try {
      const fresh = URL.createObjectURL(await thumbnail(this.id));
      const loaded = new Image();
      loaded.src = fresh;
      await loaded.decode(); // shown when it can be painted at once: no flicker
      this.image.src = fresh;
      this.image.hidden = !this.there;
      if (this.address) URL.revokeObjectURL(this.address);
      this.address = fresh;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) this.image.hidden = true;
      else console.info("lectern: no picture", error);
    }
    if (this.there && this.seen && !document.hidden) this.timer = window.setTimeout(() => void this.#look(), PICTURE_MS);
  }

  gone() {
    this.seen = false;
    window.clearTimeout(this.timer);
    this.watch.disconnect();
    document.removeEventListener("visibilitychange", this.woken);
    if (this.address) URL.revokeObjectURL(this.address);
  }
}

/** What the tutor is called. @param {OperatorSession} session */
function tutorOf({ tutor_name: name, tutor_id: tutor, avatar_id: avatar }) {
  if (name) return name;
  return avatar === "sample" && (tutor ?? avatar) === avatar ? t("tutor.sample") : displayName(tutor ?? "", avatar);
}

export class SessionCards {
  /** @param {() => void} changed to be called when one was stopped */
  constructor(changed) {
    this.changed = changed;
    /** @type {OperatorSession[] | null} */
    this.found = null;
    this.rows = new Rows(byId("sessions"), (session) => session.session_id, (session) => this.#card(session));
    onLanguage(() => this.#draw());
  }

  async refresh() {
    const found = await list();
    const order = ["active", "starting", "waiting", "ready", "asleep"];
    found.sort((a, b) => order.indexOf(a.status) - order.indexOf(b.status) || a.seconds - b.seconds);
    this.found = found;
    this.#draw();
  }

  #draw() {
    const found = this.found;
    const count = (/** @type {string} */ status) => found?.filter((session) => session.status === status).length ?? 0;
    const [waiting, asleep] = [count("waiting"), count("asleep")];
    write(byId("session-count"), found ? String(found.length - waiting - asleep) : "");
    const beside = [waiting ? t("admin.inLine", { n: waiting }) : "", asleep ? t("admin.asleep", { n: asleep }) : ""];
    byId("session-beside").hidden = waiting + asleep === 0;
    write(byId("session-beside"), beside.filter(Boolean).join(" · "));
    write(byId("sessions-note"), found === null ? t("admin.loading") : found.length === 0 ? t("admin.noSessions") : "");
    byId("sessions-note").hidden = found !== null && found.length > 0;
    this.rows.show(found ?? []);
  }

  /** @param {OperatorSession} first */
  #card(first) {
    const still = new Still(first.session_id);
    const doing = el("span", { class: "card-doing" });
    const rate = el("span", { class: "card-fps" });
    still.node.append(doing, rate);
    const name = el("h3");
    const about = el("p", { class: "card-about" });
    const badge = el("span", { class: "badge" });
    const list = el("dl", { class: "facts" });
    /** @type {Record<string, {label: HTMLElement, value: HTMLElement}>} */
    const facts = {};
    for (const key of ["sayToSound", "late", "rtt", "loss", "bitrate", "viewers"]) {
      facts[key] = { label: el("dt"), value: el("dd") };
      list.append(el("div", {}, facts[key].label, facts[key].value));
    }
    const stop = el("button", { class: "button small", type: "button", onclick: () => void this.#stop(first) }, t("admin.stop"));
    const words = el("div", { class: "card-words" }, el("div", { class: "card-name" }, name, badge), about);
    const node = el("li", { class: "card", "data-id": first.session_id }, still.node, words, list, el("div", { class: "card-foot" }, stop));

    /** @param {string} key @param {string} text @param {string | null} level */
    const fact = (key, text, level = null) => {
      write(facts[key].label, t(`admin.${key}`));
      write(facts[key].value, text);
      mark(facts[key].value, "data-tone", level);
    };
    /** @param {OperatorSession} session */
    const show = (session) => {
      const { figures, student_id: student } = session;
      mark(node, "data-status", session.status);
      still.tell(session.picture);
      mark(still.image, "alt", t("admin.picture", { student }));
      write(name, student);
      const status = has(`admin.state.${session.status}`) ? t(`admin.state.${session.status}`) : session.status;
      write(badge, session.position ? t("admin.place", { n: session.position }) : status);
      mark(badge, "class", `badge ${session.status}`);
      const since = t("admin.since", { time: duration(session.seconds) });
      write(about, `${t("admin.with", { tutor: tutorOf(session) })} · ${since}`);
      const does = session.doing ?? "";
      doing.hidden = !has(`admin.doing.${does}`);
      if (!doing.hidden) write(doing, t(`admin.doing.${does}`));
      mark(doing, "data-doing", does || null);
      rate.hidden = !figures || figures.fps === null || session.viewers === 0;
      if (!rate.hidden) write(rate, fps(figures?.fps));
      mark(rate, "data-tone", rate.hidden ? null : tone(figures?.fps, LIMITS.slow));
      const late = figures && figures.mouths + figures.mouths_late > 0 ? figures.mouths_late / (figures.mouths + figures.mouths_late) : null;
      fact("sayToSound", ms(figures?.say_to_sound_ms), tone(figures?.say_to_sound_ms, LIMITS.sound));
      fact("late", percent(late), tone(late, LIMITS.late));
      fact("rtt", ms(figures?.rtt_ms), tone(figures?.rtt_ms, LIMITS.rtt));
      fact("loss", percent(figures?.loss), tone(figures?.loss, LIMITS.loss));
      fact("bitrate", bitrate(figures?.sent_bitrate));
      fact("viewers", String(session.viewers));
      write(stop, t("admin.stop"));
      mark(stop, "aria-label", t("admin.stopNamed", { student }));
    };
    return { node, show, gone: () => still.gone() };
  }

  /** @param {OperatorSession} session */
  async #stop(session) {
    const student = session.student_id;
    const words = { title: t("admin.stopTitle", { student }), text: t("admin.stopText"), yes: t("admin.stopYes"), no: t("admin.stopNo") };
    if (!(await sure(words))) return;
    try {
      await stopSession(session.session_id);
      toast(t("admin.stopped", { student }));
    } catch (error) {
      toast(explain(error), "bad");
    }
    this.changed();
  }
}
