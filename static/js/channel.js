/** The session's WebSocket: JSON messages both ways. It reports its end once and does not reconnect by itself. */

import { ApiError } from "./api.js";

export class Channel {
  /**
   * @param {string} url relative or absolute, token in its query
   * @param {(message: any) => void} onMessage
   * @param {() => void} onClosed called once, after an open channel ended
   */
  constructor(url, onMessage, onClosed) {
    const address = new URL(url, window.location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address);
    this.open = false;
    this.closing = false;
    this.onClosed = onClosed;
    this.socket.addEventListener("message", (event) => {
      let message;
      try {
        message = JSON.parse(event.data);
      } catch (error) {
        console.warn("lectern: a message that is not JSON", error);
        return;
      }
      onMessage(message);
    });
  }

  /** Resolves when open; throws ApiError. @param {number} [limit] ms @returns {Promise<void>} */
  opened(limit = 8000) {
    return new Promise((resolve, reject) => {
      const timer = window.setTimeout(() => {
        this.close();
        reject(new ApiError("timeout", "The message channel did not open in time."));
      }, limit);
      this.socket.addEventListener("open", () => {
        window.clearTimeout(timer);
        this.open = true;
        resolve();
      });
      this.socket.addEventListener("close", () => {
        window.clearTimeout(timer);
        const was = this.open;
        this.open = false;
        if (!was) reject(new ApiError("network", "The message channel could not be opened."));
        else if (!this.closing) this.onClosed();
      });
    });
  }

  /** @param {object} message @returns {boolean} whether it left */
  send(message) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  close() {
    this.closing = true;
    this.socket.close(1000);
  }
}
