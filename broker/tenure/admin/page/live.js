// The rows of all resources, kept live from one stream, and whether they may be taken for live.
//
// States: `connecting` (nothing to show yet), `live`, `away` (the server does not hear the broker) and `lost` (this page
// does not hear the server). Only `live` is live: whoever draws has to show it.

import { events } from "./api.js";

const SILENCE_MS = 20_000; // the server says something at least every 15 s
const RETRY_MS = [250, 500, 1_000, 2_000];
export const BRIEF_MS = 1_000; // what a move costs is less, and nothing to alarm anybody about

/** Whether nobody is active for a resource, and that is not just a role that moves. */
export function isVacant(row) {
  return !row.active && !row.isBrief;
}

export class Live extends EventTarget {
  rows = new Map();
  state = "connecting";
  sinceMs = Date.now();
  /** The refusal that a token would change. */
  refusal = null;
  #failures = 0;
  #wake = () => {};

  /** Follows for as long as the page lives. */
  async run() {
    for (;;) {
      try {
        await this.#follow();
      } catch (error) {
        this.refusal = error.status === 401 ? error : null;
      }
      this.#become(this.rows.size || this.state !== "connecting" ? "lost" : "connecting");
      if (this.refusal) this.#tell("refused");
      const pauseMs = RETRY_MS[Math.min(this.#failures++, RETRY_MS.length - 1)];
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, this.refusal ? 3_600_000 : pauseMs);
      });
    }
  }

  /** Tries again at once. */
  retry() {
    this.#wake();
  }

  async #follow() {
    const giveUp = new AbortController();
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => giveUp.abort(), SILENCE_MS);
    };
    let fresh = new Map();
    let isAway = false;
    heard();
    try {
      for await (const { name, data } of events("resources", giveUp.signal)) {
        heard();
        switch (name) {
          case "snapshot":
            for (const row of data.rows) fresh.set(row.resource_id, row);
            break;
          case "live":
            this.rows = fresh;
            fresh = new Map();
            this.#failures = 0;
            if (!isAway) this.#become("live");
            this.#tell("all");
            break;
          case "rows":
            for (const row of data.rows) this.#take(row);
            this.#tell("some", data.rows.map((row) => row.resource_id));
            break;
          case "gone":
            for (const id of data.resource_ids) this.rows.delete(id);
            this.#tell("some", data.resource_ids);
            break;
          case "away":
            isAway = true;
            this.#become("away", data.heard_ms);
            break;
          case "back":
            isAway = false;
            this.#become("live");
            break;
        }
      }
    } finally {
      clearTimeout(silence);
      giveUp.abort();
    }
  }

  /** Takes in a row that has changed; a vacancy that was not there before is brief until it has lasted. */
  #take(row) {
    const { resource_id: id, epoch } = row;
    const before = this.rows.get(id);
    row.isBrief = !row.active && (!before || Boolean(before.active) || before.isBrief);
    this.rows.set(id, row);
    if (!row.isBrief || before?.isBrief) return;
    setTimeout(() => {
      const now = this.rows.get(id);
      if (!now?.isBrief || now.epoch !== epoch) return;
      this.rows.set(id, { ...now, isBrief: false });
      this.#tell("some", [id]);
    }, BRIEF_MS);
  }

  #become(state, sinceMs) {
    if (state === this.state) return;
    this.state = state;
    this.sinceMs = sinceMs ?? Date.now();
    this.#tell("state");
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
