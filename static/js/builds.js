/** Following an avatar while it is prepared: server-sent events, and asking now and then where they fail. */

import { ApiError, avatarRecord, getAvatar } from "./api.js";

/**
 * @param {string} id
 * @param {(record: import("./api.js").AvatarRecord) => void} onRecord
 * @param {(error: ApiError) => void} onLost the avatar is gone, or the server stayed away
 * @returns {() => void} stop following
 */
export function follow(id, onRecord, onLost) {
  let stopped = false;
  let failures = 0;
  /** @type {number | undefined} */
  let timer;
  const source = new EventSource(`/v1/avatars/${encodeURIComponent(id)}/events`);

  const stop = () => {
    stopped = true;
    source.close();
    window.clearTimeout(timer);
  };
  /** @param {import("./api.js").AvatarRecord} record */
  const take = (record) => {
    if (stopped) return;
    failures = 0;
    if (record.state !== "preparing") stop();
    onRecord(record);
  };
  const ask = async () => {
    try {
      take(await getAvatar(id));
    } catch (error) {
      const gone = error instanceof ApiError && error.status === 404;
      failures += 1;
      if (stopped) return;
      if (gone || failures >= 20) {
        stop();
        onLost(error instanceof ApiError ? error : new ApiError("network", String(error)));
        return;
      }
    }
    if (!stopped) timer = window.setTimeout(() => void ask(), 1500);
  };

  for (const name of ["message", "avatar", "state", "progress"]) {
    source.addEventListener(name, (event) => {
      let data;
      try {
        data = JSON.parse(/** @type {MessageEvent} */ (event).data);
      } catch (error) {
        console.warn("lectern: an event that is not JSON", error);
        return;
      }
      take(avatarRecord(data));
    });
  }
  source.addEventListener("error", () => {
    // The browser would connect again by itself; asking instead also tells why it failed.
    source.close();
    if (!stopped) void ask();
  });
  return stop;
}
