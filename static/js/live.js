/**
 * A live session: made on the server, its picture and sound by WHEP, its messages by WebSocket; kept alive.
 *
 * Its token is renewed while it is good. When the network goes away both halves come back by themselves, with a
 * back-off, for as long as `PATIENCE`; a session that the server gave up meanwhile is replaced by a new one on the same
 * avatar. Where the server has no room it waits in line, if that is wanted, and goes on by itself when it is its turn.
 *
 * Events: `state` (detail: State), `place` (detail: Place or null: it does not wait any more), `stream` (detail:
 * MediaStream), `message` (detail: a server message), `unplugged` (the messages' channel closed), `over` (detail: Over),
 * once, when nothing more will come.
 */

import { ApiError, createSession, endSession, probeSession, renewToken } from "./api.js";
import { delay, pause } from "./backoff.js";
import { Channel } from "./channel.js";
import { isGone } from "./errors.js";
import { LinkWatch, look } from "./link.js";
import { MediaError, WhepClient } from "./rtc.js";
import { waitForTurn } from "./turn.js";

/** @typedef {"idle" | "waiting" | "connecting" | "live" | "weak" | "reconnecting" | "ended" | "failed"} State */
/** why: the server's reason. @typedef {{reason: "left" | "closed" | "lost" | "error", error?: unknown, why?: string}} Over */
/** @typedef {import("./turn.js").Place} Place */

/** How long to try before giving up, ms. */
export const PATIENCE = 90_000;
/** Names the answer to the first message: it says what the tutor is doing. */
export const INIT = "init";
const MEDIA_LIMIT = 12_000;
const WATCH = 1000;
/** When to ask for a fresh token: after this part of its time; and again after so many ms, if that failed. */
const RENEW = 0.7;
const RENEW_AGAIN = 20_000;
/** The longest that a timer can wait, ms. */
const LONGEST = 2 ** 31 - 1;
/** After so many looks in which nothing arrived the connection is rebuilt. */
const SILENT = 4;

/** @param {unknown} error */
const isExpired = (error) => error instanceof ApiError && error.code === "token_expired";
/** @param {unknown} error */
const isRefused = (error) =>
  error instanceof ApiError && error.status >= 400 && error.status < 500 && ![408, 409, 425, 429].includes(error.status);

export class LiveSession extends EventTarget {
  /**
   * @param {string} avatarId @param {string} student
   * @param {{talks?: boolean, waits?: boolean, joined?: import("./api.js").SessionInfo | null}} [options] talks: the
   * student may speak; waits: in line, if there is no room; joined: a session that somebody else made: it is joined, left
   * and not replaced
   */
  constructor(avatarId, student, { talks = false, waits = false, joined = null } = {}) {
    super();
    this.talks = talks;
    this.waits = waits;
    this.joined = joined;
    /** Where it is in the line. @type {Place | null} */
    this.place = null;
    /** What the server said last that went wrong. @type {ApiError | null} */
    this.trouble = null;
    /** The server told that it stops: then it did not end this session on purpose. */
    this.stopping = false;
    this.avatarId = avatarId;
    this.student = student;
    /** @type {State} */
    this.state = "idle";
    /** @type {import("./api.js").SessionInfo | null} */
    this.info = null;
    /** @type {WhepClient | null} */
    this.media = null;
    /** @type {Channel | null} */
    this.channel = null;
    /** The channel that the first message went out on. @type {Channel | null} */
    this.greeted = null;
    this.stopper = new AbortController();
    this.wasLive = false;
    this.repairing = false;
    this.link = new LinkWatch();
    /** Fulfilled when the server knows that the session is over. @type {Promise<void>} */
    this.gone = Promise.resolve();
  }

  /** @returns {import("./api.js").Listening} */
  get listening() {
    return this.info?.listening ?? { available: false, code: null, reason: null };
  }

  get over() {
    return this.state === "ended" || this.state === "failed";
  }

  /** Begin. The outcome comes as events. @returns {Promise<void>} */
  async start() {
    this.#become("connecting");
    try {
      await this.#openAll();
    } catch (error) {
      if (!this.over) this.#finish("failed", { reason: "error", error });
      return;
    }
    if (this.over) return;
    this.wasLive = true;
    this.#settle();
    this.watcher = window.setInterval(() => void this.#watch(), WATCH);
  }

  /** @param {object} message @returns {boolean} whether it left */
  send(message) {
    return this.place === null && (this.channel?.send(message) ?? false);
  }

  /** Make the tutor stop at once. */
  interrupt() {
    return this.send({ type: "interrupt" });
  }

  /** Leave. @param {{keepalive?: boolean}} [options] keepalive: the page itself is going away */
  end({ keepalive = false } = {}) {
    if (!this.over) this.#finish("ended", { reason: "left" }, keepalive);
  }

  async #openAll() {
    for (;;) {
      this.info = this.joined ?? (await createSession(this.avatarId, this.student, this.waits));
      this.#renewLater();
      if (this.over) {
        if (this.joined) return;
        // The student left while the server was still making the session.
        void endSession(this.info, true).catch((error) => console.info("lectern: not ended", error));
        return;
      }
      // One that is joined may sleep, or wait.
      if (this.info.status !== "waiting" && !(this.joined && this.waits)) break;
      try {
        await this.#wait();
        break;
      } catch (error) {
        // The server was away, or this page was, for longer than a place is kept: to the end of the line.
        if (this.over || this.joined || !isGone(error)) throw error;
        this.channel?.close();
      }
    }
    await Promise.all([this.#openMedia(), this.#talk()]);
  }

  /** Wait in line; fulfilled when it is its turn. */
  async #wait() {
    this.trouble = null;
    this.#stand(this.#known());
    try {
      await waitForTurn(this, {
        connect: async () => {
          if (!this.channel?.open) await this.#openChannel(true);
        },
        probe: () => probeSession(this.#known()),
        told: (place) => this.#stand(place),
        signal: this.stopper.signal,
      });
    } finally {
      if (this.place !== null) {
        this.place = null;
        this.dispatchEvent(new CustomEvent("place", { detail: null }));
        this.#settle();
      }
    }
  }

  /** @param {{position?: number, estimated_seconds?: number | null}} told */
  #stand({ position, estimated_seconds: seconds = null }) {
    if (this.over || position === undefined) return;
    this.place = { position, seconds };
    this.#settle();
    this.dispatchEvent(new CustomEvent("place", { detail: this.place }));
  }

  async #openMedia() {
    const info = this.#known();
    this.media?.close();
    const ice = { iceServers: info.ice_servers ?? [], iceTransportPolicy: info.ice_transport_policy ?? "all" };
    const media = new WhepClient(info.whep_url, info.engine_token, ice, this.talks && this.listening.available);
    this.media = media;
    this.link = new LinkWatch();
    this.dispatchEvent(new CustomEvent("stream", { detail: media.stream }));
    await media.connect(this.stopper.signal);
    await connected(media, this.stopper.signal);
    media.pc.addEventListener("connectionstatechange", () => {
      if (media === this.media && media.pc.connectionState === "failed") void this.#repair();
    });
  }

  /** Have an open channel, and say so. */
  async #talk() {
    if (!this.channel?.open) await this.#openChannel(false);
    if (this.greeted === this.channel) return;
    this.greeted = this.channel;
    this.channel?.send({ type: "init", request_id: INIT });
  }

  /** @param {boolean} wait in line, where there is no room for a session that slept */
  async #openChannel(wait) {
    const info = this.#known();
    this.channel?.close();
    const channel = new Channel(
      `${info.engine_url}${wait ? "&wait=1" : ""}`,
      (message) => this.#take(message),
      () => {
        if (channel !== this.channel) return;
        this.dispatchEvent(new Event("unplugged"));
        void this.#repair();
      },
    );
    this.channel = channel;
    await channel.opened();
  }

  /** @param {any} message */
  #take(message) {
    if (message.type === "queue_position") this.#stand(message);
    else if (message.type === "error") this.trouble = new ApiError(String(message.code ?? ""), String(message.message ?? ""));
    // While it waits, what went wrong is told by its end.
    if (this.place === null || message.type !== "error") this.dispatchEvent(new CustomEvent("message", { detail: message }));
    if (message.type === "session_ended") this.#ended(String(message.reason ?? ""));
  }

  /** @param {string} why as the server told it */
  #ended(why) {
    if (this.over) return;
    if (why === "shutdown") this.stopping = true;
    else if (why === "not_started" || why === "draining") {
      this.#finish("failed", { reason: "error", error: this.trouble ?? new ApiError(why, "") });
    } else this.#finish("ended", { reason: "closed", why });
  }

  #renewLater(wait = this.#known().token_expires_in * 1000 * RENEW) {
    window.clearTimeout(this.renewer);
    if (wait > 0 && !this.over) this.renewer = window.setTimeout(() => void this.#renew(), Math.min(wait, LONGEST));
  }

  async #renew() {
    try {
      const { engine_token, engine_url, token_expires_in } = await renewToken(this.#known());
      this.info = { ...this.#known(), engine_token, engine_url, token_expires_in };
      if (this.media) this.media.token = engine_token;
      this.dispatchEvent(new CustomEvent("token", { detail: engine_token }));
      this.#renewLater();
    } catch (error) {
      if (this.over || isGone(error) || isExpired(error)) return; // the repair of the connection will meet it, too
      console.info("lectern: no fresh token yet", error);
      this.#renewLater(RENEW_AGAIN);
    }
  }

  #known() {
    if (!this.info) throw new Error("no session yet");
    return this.info;
  }

  /** One look a second: weak, or nothing arriving at all. */
  async #watch() {
    if (this.over || this.repairing || !this.media) return;
    const { media, link } = this;
    const now = await look(media.pc);
    if (this.over || this.repairing || media !== this.media) return;
    link.add(now);
    if (link.silent >= SILENT) void this.#repair();
    else this.#settle();
  }

  /**
   * Bring back what is broken. Only one repair runs at a time.
   */
  async #repair() {
    if (this.repairing || this.over || !this.wasLive) return;
    this.repairing = true;
    this.#settle();
    const deadline = performance.now() + PATIENCE;
    // A server that is there and does not know the session has ended it on purpose; one that was away has lost it.
    let meant = !this.stopping;
    this.stopping = false;
    try {
      for (let attempt = 0; !this.over; attempt += 1) {
        try {
          await this.#attempt(meant);
          return;
        } catch (error) {
          if (this.over) return;
          if (isGone(error) && (meant || this.joined)) return this.#finish("ended", { reason: "closed", error });
          if (isRefused(error)) return this.#finish("failed", { reason: "error", error });
          if (error instanceof ApiError && error.code === "at_capacity") {
            return this.#finish("failed", { reason: "error", error });
          }
          if (performance.now() > deadline) return this.#finish("failed", { reason: "lost", error });
          console.info("lectern: attempt", attempt + 1, "failed", error);
          meant = false;
        }
        await pause(delay(attempt), this.stopper.signal).catch(() => undefined); // stopped: the loop sees `over`
      }
    } finally {
      this.repairing = false;
      if (!this.over) this.#settle();
    }
  }

  /** @param {boolean} meant the server ended the session on purpose: do not replace it */
  async #attempt(meant) {
    try {
      // TURN credentials may have run out meanwhile; the session's record has fresh ones.
      const { ice_servers, ice_transport_policy, status } = await probeSession(this.#known());
      if (ice_servers) this.info = { ...this.#known(), ice_servers, ice_transport_policy };
      // It fell asleep while the network was away; its seat may be somebody else's by now.
      if (this.waits && (status === "asleep" || status === "waiting")) await this.#wait();
    } catch (error) {
      // Expired while this computer slept: then the session has long been given up, or the server was restarted.
      const lost = (isGone(error) && !meant) || isExpired(error);
      if (!lost || this.joined) throw error;
      this.media?.close();
      this.channel?.close();
      await this.#openAll();
      return;
    }
    const work = [this.#talk()];
    const pc = this.media?.pc;
    if (this.link.silent >= SILENT || !pc || pc.connectionState !== "connected") work.push(this.#openMedia());
    await Promise.all(work);
  }

  /** The state that follows from what is known. */
  #settle() {
    if (this.over) return;
    if (this.place !== null) this.#become("waiting");
    else if (!this.wasLive) this.#become("connecting");
    else if (this.repairing) this.#become("reconnecting");
    else this.#become(this.link.weak ? "weak" : "live");
  }

  /** @param {State} state */
  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  /** @param {"ended" | "failed"} state @param {Over} how @param {boolean} [keepalive] */
  #finish(state, how, keepalive = false) {
    window.clearInterval(this.watcher);
    window.clearTimeout(this.renewer);
    this.#become(state);
    this.stopper.abort(new ApiError("aborted", ""));
    this.media?.close(keepalive);
    this.channel?.close();
    if (this.info && how.reason !== "closed" && !this.joined) {
      this.gone = endSession(this.info, keepalive).then(
        () => undefined,
        (error) => console.info("lectern: was ended already", error),
      );
    }
    this.dispatchEvent(new CustomEvent("over", { detail: how }));
  }
}

/**
 * Resolves when the connection stands; throws MediaError.
 * @param {WhepClient} media @param {AbortSignal} signal @returns {Promise<void>}
 */
function connected(media, signal) {
  const { pc } = media;
  return new Promise((resolve, reject) => {
    const finish = (/** @type {unknown} */ error) => {
      window.clearTimeout(timer);
      pc.removeEventListener("connectionstatechange", check);
      pc.removeEventListener("icegatheringstatechange", check);
      signal.removeEventListener("abort", aborted);
      if (error) reject(error);
      else resolve();
    };
    const check = () => {
      if (pc.connectionState === "connected") finish(null);
      else if (media.stuck || ["failed", "closed"].includes(pc.connectionState)) finish(new MediaError(media.ways));
    };
    const aborted = () => finish(signal.reason);
    const timer = window.setTimeout(() => finish(new MediaError(media.ways)), MEDIA_LIMIT);
    pc.addEventListener("connectionstatechange", check);
    pc.addEventListener("icegatheringstatechange", check);
    signal.addEventListener("abort", aborted);
    if (signal.aborted) aborted();
    else check();
  });
}
