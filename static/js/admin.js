/** The operator's page: what the server does now, kept up to date by itself, and the few things an operator does. */

import { askForKey } from "./access.js";
import { drain, drainState, health, readiness, undrain } from "./admin-api.js";
import { AvatarPanels } from "./admin-avatars.js";
import { CapacityBars } from "./admin-capacity.js";
import { ConfigurationView } from "./admin-config.js";
import { PartLists } from "./admin-parts.js";
import { SessionCards } from "./admin-sessions.js";
import { TurnChart } from "./admin-turns.js";
import { ApiError } from "./api.js";
import { startChrome } from "./chrome.js";
import { byId, toast } from "./dom.js";
import { explain, needsKey } from "./errors.js";
import { ago, duration } from "./figures.js";
import { addWords, has, onLanguage, t } from "./i18n.js";
import { Poll } from "./poll.js";
import { mark, write } from "./rows.js";
import { adminEn } from "./strings/admin.en.js";
import { adminZh } from "./strings/admin.zh.js";

addWords(adminEn, adminZh);
startChrome("admin.title");

const FAST = 2000;
const SLOW = 10000;
const RARE = 30000;

const poll = new Poll();
const sessions = new SessionCards(() => void poll.now(live));
const bars = new CapacityBars();
const turns = new TurnChart();
const avatars = new AvatarPanels(() => void poll.now(disk));
const parts = new PartLists();
const config = new ConfigurationView();

/** When the server answered last. */
let heard = new Date();
/** @type {unknown} why the last question had no answer */
let trouble = null;
/** @type {string | null} why a session that came now would be refused */
let refused = null;
/** @type {import("./admin-api.js").Drain | null} how it goes out of service, if it does */
let going = null;
/** @type {Record<string, {ok: boolean, detail?: string}>} */
let checks = {};
/** @type {{version: string, engine: string, uptime_seconds: number} | null} */
let about = null;
/** @type {Promise<boolean> | null} */
let asking = null;
let declined = false;

/** Ask, and tell on the page when that fails. A key that is missing is asked for, once for all questions. @param {() => Promise<void>} question */
function guarded(question) {
  return async () => {
    for (;;) {
      try {
        await question();
        heard = new Date();
        trouble = null;
      } catch (error) {
        if (needsKey(error) && (await key())) continue;
        trouble = error;
      }
      return head();
    }
  };
}

/** Whether a key was given. Who closes the question is not asked again by every question that follows. */
async function key() {
  if (declined) return false;
  asking ??= askForKey().finally(() => {
    asking = null;
  });
  const given = await asking;
  declined = !given;
  return given;
}

const live = guarded(async () => {
  const [code] = await Promise.all([bars.refresh(), sessions.refresh(), turns.refresh(), avatars.refreshBuilds()]);
  refused = code;
  going = code === "draining" ? await drainState() : null;
});
const state = guarded(async () => {
  [checks, about] = await Promise.all([readiness(), health()]);
  await parts.refresh();
});
const disk = guarded(() => avatars.refreshStorage());
const settings = guarded(() => config.refresh());

/** The head of the page: may students come, and does the server answer at all. */
function head() {
  const failing = Object.entries(checks).filter(([name, check]) => !check.ok && !(name === "serving" && refused === "draining"));
  const box = byId("state");
  if (trouble !== null) mark(box, "data-state", "away");
  else if (refused !== null) mark(box, "data-state", "draining");
  else if (failing.length) mark(box, "data-state", "bad");
  else mark(box, "data-state", about ? "good" : "loading");
  const names = failing.map(([name, check]) => `${has(`admin.check.${name}`) ? t(`admin.check.${name}`) : name}${check.detail ? ` – ${check.detail}` : ""}`);
  let words = about ? t("admin.ready") : t("admin.loading");
  if (failing.length) words = t("admin.notReady", { checks: names.join("; ") });
  if (refused !== null && !(failing.length && refused !== "draining")) words = has(`admin.refused.${refused}`) ? t(`admin.refused.${refused}`) : t("admin.refusing", { code: refused });
  if (going) {
    const left = going.seconds_left === null ? "" : ` · ${t("admin.drainLeft", { time: duration(going.seconds_left) })}`;
    const running = t(going.running === 1 ? "admin.drainRunningOne" : "admin.drainRunning", { n: going.running });
    words += ` · ${running}${left}`;
  }
  write(byId("state-words"), words);
  if (about) write(byId("about"), t("admin.about", { version: about.version, engine: about.engine, time: duration(about.uptime_seconds) }));
  byId("drain").hidden = about === null || refused === "draining";
  byId("undrain").hidden = going === null || going.stopping;
  const forbidden = trouble instanceof ApiError && trouble.status === 403;
  const locked = needsKey(trouble) || forbidden;
  byId("away").hidden = trouble === null;
  mark(byId("main"), "data-locked", locked ? "yes" : null);
  if (locked) poll.stop(); // the answer stays the same until there is another key
  byId("other-key").hidden = !locked;
  if (trouble !== null) write(byId("away-words"), forbidden ? t("admin.forbidden") : locked ? explain(trouble) : t("admin.away", { when: ago(heard.toISOString()) }));
}

byId("other-key").addEventListener("click", async () => {
  declined = false;
  if (await key()) poll.start();
});
byId("drain").addEventListener("click", async () => {
  /** @type {HTMLDialogElement} */
  const dialog = byId("draining");
  if (dialog.open) return;
  const waiting = bars.found?.waiting.used ?? 0;
  byId("draining-line").hidden = waiting === 0;
  byId("draining-line").textContent = t(waiting === 1 ? "admin.drainLineOne" : "admin.drainLine", { n: waiting });
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "yes") return;
  const chosen = /** @type {HTMLSelectElement} */ (byId("drain-for")).value;
  await act(() => drain(chosen === "" ? null : Number(chosen)), "admin.drained");
});
byId("undrain").addEventListener("click", () => void act(undrain, "admin.undrained"));

/** Do something to the server, and say that it is done or why not. @param {() => Promise<void>} deed @param {string} done */
async function act(deed, done) {
  try {
    await deed();
    toast(t(done));
  } catch (error) {
    toast(explain(error), "bad");
  }
  void poll.now(live);
}
onLanguage(head);

poll.add(live, FAST);
poll.add(state, SLOW);
poll.add(disk, RARE);
poll.add(settings, RARE * 2);
head();
poll.start();
