/** The student page: choose a tutor, talk, leave. It wires the parts together. */

import { askForKey } from "./access.js";
import { listAvatars } from "./api.js";
import { startChrome } from "./chrome.js";
import { Conversation } from "./conversation.js";
import { byId, toast } from "./dom.js";
import { explain, isCapacity, needsKey, remedy } from "./errors.js";
import { onLanguage, t } from "./i18n.js";
import { look } from "./link.js";
import { LiveSession } from "./live.js";
import { Notice } from "./notice.js";
import { startOptions } from "./options.js";
import { Picker } from "./picker.js";
import { RecordingMark } from "./recording.js";
import { Speaking } from "./speaking.js";
import { Stage } from "./stage.js";
import { studentId } from "./store.js";

const query = new URLSearchParams(window.location.search);
const wanted = query.get("tutor") ?? query.get("avatar");

/** @type {LiveSession | null} */
let session = null;
let retry = () => void load();

startChrome("student.title");
const stage = new Stage();
const conversation = new Conversation();
const speaking = new Speaking();
const recording = new RecordingMark();
const notice = new Notice(() => retry(), choose);
const picker = new Picker(showChoice);
startOptions(conversation.transcript, () => picker.chosen);

/** @param {"choose" | "live"} view */
function show(view) {
  byId("main").dataset.view = view;
  byId("chooser").hidden = view !== "choose";
  byId("talk").hidden = view !== "live";
  byId("start").hidden = view !== "choose" || picker.chosen === null;
  byId("controls").hidden = view !== "live";
}

/** @param {import("./api.js").AvatarRecord | null} avatar */
function showChoice(avatar) {
  if (session) return;
  stage.showPoster(avatar?.id ?? null);
  byId("start").hidden = avatar === null;
  nameThings();
}

function nameThings() {
  const avatar = picker.chosen;
  const key = !avatar ? "student.startPlain" : avatar.sample ? "student.startSample" : "student.start";
  byId("start-words").textContent = t(key, { name: avatar?.name ?? "" });
  byId("choose-title").textContent = t(picker.avatars.length === 1 ? "student.ready" : "student.choose");
  const lead = picker.avatars.length === 0 ? "" : t(picker.avatars.length === 1 ? "student.readyLead" : "student.chooseLead");
  byId("choose-lead").textContent = lead;
  byId("talk-name").textContent = avatar?.name ?? "";
}

/** Back to the choice of tutors, with a fresh list. */
function choose() {
  session?.end();
  session = null;
  stage.stop();
  stage.setState("idle");
  conversation.clear();
  notice.hide();
  void load();
}

async function load() {
  retry = () => void load();
  show("choose");
  picker.wait();
  try {
    const ready = (await listAvatars()).filter((avatar) => avatar.state === "ready");
    picker.show(ready, picker.chosen?.id ?? wanted);
    if (wanted && ready.length > 0 && !ready.some((avatar) => avatar.id === wanted)) {
      toast(t("student.unknownTutor", { id: wanted.slice(0, 64) }), "bad");
    }
    show("choose");
  } catch (error) {
    if (needsKey(error) && (await askForKey())) return load();
    picker.show([], null);
    byId("cards").replaceChildren();
    fail(error, false);
  }
}

/** @param {unknown} error @param {boolean} other */
function fail(error, other) {
  if (isCapacity(error)) {
    notice.show({
      icon: "clock",
      title: () => t("notice.capacityTitle"),
      text: () => t("notice.capacityText"),
      action: () => t("notice.now"),
      seconds: error.retryAfter ?? 10,
      other,
    });
    return;
  }
  notice.show({
    icon: "warn",
    title: () => t("notice.failedTitle"),
    text: () => explain(error),
    hint: () => remedy(error),
    action: () => t("notice.retry"),
    other,
  });
}

function begin() {
  const avatar = picker.chosen;
  if (!avatar) return;
  retry = begin;
  session?.end();
  notice.hide();
  const mine = new LiveSession(avatar.id, studentId(), { talks: true });
  session = mine;
  show("live");
  stage.showPoster(avatar.id);
  conversation.attach(mine);
  speaking.attach(mine);
  recording.attach(mine);
  mine.addEventListener("state", () => {
    if (session === mine) stage.setState(mine.state);
  });
  mine.addEventListener("stream", (event) => void stage.show(/** @type {CustomEvent} */ (event).detail));
  mine.addEventListener("over", (event) => {
    if (session === mine) finished(/** @type {CustomEvent} */ (event).detail);
  });
  void mine.start();
  if (window.matchMedia("(min-width: 900px)").matches) byId("text").focus();
}

/** @param {import("./live.js").Over} how */
function finished(how) {
  stage.stop();
  byId("controls").hidden = true;
  const again = () => t("notice.again");
  if (how.reason === "error") fail(how.error, true);
  else if (how.reason === "lost") {
    notice.show({
      icon: "nosignal",
      title: () => t("notice.lostTitle"),
      text: () => t("notice.lostText"),
      action: () => t("notice.retry"),
      other: true,
    });
  } else {
    const key = how.reason === "closed" ? "closed" : "ended";
    notice.show({
      icon: key === "closed" ? "clock" : "check",
      title: () => t(`notice.${key}Title`),
      text: () => t(`notice.${key}Text`),
      action: again,
      other: true,
    });
  }
}

byId("chooser").addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
byId("leave").addEventListener("click", () => session?.end());
window.addEventListener("pagehide", () => session?.end({ keepalive: true }));
onLanguage(nameThings);

/** For tests and measurements: the live connection, and what it has received. */
Object.defineProperty(window, "lectern", {
  value: {
    get session() {
      return session;
    },
    get pc() {
      return session?.media?.pc ?? null;
    },
    /** Counters of the receiver, and the times of the start in ms of `performance.now()`. */
    async stats() {
      const media = session?.media;
      if (!media) return null;
      return {
        ...(await look(media.pc)),
        state: session?.state,
        currentTime: stage.video.currentTime,
        width: stage.video.videoWidth,
        height: stage.video.videoHeight,
        offeredAt: media.offeredAt,
        firstFrameAt: stage.firstFrameAt,
      };
    },
  },
});

void load();
