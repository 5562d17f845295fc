/** The student page: choose a tutor, talk, leave. It wires the parts together. */

import { askForKey, useSession } from "./access.js";
import { ApiError, joinSession, listAvatars } from "./api.js";
import { startChrome } from "./chrome.js";
import { Conversation } from "./conversation.js";
import { Ending } from "./ending.js";
import { byId, toast } from "./dom.js";
import { explain, isBadLink, isCapacity, isGone, needsKey, remedy } from "./errors.js";
import { has, onLanguage, t } from "./i18n.js";
import { invitation, keepInvitation } from "./invitation.js";
import { look } from "./link.js";
import { LiveSession } from "./live.js";
import { Notice } from "./notice.js";
import { startOptions } from "./options.js";
import { Picker } from "./picker.js";
import { Queue } from "./queue.js";
import { RecordingMark } from "./recording.js";
import { Speaking } from "./speaking.js";
import { Stage } from "./stage.js";
import { studentId } from "./store.js";

const query = new URLSearchParams(window.location.search);
const wanted = query.get("tutor") ?? query.get("avatar");

/** The session that a school made for this student; then there is nothing to choose. */
let invited = invitation();
/** What is known of it. @type {import("./api.js").SessionInfo | null} */
let joined = null;

/** @type {LiveSession | null} */
let session = null;
let retry = () => void load();

startChrome("student.title");
const stage = new Stage();
const conversation = new Conversation();
const speaking = new Speaking();
const recording = new RecordingMark();
const notice = new Notice(() => retry(), choose);
const queue = new Queue(notice);
const ending = new Ending();
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
  byId("choose-title").hidden = invited !== null && picker.avatars.length === 0;
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
  if (invited) return join(invited, false);
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

/** @param {import("./invitation.js").Invitation} invited @param {boolean} again the student was there before: go in at once */
async function join(invited, again) {
  retry = () => void join(invited, again);
  show("choose");
  picker.wait();
  useSession(invited.session, invited.token);
  try {
    const found = await joinSession(invited.session, invited.token);
    joined = found.info;
    remember(joined.engine_token);
    picker.show([found.avatar], found.avatar.id);
    show("choose");
    // Who waits in line keeps the place by being connected; sound, if the browser holds it back, is asked for later.
    if (again || joined.status === "waiting") begin();
  } catch (error) {
    picker.show([], null);
    byId("cards").replaceChildren();
    if (isGone(error)) tell("check", "schoolEnded");
    else if (isBadLink(error)) tell("warn", "link");
    else fail(error, false);
  }
}

/** The invitation's token is renewed; the old one expires. @param {string} token */
function remember(token) {
  if (!invited) return;
  invited = { ...invited, token };
  keepInvitation(invited);
  useSession(invited.session, token);
}

/**
 * Say what is so, with nothing to do about it here.
 * @param {string} icon @param {"schoolEnded" | "link"} key @param {string} [why] the server's reason for an end
 */
function tell(icon, key, why = "") {
  const title = has(`notice.closed.${why}Title`) ? `notice.closed.${why}Title` : `notice.${key}Title`;
  notice.show({ icon, title: () => t(title), text: () => t(`notice.${key}Text`) });
}

/** @param {unknown} error @param {boolean} other */
function fail(error, other) {
  if (error instanceof ApiError && error.code === "draining") {
    // Told of a session in line: that one has ended, and who was invited to it has no other.
    const lost = invited !== null && error.status === 0;
    notice.show({
      icon: "clock",
      title: () => t("notice.drainingTitle"),
      text: () => t(lost ? "notice.drainingLost" : "error.draining"),
      action: lost ? undefined : () => t("notice.retry"),
      other,
    });
    return;
  }
  if (error instanceof ApiError && error.code === "too_many_requests") {
    notice.show({
      icon: "clock",
      title: () => t("notice.tooManyTitle"),
      text: () => explain(error),
      action: () => t("notice.now"),
      seconds: error.retryAfter ?? 10,
      other,
    });
    return;
  }
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
  const mine = new LiveSession(avatar.id, studentId(), { talks: true, waits: true, joined });
  session = mine;
  show("live");
  stage.showPoster(avatar.id);
  conversation.attach(mine);
  speaking.attach(mine);
  recording.attach(mine);
  queue.attach(mine);
  ending.attach(mine);
  mine.addEventListener("state", () => {
    if (session !== mine) return;
    stage.setState(mine.state);
    const open = !mine.over && mine.state !== "waiting";
    byId("controls").hidden = !open;
    conversation.open(open);
  });
  mine.addEventListener("token", (event) => remember(/** @type {CustomEvent} */ (event).detail));
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
  const invitedTo = invited;
  if (invitedTo) retry = () => void join(invitedTo, true);
  if (invited && (how.reason === "closed" || isGone(how.error))) tell("check", "schoolEnded", how.why);
  else if (invited && isBadLink(how.error)) tell("warn", "link");
  else if (invited && how.reason === "left") {
    notice.show({ icon: "check", title: () => t("notice.leftTitle"), text: () => t("notice.leftText"), action: () => t("notice.comeBack") });
  } else if (how.reason === "error") fail(how.error, !invited);
  else if (how.reason === "lost") {
    notice.show({
      icon: "nosignal",
      title: () => t("notice.lostTitle"),
      text: () => t("notice.lostText"),
      action: () => t("notice.retry"),
      other: !invited,
    });
  } else {
    const why = `closed.${how.why ?? ""}`;
    const key = how.reason !== "closed" ? "ended" : has(`notice.${why}Title`) ? why : "closed";
    notice.show({
      icon: key === "ended" ? "check" : "clock",
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
byId("for-teachers").hidden = invited !== null;

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
