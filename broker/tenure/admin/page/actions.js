// What changes something: each asks first, says what will happen, and tells what the server answered.

import { Problem, hasToken, keepName, keepToken, name, path, send } from "./api.js";
import { announce, h, named, span } from "./dom.js";

const dialog = document.getElementById("dialog");

const PAUSES = [
  ["15 minutes", 900_000],
  ["1 hour", 3_600_000],
  ["4 hours", 14_400_000],
  ["24 hours", 86_400_000],
];

/** Moves the role of a resource, to somebody or to whoever is next. */
export function askForSwitchover(view) {
  const ready = view.standbys.filter((one) => one.may_succeed);
  const to = h("select", { name: "to" }, h("option", { value: "" }, `whoever is next (${ready[0] ? named(ready[0]) : "nobody"})`),
    ready.map((one, index) => h("option", { value: index }, named(one))));
  const drain = h("input", { name: "drain_ms", type: "number", min: 0, max: 3_600_000, step: 1, value: 1_000, required: true });
  open(`Move ${view.resource_id}`, {
    what: [
      `${named(view.active)} is asked to stop. It stays active until it has said that it stopped, at most for the time below.`,
      "If it does not say so in time, its lease is not renewed any more, and it ends with that.",
      "Then the one you choose is promoted under a new epoch. At no moment are two active.",
      ...(view.pause ? ["Failover is paused: if it is lost, or does not say that it stopped, nobody is promoted."] : []),
    ],
    fields: [h("label", {}, "Who takes over", to), h("label", {}, "Time to finish its work (ms)", drain)],
    confirm: "Move the role",
    act: (by) =>
      send("POST", `${path("resources", view.resource_id)}/switchover`,
        { epoch: view.active.epoch, ...chosen(ready[to.value]), drain_ms: Number(drain.value), by }),
    done: `${named(view.active)} is asked to step down`,
  });
}

function chosen(standby) {
  return standby ? { to: standby.instance_id, to_service: standby.service_name } : {};
}

/** Calls a switchover off. */
export function askForCancel(view) {
  open(`Call off the move of ${view.resource_id}`, {
    what: ["The active one need not step down any more. If it has stopped already, the move goes on."],
    confirm: "Call it off",
    act: (by) => send("DELETE", `${path("resources", view.resource_id)}/switchover?by=${encodeURIComponent(by)}`),
    done: "The move is called off",
  });
}

/** Stops automatic failover for a while. */
export function askForPause(view) {
  const why = h("input", { name: "why", required: true, maxLength: 200, autocomplete: "off" });
  const length = h("select", { name: "for_ms" }, PAUSES.map(([text, ms]) => h("option", { value: ms, selected: ms === 3_600_000 }, text)));
  open(`Pause failover of ${view.resource_id}`, {
    what: [
      "If the active one is lost while it is paused, nobody takes over: there may be nobody active until the end of the pause.",
      "Leases go on: an active one that dies ends. Who insists on the role, and whom you move it to, gets it; an instance that only registers again waits.",
      "The pause ends by itself after the time below.",
    ],
    fields: [h("label", {}, "Why", why), h("label", {}, "For how long", length)],
    confirm: "Pause failover",
    isGrave: true,
    act: (by) => send("POST", `${path("resources", view.resource_id)}/pause`, { why: why.value, for_ms: Number(length.value), by }),
    done: `Failover is paused for ${span(Number(length.value))}`,
  });
}

/** Ends a pause. */
export function askForResume(view) {
  open(`Resume failover of ${view.resource_id}`, {
    what: [view.active ? "From now on a standby takes over again if the active one is lost." : "Nobody is active: the first in line takes over at once."],
    confirm: "Resume failover",
    act: (by) => send("POST", `${path("resources", view.resource_id)}/resume`, { by }),
    done: "Failover is automatic again",
  });
}

/** Takes a person's word that a process is dead. */
export function askForDeath(instance) {
  open(`${named(instance)} is dead?`, {
    what: [
      "Its session ends at once, with everything it is registered for, and standbys take over.",
      "If its process still runs, two may be at work at the same time. Make sure that it is gone, or cut off from what it works on.",
    ],
    fields: [h("label", { className: "check" }, h("input", { type: "checkbox", required: true }), "I have made sure that its process is dead.")],
    confirm: "It is dead",
    isGrave: true,
    act: (by) => send("DELETE", `${path("services", instance.service_name, "instances", instance.instance_id)}?confirm_dead=true&resource_id=${encodeURIComponent(instance.resource_id)}&by=${encodeURIComponent(by)}`),
    done: `${named(instance)} has been taken out`,
  });
}

/** Asks for the token; `then` goes on with it. */
export function askForToken(then) {
  const token = h("input", { name: "token", type: "password", required: true, autocomplete: "off", spellcheck: false });
  const wrong = hasToken() ? h("p", { className: "wrong", role: "alert" }, "That is not the token.") : null;
  show("The admin's token", [
    h("p", {}, "Changes need it, and reading from another machine. It stays in this tab. On the admin's machine ", h("code", {}, "tenure admin token"), " shows it (with ", h("code", {}, "--state DIR"), " if the broker was started with ", h("code", {}, "--data DIR"), ")."),
    wrong,
    h("label", {}, "Token", token),
  ], "Go on", async () => {
    keepToken(token.value);
    dialog.close();
    then();
  });
}

function open(title, { what, fields = [], confirm, isGrave = false, act, done }) {
  const by = h("input", { name: "by", required: true, maxLength: 100, value: name(), autocomplete: "name" });
  const wrong = h("p", { className: "wrong", role: "alert", hidden: true });
  const body = [h("ul", {}, what.map((text) => h("li", {}, text))), ...fields, h("label", {}, "Your name, for the record", by), wrong];
  const again = () => show(title, body, confirm, submit, isGrave);
  const submit = async () => {
    keepName(by.value);
    try {
      await act(by.value.trim());
    } catch (error) {
      if (error instanceof Problem && error.status === 401) {
        askForToken(() => {
          again();
          submitNow();
        });
        return;
      }
      wrong.textContent = error instanceof Problem ? `${error.message} (${error.code})` : "The admin server does not answer.";
      wrong.hidden = false;
      return;
    }
    dialog.close();
    announce(done);
  };
  const submitNow = () => dialog.querySelector("form").requestSubmit();
  again();
}

function show(title, body, confirm, submit, isGrave = false) {
  let isBusy = false;
  const button = h("button", { className: `act main ${isGrave ? "grave" : ""}`, type: "submit" }, confirm);
  const form = h("form", { method: "dialog", onsubmit: async (event) => {
    event.preventDefault();
    if (isBusy) return;
    isBusy = button.disabled = true;
    try {
      await submit();
    } finally {
      isBusy = button.disabled = false;
    }
  } },
    h("h2", { id: "dialog-title" }, title),
    body,
    h("div", { className: "buttons" }, h("button", { className: "act", type: "button", onclick: () => dialog.close() }, "Cancel"), button),
  );
  dialog.replaceChildren(form);
  if (!dialog.open) dialog.showModal();
  form.querySelector("input, select")?.focus();
}
