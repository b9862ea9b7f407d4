// The table of resources: tiles that count and filter, search, sorting, and no more rows drawn than are looked at.

import { ago, announce, h, named } from "./dom.js";
import { isVacant } from "./live.js";

const STEP = 200; // rows drawn at first, and more at a time while somebody scrolls on

/** What a tile counts and shows. */
const TILES = [
  { key: "all", label: "resources", test: () => true },
  { key: "vacant", label: "nobody active", tone: "bad", test: isVacant },
  { key: "risk", label: "active at risk", tone: "warn", test: (row) => Boolean(row.active?.at_risk) },
  { key: "alone", label: "no standby ready", tone: "warn", test: (row) => !row.standbys.some((one) => one.may_succeed) },
  { key: "paused", label: "failover paused", tone: "warn", test: (row) => Boolean(row.pause) },
];

const COLUMNS = [
  { key: "resource", label: "Resource", by: (row) => row.resource_id },
  { key: "active", label: "Active", by: (row) => (row.active ? named(row.active) : "") },
  { key: "epoch", label: "Epoch", by: (row) => row.epoch },
  { key: "since", label: "For", by: (row) => -(row.active?.since_ms ?? 0) },
  { key: "standbys", label: "Next in line", by: (row) => row.standby_count },
  { key: "health", label: "Health", by: trouble },
];

const names = new Intl.Collator(undefined, { numeric: true });

/** The lower, the sooner somebody should look. */
function trouble(row) {
  if (isVacant(row)) return 0;
  if (row.active?.at_risk) return 1;
  if (row.switchover) return 2;
  if (row.pause) return 3;
  if (!row.standbys.some((one) => one.may_succeed)) return 4;
  return !row.active || row.active.status === "healthy" ? 6 : 5;
}

export class Table {
  #live;
  #shown = [];
  #drawn = new Map(); // resource_id -> {row, element}
  #limit = STEP;
  #tile = "all";
  #sort = { key: "health", descending: false };
  #pending = 0;

  constructor(live) {
    this.#live = live;
    this.body = document.querySelector("#resources tbody");
    this.search = document.getElementById("search");
    this.service = document.getElementById("service");
    this.#drawHead();
    this.#drawTiles();
    for (const input of [this.search, this.service]) input.addEventListener("input", () => this.#restart());
    document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
    const more = document.getElementById("more");
    more.querySelector("button").addEventListener("click", () => this.#grow());
    new IntersectionObserver(([seen]) => seen.isIntersecting && this.#grow(), { rootMargin: "600px" }).observe(more);
    this.body.addEventListener("keydown", (event) => this.#onKey(event));
    live.addEventListener("all", () => this.draw());
    live.addEventListener("some", ({ detail }) => this.#changed(detail));
  }

  /** Draws soon, once for all that changed meanwhile. */
  #changed(ids) {
    for (const id of ids) {
      const row = this.#live.rows.get(id);
      const drawn = this.#drawn.get(id);
      if (row && drawn && drawn.row.epoch !== row.epoch && row.active) {
        announce(`${named(row.active)} is active for ${id}`);
        drawn.isNew = true;
      } else if (row && drawn && !isVacant(drawn.row) && isVacant(row)) announce(`Nobody is active for ${id}`);
    }
    if (!this.#pending) {
      this.#pending = requestAnimationFrame(() => this.draw());
      if (document.hidden) setTimeout(() => this.#pending && this.draw(), 200); // frames stop in a hidden tab
    }
  }

  draw() {
    cancelAnimationFrame(this.#pending);
    this.#pending = 0;
    const rows = [...this.#live.rows.values()];
    this.#countTiles(rows);
    this.#listServices(rows);
    this.#shown = this.#chosen(rows);
    this.#drawRows();
    const all = rows.length;
    const count = document.getElementById("count");
    const text =
      this.#shown.length === all ? `${all.toLocaleString()} resources` : `${this.#shown.length.toLocaleString()} of ${all.toLocaleString()} resources`;
    if (count.textContent !== text) count.textContent = text;
    const empty = document.getElementById("empty");
    empty.hidden = this.#shown.length > 0;
    empty.textContent = all
      ? "No resource matches. Clear the search or choose “resources” above."
      : "Nobody is registered. Start one with  tenure run --service demo -- sleep 600";
  }

  #chosen(rows) {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const { test } = TILES.find((tile) => tile.key === this.#tile);
    const service = this.service.value;
    const chosen = rows.filter(
      (row) => test(row) && (!service || row.service_names.includes(service)) && words.every((word) => textOf(row).includes(word)),
    );
    const { by } = COLUMNS.find((column) => column.key === this.#sort.key);
    const sign = this.#sort.descending ? -1 : 1;
    const compare = (a, b) => (typeof a === "number" ? a - b : names.compare(a, b));
    const keyed = chosen.map((row) => ({ row, key: by(row) }));
    keyed.sort((a, b) => sign * compare(a.key, b.key) || names.compare(a.row.resource_id, b.row.resource_id));
    return keyed.map(({ row }) => row);
  }

  #drawRows() {
    const wanted = this.#shown.slice(0, this.#limit);
    const before = this.#drawn;
    this.#drawn = new Map();
    let place = this.body.firstElementChild;
    for (const row of wanted) {
      let drawn = before.get(row.resource_id);
      const isNew = drawn?.isNew;
      if (drawn && drawn.row !== row) {
        const hadFocus = drawn.element.contains(document.activeElement);
        const element = drawnRow(row);
        if (place === drawn.element) place = element;
        drawn.element.replaceWith(element);
        if (hadFocus) element.querySelector("a").focus({ preventScroll: true });
        drawn = { row, element };
      } else if (!drawn) drawn = { row, element: drawnRow(row) };
      drawn.element.classList.toggle("is-changed", Boolean(isNew));
      before.delete(row.resource_id);
      this.#drawn.set(row.resource_id, { row, element: drawn.element });
      if (place === drawn.element) place = place.nextElementSibling;
      else this.body.insertBefore(drawn.element, place);
    }
    for (const { element } of before.values()) element.remove();
    document.getElementById("more").hidden = this.#shown.length <= this.#limit;
  }

  #grow() {
    if (this.#shown.length <= this.#limit) return;
    this.#limit += STEP;
    this.#drawRows();
  }

  #restart() {
    this.#limit = STEP;
    this.draw();
  }

  #drawHead() {
    const cells = COLUMNS.map(({ key, label }) => {
      const isSorted = key === this.#sort.key;
      const order = this.#sort.descending ? "descending" : "ascending";
      const sort = h("button", { type: "button", onclick: () => this.#sortBy(key) }, label);
      return h("th", { scope: "col", "aria-sort": isSorted ? order : undefined }, sort);
    });
    document.querySelector("#resources thead").replaceChildren(h("tr", {}, cells));
  }

  #sortBy(key) {
    const isSame = this.#sort.key === key;
    this.#sort = { key, descending: isSame && !this.#sort.descending };
    this.#drawHead();
    document.querySelectorAll("#resources thead button")[COLUMNS.findIndex((column) => column.key === key)].focus();
    this.#restart();
  }

  #drawTiles() {
    const made = TILES.map(({ key, label, tone }) =>
      h(
        "button",
        { type: "button", className: `tile ${tone ?? ""}`, "data-key": key, "data-zero": true, "aria-pressed": String(key === this.#tile),
          onclick: () => this.#choose(key) },
        h("b", {}, "–"),
        h("span", {}, label),
      ),
    );
    document.getElementById("tiles").replaceChildren(...made);
  }

  #choose(key) {
    this.#tile = this.#tile === key ? "all" : key;
    for (const tile of document.querySelectorAll(".tile")) tile.setAttribute("aria-pressed", String(tile.dataset.key === this.#tile));
    this.#restart();
  }

  #countTiles(rows) {
    for (const { key, test } of TILES) {
      const tile = document.querySelector(`.tile[data-key="${key}"]`);
      const count = rows.reduce((sum, row) => sum + (test(row) ? 1 : 0), 0);
      tile.toggleAttribute("data-zero", count === 0);
      const text = count.toLocaleString();
      if (tile.firstChild.textContent !== text) tile.firstChild.textContent = text;
    }
  }

  #listServices(rows) {
    const found = [...new Set(rows.flatMap((row) => row.service_names))].sort(names.compare);
    const known = [...this.service.options].slice(1).map((option) => option.value);
    if (found.join("\n") === known.join("\n")) return;
    const chosen = this.service.value;
    this.service.replaceChildren(h("option", { value: "" }, "all"), ...found.map((service) => h("option", { value: service }, service)));
    this.service.value = found.includes(chosen) ? chosen : "";
  }

  /** Arrow keys go from row to row. */
  #onKey(event) {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const next = step && event.target.closest("tr")?.[step];
    if (next) {
      event.preventDefault();
      next.querySelector("a").focus();
    }
  }
}

const texts = new WeakMap();

function textOf(row) {
  let text = texts.get(row);
  if (text === undefined) {
    const people = [row.active, row.lost, ...row.standbys].filter(Boolean).map(named);
    text = [row.resource_id, ...row.service_names, ...people].join("\n").toLowerCase();
    texts.set(row, text);
  }
  return text;
}

function drawnRow(row) {
  const { active } = row;
  const standbys = row.standbys.slice(0, 3).map((one) =>
    h("li", { className: one.may_succeed ? "" : "unfit", title: one.may_succeed ? one.status : `may not take over: ${one.status}` },
      row.service_names.length > 1 ? named(one) : one.instance_id,
      one.may_succeed ? "" : h("span", { className: "unseen" }, " (may not take over)")),
  );
  const others = row.standby_count - standbys.length;
  if (others > 0) standbys.push(h("li", { className: "sub" }, `+ ${others}`));
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, h("a", { href: `#/resources/${encodeURIComponent(row.resource_id)}` }, row.resource_id),
      h("div", { className: "sub" }, row.service_names.join(", "))),
    h("td", { "data-label": "Active" }, active ? named(active) : isVacant(row) ? h("span", { className: "badge bad" }, "nobody") : "…",
      row.lost ? h("div", { className: "sub" }, `${named(row.lost)} was lost: ${row.lost.reason}`) : ""),
    h("td", { "data-label": "Epoch", className: "number" }, active ? String(row.epoch) : "–"),
    h("td", { "data-label": "For", className: "number" }, active ? ago(active.since_ms) : row.vacant_since_ms ? ago(row.vacant_since_ms) : "–"),
    h("td", { "data-label": "Next in line" }, standbys.length ? h("ol", { className: "queue" }, standbys) : h("span", { className: "sub" }, "nobody")),
    h("td", { "data-label": "Health" }, health(row)),
  );
}

/** What is to be said of a resource in a word or two. */
export function health(row) {
  const badges = [];
  const add = (tone, text) => badges.push(h("span", { className: `badge ${tone}` }, text), " ");
  if (isVacant(row)) add("bad", "nobody active");
  else if (!row.active) add("", "moving");
  else if (row.active.at_risk) add("warn", row.active.status === "late" ? "late" : "at risk");
  else add(row.active.status === "healthy" ? "good" : "warn", row.active.status);
  if (row.switchover) add("warn", "moving");
  if (row.pause) add("warn", "paused");
  if (row.lost) add("bad", "nobody is there");
  else if (!row.standbys.some((one) => one.may_succeed)) add("warn", "no standby ready");
  return badges;
}
