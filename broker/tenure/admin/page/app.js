// Puts the page together: the stream, the table, the view of one resource, and what is always said about the connection.

import { askForToken } from "./actions.js";
import { Detail } from "./detail.js";
import { clock, named, span, tick } from "./dom.js";
import { Live, isVacant } from "./live.js";
import { Table } from "./table.js";

const live = new Live();
const table = new Table(live);
const detail = new Detail(live);

const WORDS = {
  connecting: () => "Connecting …",
  live: () => "Live",
  away: () => `No broker since ${clock(live.sinceMs)}`,
  lost: () => `Not connected since ${clock(live.sinceMs)}`,
};
const STALE = {
  away: (silent) => `The broker is not heard for ${silent}. What you see is what was known then; holders keep their roles as long as their leases last.`,
  lost: (silent) => `This page has not heard the admin server for ${silent}. What you see is what was known then.`,
};

function showState() {
  const { state } = live;
  const pill = document.getElementById("connection");
  pill.dataset.state = state;
  const text = WORDS[state]();
  if (pill.textContent !== text) pill.textContent = text;
  const stale = document.getElementById("stale");
  stale.hidden = !(state in STALE);
  if (state in STALE) stale.textContent = STALE[state](span(Date.now() - live.sinceMs));
  document.body.classList.toggle("is-stale", state in STALE);
}

/** The resource that the address names; null for none. */
function idShown() {
  const found = /^#\/resources\/(.+)$/.exec(location.hash);
  try {
    return found ? decodeURIComponent(found[1]) : null;
  } catch {
    return null;
  }
}

/** Puts into the tab's title what somebody should see there who looks at something else. */
function showTitle() {
  const id = idShown();
  const said = [live.state in STALE ? "✕ not live" : "", id === null ? vacancies() : stateOf(id), "Tenure"];
  document.title = said.filter(Boolean).join(" | ");
}

function vacancies() {
  const count = [...live.rows.values()].filter(isVacant).length;
  return count ? `▲ ${count} with nobody active` : "";
}

function stateOf(id) {
  const row = live.rows.get(id);
  if (!row) return id;
  return isVacant(row) ? `▲ ${id}: nobody active` : `${id}: ${row.active ? named(row.active) : "moving"}`;
}

function route() {
  const id = idShown();
  document.getElementById("overview").hidden = id !== null;
  detail.show(id);
  if (id !== null) window.scrollTo(0, 0);
  showTitle();
}

live.addEventListener("state", () => {
  showState();
  table.draw();
});
for (const changed of ["all", "some", "state"]) live.addEventListener(changed, showTitle);
live.addEventListener("refused", () => askForToken(() => live.retry()));
addEventListener("hashchange", () => {
  route();
  if (document.activeElement !== table.search) document.getElementById("main").focus({ preventScroll: true });
});
addEventListener("online", () => live.retry());
addEventListener("keydown", (event) => {
  const isTyping = event.target.matches?.("input, select, textarea, dialog *");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    location.hash = "#/";
    document.getElementById("overview").hidden = false;
    table.search.focus();
  } else if (event.key === "Escape" && !isTyping && location.hash.length > 2) location.hash = "#/";
});
setInterval(() => {
  tick();
  if (live.state in STALE) showState();
}, 1_000);

route();
showState();
live.run();
