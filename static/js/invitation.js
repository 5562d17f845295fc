/**
 * A session that the school made for this student: `/#session=ID&token=TOKEN`. What follows the # is sent to no server
 * and stands in no Referer; it is taken out of the address at once, and kept in this tab, so that the page can be reloaded.
 */

const NAME = "lectern.invitation";

/** @typedef {{session: string, token: string}} Invitation */

/** @returns {Invitation | null} */
function inAddress() {
  const given = new URLSearchParams(window.location.hash.slice(1));
  const session = given.get("session");
  const token = given.get("token");
  return session && token ? { session, token } : null;
}

/** @param {Invitation} invitation */
export function keepInvitation(invitation) {
  try {
    window.sessionStorage.setItem(NAME, JSON.stringify(invitation));
  } catch (error) {
    console.info("lectern: the invitation is kept for this page only", error);
  }
}

/** @returns {Invitation | null} of the address, else the one that this tab had */
export function invitation() {
  const found = inAddress();
  if (found) {
    keepInvitation(found);
    window.history.replaceState(null, "", window.location.pathname + window.location.search);
    return found;
  }
  try {
    const kept = JSON.parse(window.sessionStorage.getItem(NAME) ?? "null");
    return typeof kept?.session === "string" && typeof kept?.token === "string" ? kept : null;
  } catch (error) {
    console.info("lectern: no invitation kept", error);
    return null;
  }
}

window.addEventListener("hashchange", () => {
  if (inAddress()) window.location.reload(); // another link, opened in the same tab
});
