// One resource: who is active and who would be next, who was active when, how the role moved, and what can be done.

import { askForCancel, askForDeath, askForPause, askForResume, askForSwitchover } from "./actions.js";
import { get, path } from "./api.js";
import { ago, clock, dayAndClock, h, named, span } from "./dom.js";
import { BRIEF_MS, isVacant } from "./live.js";
import { health } from "./table.js";
import { Timeline, tenureTable } from "./timeline.js";

const AGAIN_MS = 300; // what changes in a burst is asked for once

export class Detail {
  #live;
  #id = null;
  #asked = 0;
  #timer = 0;
  #found = null;
  #timeline = new Timeline();

  constructor(live) {
    this.#live = live;
    this.element = document.getElementById("detail");
    live.addEventListener("all", () => this.#later(0));
    live.addEventListener("state", () => live.state === "live" && this.#later(0));
    live.addEventListener("some", ({ detail }) => this.#id !== null && detail.includes(this.#id) && this.#later(AGAIN_MS));
  }

  /** Shows a resource; null for none. */
  async show(id) {
    this.#id = id;
    this.#found = null;
    this.#timeline = new Timeline();
    this.element.hidden = id === null;
    if (id !== null) {
      this.element.replaceChildren(h("p", {}, h("a", { href: "#/" }, "← All resources")), h("h1", { id: "detail-title" }, id));
      await this.#ask();
    }
  }

  #later(ms) {
    if (this.#id === null || this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#ask();
    }, ms);
  }

  async #ask() {
    const id = this.#id;
    if (id === null) return;
    const number = ++this.#asked;
    const where = path("resources", id);
    try {
      const found = await get(`${where}?stale=true`).catch(noneIfUnknown);
      const isAway = found && !found.connected;
      const tenures = isAway ? (this.#found?.tenures ?? null) : (await get(`${where}/history?limit=200`)).tenures;
      if (number === this.#asked) this.#found = { found, tenures };
    } catch (error) {
      if (number !== this.#asked) return;
      if (error.status === 404) this.#found = { error: "Nobody is registered for this resource, and nobody has been active for it as far as is known." };
      else if (!this.#found) this.#found = { error: error.message };
    }
    if (number === this.#asked && id === this.#id) this.#draw();
  }

  #draw() {
    const { found, tenures, error } = this.#found;
    const back = h("p", {}, h("a", { href: "#/" }, "← All resources"));
    if (error) {
      this.element.replaceChildren(back, h("h1", { id: "detail-title" }, this.#id), h("p", { className: "note" }, error));
      return;
    }
    const past = this.#past(tenures);
    if (!found) {
      this.element.replaceChildren(back, h("h1", { id: "detail-title" }, this.#id),
        h("p", { className: "note" }, "Nobody is registered for this resource any longer."),
        h("section", { className: "card" }, h("h2", {}, "Who was active when"), past));
      return;
    }
    const resource = { ...found.resource, standbys: found.resource.standbys.map((one, index) => ({ ...one, may_succeed: found.succession[index].is_eligible })) };
    const row = this.#live.rows.get(this.#id) ?? resource;
    const focused = document.activeElement?.id;
    this.element.replaceChildren(
      back,
      h("div", { className: "detail-head" },
        h("div", {}, h("h1", { id: "detail-title" }, resource.resource_id), h("p", { className: "sub" }, health(row))),
        h("div", { className: "actions" }, this.#actions(resource))),
      ...notes(found),
      h("section", { className: "card" }, h("h2", {}, "Who is active, and who would be next"), line(found, isVacant(row))),
      h("section", { className: "card" }, h("h2", {}, "Who was active when"), past),
      h("section", { className: "card" }, h("h2", {}, "How the role moved"), moves(found.moves, tenures ?? [])),
    );
    if (focused) document.getElementById(focused)?.focus();
  }

  /** Who was active when, as a picture and as a table; null if nobody can be asked. */
  #past(tenures) {
    if (!tenures) return h("p", { className: "sub" }, "Only the broker knows that: it is shown when it is heard again.");
    const isOpen = this.element.querySelector("details")?.open;
    this.#timeline.show(tenures);
    const table = tenureTable(tenures);
    if (isOpen) table.open = true;
    return h("div", {}, this.#timeline.element, table);
  }

  #actions(resource) {
    const button = (id, text, act, tone = "") => h("button", { id, type: "button", className: `act ${tone}`, onclick: () => act(resource) }, text);
    const canMove = resource.active && resource.standbys.some((one) => one.may_succeed);
    return [
      resource.switchover
        ? button("cancel-switchover", "Call off the move …", askForCancel)
        : h("button", { id: "switchover", type: "button", className: "act main", disabled: !canMove, onclick: () => askForSwitchover(resource),
            title: canMove ? "" : resource.active ? "nobody can take over" : "nobody is active" }, "Move the role …"),
      resource.pause ? button("resume", "Resume failover …", askForResume) : resource.lost ? null : button("pause", "Pause failover …", askForPause),
    ];
  }
}

/** For a resource that nobody is registered for: it may have a past. */
function noneIfUnknown(error) {
  if (error.status === 404) return null;
  throw error;
}

function notes({ resource, at_risk: risk }) {
  const said = [];
  if (resource.lost) said.push(`${named(resource.lost)} was lost (${resource.lost.reason}, ${dayAndClock(resource.lost.ended_ms)}), and nobody is registered any longer: start one.`);
  if (risk) said.push(`At risk: ${risk}.`);
  if (resource.pause) {
    const { by, why, until_ms: untilMs } = resource.pause;
    said.push(`Failover is paused until ${dayAndClock(untilMs)} by ${by || "somebody"}: ${why}`);
  }
  if (resource.switchover) {
    const { by, drain_left_ms: left, to_instance_id: to } = resource.switchover;
    said.push(`A move ${to ? `to ${to} ` : ""}is under way, asked for by ${by || "somebody"}: the active one has ${span(left)} left to finish.`);
  }
  return said.map((text) => h("p", { className: "note" }, text));
}

function line({ resource, succession }, isNobodyActive) {
  const { active } = resource;
  const people = [
    active
      ? h("li", { className: "active" }, h("b", {}, named(active)), h("span", { className: "badge good" }, "active"), ` epoch ${active.epoch}`,
          h("div", { className: "sub" }, `${active.status}, for `, ago(active.since_ms)), dead(active))
      : h("li", { className: isNobodyActive ? "nobody" : "" }, h("b", {}, isNobodyActive ? "Nobody is active" : "The role moves …")),
  ];
  succession.forEach((place, index) => {
    const standby = resource.standbys[index];
    people.push(
      h("li", { className: place.is_eligible ? "" : "unfit" }, h("b", {}, named(place)), place.is_eligible ? (index ? `number ${index + 1} in line` : "next in line") : "stands by",
        h("div", { className: "sub" }, place.why), standby ? dead(standby) : null),
    );
  });
  const more = resource.standby_count - succession.length;
  if (more > 0) people.push(h("li", { className: "unfit" }, `and ${more} more`));
  return h("ol", { className: "line" }, people);
}

/** Only who is silent can be declared dead: the broker refuses it of others. */
function dead(instance) {
  if (instance.status !== "late") return null;
  return h("button", { type: "button", className: "act grave", onclick: () => askForDeath(instance) }, "It is dead …");
}

/** For how long nobody was active: what is certain, and what is not known. */
function gapOf({ gap_ms: least, gap_max_ms: most, is_gap_about: isAbout }) {
  const about = isAbout ? "about " : "";
  if (most === null) return `at least ${about}${span(least)}`;
  return least === most ? `${about}${span(least)}` : `at least ${about}${span(least)}, at most ${about}${span(most)}`;
}

function moves(all, tenures) {
  if (!all.length) return h("p", { className: "sub" }, "It has not moved, as far as the broker and the events that are kept can tell.");
  const newestFirst = [...all].reverse();
  const holders = new Map(tenures.map((tenure) => [tenure.epoch, named(tenure)]));
  const holder = (epoch, instanceId) => holders.get(epoch) ?? (instanceId || "nobody");
  return h("ol", { className: "moves" }, newestFirst.map((move) => {
    const steps = move.steps.map((step, index) =>
      h("li", {}, h("span", {}, index ? `+${step.after_ms.toLocaleString()} ms` : clock(move.began_ms)), h("span", {}, step.what)));
    const isBrief = move.gap_max_ms !== null && move.gap_max_ms < BRIEF_MS; // what nobody can rule out is alarming
    const gap = move.gap_ms === null ? null : h("span", { className: `badge ${isBrief ? "" : "bad"}` }, `nobody for ${gapOf(move)}`);
    return h("li", {}, h("b", {}, `${holder(move.old_epoch, move.old_instance_id)} → ${holder(move.new_epoch, move.new_instance_id)}`), ` ${move.why} `, gap,
      h("div", { className: "sub" }, dayAndClock(move.began_ms)), h("ol", {}, steps));
  }));
}
