/**
 * A WHEP client: one RTCPeerConnection that receives a session's picture and sound, and may send a microphone.
 *
 * The offer leaves at once, without waiting for candidates: the server learns ours from the connectivity checks, and
 * those that are gathered meanwhile follow by PATCH (draft-ietf-wish-whep, trickle ICE by RFC 8840 fragments).
 */

import { ApiError, request } from "./api.js";

/**
 * The body of a trickle PATCH.
 * @param {string} sdp our offer, for its ufrag and password
 * @param {RTCIceCandidate[]} candidates
 * @param {boolean} complete no more will come
 */
export function fragment(sdp, candidates, complete) {
  const ufrag = /^a=ice-ufrag:.*$/m.exec(sdp)?.[0].trim();
  const password = /^a=ice-pwd:.*$/m.exec(sdp)?.[0].trim();
  const media = /^m=.*$/m.exec(sdp)?.[0].trim();
  const mid = /^a=mid:.*$/m.exec(sdp)?.[0].trim();
  const lines = [ufrag, password, media, mid, ...candidates.map((each) => `a=${each.candidate}`)];
  if (complete) lines.push("a=end-of-candidates");
  return `${lines.filter(Boolean).join("\r\n")}\r\n`;
}

/**
 * The ways that sound and picture could have taken, as an operator of a network names them: "UDP 203.0.113.7:50000".
 * @typedef {{direct: string[], relays: string[], refused: boolean}} Ways
 * refused: a relay did not take the credentials.
 */

/** Sound and picture did not come about. */
export class MediaError extends ApiError {
  /** @param {Ways} ways */
  constructor(ways) {
    super("webrtc", "");
    this.ways = ways;
  }
}

/** Codes of `icecandidateerror` by which a TURN server refuses a user (RFC 8656). */
const REFUSED = [401, 403, 441];

/** @param {string} host @param {string | number} port */
const place = (host, port) => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);

/** The server's own addresses in its answer. @param {string} sdp @returns {string[]} */
export function directWays(sdp) {
  const found = [...sdp.matchAll(/^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ (?:host|srflx)/gim)];
  return [...new Set(found.map(([, host, port]) => `UDP ${place(host, port)}`))];
}

/** Where the relays are. @param {RTCIceServer[]} servers @returns {string[]} */
export function relayWays(servers) {
  const urls = servers.flatMap((server) => server.urls);
  const found = urls.map((url) => /^(turns?):([^:?]+)(?::(\d+))?(?:\?transport=(\w+))?$/.exec(url)).filter((each) => each !== null);
  const named = found.map(([, scheme, host, port, transport]) => {
    const how = scheme === "turns" ? "TLS" : (transport ?? "udp").toUpperCase();
    return `${how} ${place(host, port ?? (scheme === "turns" ? "5349" : "3478"))}`;
  });
  return [...new Set(named)];
}

export class WhepClient {
  /**
   * @param {string} url @param {string} token
   * @param {RTCConfiguration} ice the ICE servers, and whether to go through them only
   * @param {boolean} microphone offer one: silent until its sender is given a track, and then without a new offer
   */
  constructor(url, token, ice, microphone) {
    this.url = url;
    this.token = token;
    this.ice = ice;
    this.refused = false;
    this.found = 0;
    this.answer = "";
    this.pc = new RTCPeerConnection({ ...ice, bundlePolicy: "max-bundle" });
    this.stream = new MediaStream();
    /** When the offer was handed to the network, in ms of `performance.now()`. */
    this.offeredAt = 0;
    /** @type {string | null} */
    this.resource = null;
    /** @type {string | null} */
    this.etag = null;
    this.closed = false;
    /** @type {RTCIceCandidate[]} */
    this.waiting = [];
    this.gathered = false;
    this.sending = false;
    this.pc.addTransceiver("video", { direction: "recvonly" });
    const sound = this.pc.addTransceiver("audio", { direction: microphone ? "sendrecv" : "recvonly" });
    /** Takes the microphone's track. @type {RTCRtpSender | null} */
    this.sender = microphone ? sound.sender : null;
    this.pc.addEventListener("track", (event) => {
      // Both tracks go into one stream: then the browser keeps sound and picture in step.
      this.stream.addTrack(event.track);
    });
    this.pc.addEventListener("icecandidateerror", (event) => {
      console.info("lectern: an ICE server failed", event.url, event.errorCode, event.errorText);
      if (REFUSED.includes(event.errorCode)) this.refused = true;
    });
    this.pc.addEventListener("icecandidate", (event) => {
      if (event.candidate?.candidate) this.found = this.waiting.push(event.candidate);
      else if (!event.candidate) this.gathered = true;
      void this.trickle();
    });
  }

  /** Offer, and take the answer. Throws ApiError. @param {AbortSignal} signal */
  async connect(signal) {
    await this.pc.setLocalDescription(await this.pc.createOffer());
    const sdp = this.pc.localDescription?.sdp ?? "";
    this.sdp = sdp;
    this.offeredAt = performance.now();
    const response = await request(this.url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${this.token}` },
      body: sdp,
      signal,
    });
    const location = response.headers.get("Location");
    this.resource = location ? new URL(location, response.url).href : null;
    this.etag = response.headers.get("ETag");
    const answer = await response.text();
    if (this.closed) {
      void this.release(false);
      throw new ApiError("aborted", "");
    }
    this.answer = answer;
    await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
    void this.trickle();
  }

  /** Whether it is certain that nothing will come: everything is to be relayed, and no relay was to be had. */
  get stuck() {
    return this.ice.iceTransportPolicy === "relay" && this.pc.iceGatheringState === "complete" && this.found === 0;
  }

  /** What has to be open for this connection. @returns {Ways} */
  get ways() {
    const direct = this.ice.iceTransportPolicy === "relay" ? [] : directWays(this.answer);
    return { direct, relays: relayWays(this.ice.iceServers ?? []), refused: this.refused };
  }

  /** Send the candidates found so far, if the server has told where to. */
  async trickle() {
    if (!this.resource || this.sending || this.closed || this.told) return;
    if (this.waiting.length === 0 && !this.gathered) return;
    this.sending = true;
    const candidates = this.waiting.splice(0);
    const complete = this.gathered;
    this.told = complete;
    try {
      await request(this.resource, {
        method: "PATCH",
        headers: {
          "Content-Type": "application/trickle-ice-sdpfrag",
          Authorization: `Bearer ${this.token}`,
          ...(this.etag ? { "If-Match": this.etag } : {}),
        },
        body: fragment(this.sdp ?? "", candidates, complete),
      });
    } catch (error) {
      // Not fatal: connectivity checks usually reach the server without these.
      console.info("lectern: candidates were not taken", error);
    } finally {
      this.sending = false;
      void this.trickle();
    }
  }

  /** Tell the server that this viewer goes. @param {boolean} keepalive the page is going too */
  async release(keepalive) {
    if (!this.resource) return;
    const resource = this.resource;
    this.resource = null;
    try {
      await request(resource, { method: "DELETE", headers: { Authorization: `Bearer ${this.token}` }, keepalive });
    } catch (error) {
      console.info("lectern: the viewer was gone already", error);
    }
  }

  /** @param {boolean} [keepalive] */
  close(keepalive = false) {
    if (this.closed) return;
    this.closed = true;
    void this.release(keepalive);
    this.pc.close();
  }
}
