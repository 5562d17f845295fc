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

export class WhepClient {
  /**
   * @param {string} url @param {string} token
   * @param {RTCConfiguration} ice the ICE servers, and whether to go through them only
   * @param {boolean} microphone offer one: silent until its sender is given a track, and then without a new offer
   */
  constructor(url, token, ice, microphone) {
    this.url = url;
    this.token = token;
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
    this.pc.addEventListener("icecandidate", (event) => {
      if (event.candidate?.candidate) this.waiting.push(event.candidate);
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
    await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
    void this.trickle();
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
