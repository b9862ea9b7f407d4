// Who was active when, as a picture: a lane for each instance, a bar for each tenure, hatched where nobody knows whether
// it still was, and red where nobody was active.

import { dayAndClock, h, moment, named, span } from "./dom.js";
import { BRIEF_MS } from "./live.js";

const LEFT = 150; // for the names beside the lanes
const NARROW = 560; // below it names stand above their lanes
const NAME = 15;
const LETTER = 7; // about as wide as a letter is
const LANE = 26;
const TOP = 24;
const BAR_MIN = 2; // a tenure of a few milliseconds is seen too
const HATCH = "timeline-hatch"; // the name of a pattern, of which a page has one

const RANGES = [
  { label: "15 min", ms: 15 * 60_000 },
  { label: "1 h", ms: 3_600_000 },
  { label: "24 h", ms: 86_400_000 },
  { label: "7 d", ms: 7 * 86_400_000 },
  { label: "all", ms: Infinity },
];

/** Tenures, certain and unsure parts, with the spans between them in which nobody was active, the oldest first. */
export function spans(tenures, nowMs) {
  const ordered = [...tenures].sort((a, b) => a.epoch - b.epoch);
  const found = [];
  ordered.forEach((tenure, index) => {
    const next = ordered[index + 1];
    const { began_ms: from, ended_ms: ended, certain_until_ms: certain, possible_until_ms: possible } = tenure;
    const sureMs = ended === null ? nowMs : (certain ?? from);
    const endMs = ended === null ? nowMs : (possible ?? sureMs);
    if (sureMs > from || endMs <= sureMs) found.push({ tenure, from, to: sureMs });
    if (endMs > sureMs) found.push({ tenure, from: sureMs, to: endMs, isUnsure: true });
    const gapEnd = next ? next.began_ms : nowMs;
    if (possible !== null && gapEnd > endMs) found.push({ tenure: null, from: endMs, to: gapEnd, isOpen: !next });
  });
  return found;
}

/** For how long a tenure lasted: what is certain, and what is not known. */
export function lasted({ began_ms: from, ended_ms: ended, certain_until_ms: certain, possible_until_ms: possible }) {
  if (ended === null) return span(Date.now() - from);
  if (possible === null) return `at least ${span((certain ?? from) - from)}`;
  if (certain === possible) return span(possible - from);
  return `at most ${span(possible - from)}${certain === null ? "" : `, for certain ${span(certain - from)}`}`;
}

function ending({ reason, by }) {
  return reason && (by ? `${reason}, by ${by}` : reason);
}

export class Timeline {
  #range = null;
  #tenures = [];
  #width = 0;

  constructor() {
    this.ranges = h("div", { className: "ranges", role: "group", "aria-label": "How far back" });
    this.picture = h("div");
    new ResizeObserver(() => this.picture.clientWidth !== this.#width && requestAnimationFrame(() => this.draw())).observe(this.picture);
    this.element = h("div", {}, this.ranges, this.picture);
  }

  /** Draws tenures as the server gives them; the range is chosen by what there is, until somebody chooses another. */
  show(tenures) {
    this.#tenures = tenures;
    this.draw();
  }

  /** Draws as wide as there is room, so that letters are as large as everywhere; not before that is known. */
  draw() {
    this.#width = this.picture.clientWidth;
    if (!this.#width) return;
    const nowMs = Date.now();
    const oldest = Math.min(...this.#tenures.map((tenure) => tenure.began_ms), nowMs);
    const ageMs = nowMs - oldest;
    const fitting = this.#range ?? (ageMs < RANGES[0].ms ? RANGES.at(-1) : RANGES.find(({ ms }) => ageMs <= ms));
    this.ranges.replaceChildren(
      ...RANGES.map((range) =>
        h("button", { type: "button", "aria-pressed": String(range === fitting), onclick: () => this.#choose(range) }, range.label),
      ),
    );
    if (!this.#tenures.length) {
      this.picture.replaceChildren(h("p", { className: "sub" }, "Nobody has been active yet, as far as the broker remembers."));
      return;
    }
    const from = fitting.ms === Infinity ? oldest - Math.max(1_000, (nowMs - oldest) * 0.02) : nowMs - fitting.ms;
    this.picture.replaceChildren(drawn(spans(this.#tenures, nowMs), from, nowMs, this.#width));
  }

  #choose(range) {
    this.#range = range;
    this.draw();
    this.ranges.querySelector('[aria-pressed="true"]').focus();
  }
}

function drawn(all, from, to, width) {
  const seen = all.filter((one) => one.to >= from);
  const lanes = [...new Set(seen.filter((one) => one.tenure).map((one) => named(one.tenure)))];
  const isNarrow = width < NARROW;
  const left = isNarrow ? 0 : LEFT;
  const above = isNarrow ? NAME : 0;
  const height = TOP + lanes.length * (LANE + above) + 6;
  const room = width - left - (isNarrow ? 0 : 8);
  const x = (ms) => left + (Math.max(0, ms - from) / (to - from)) * room;
  const y = (lane) => TOP + lane * (LANE + above) + above + 3;
  const svg = (tag, properties, ...children) => h(`svg:${tag}`, properties, ...children);
  const parts = lanes.map((instance, index) => [
    svg("rect", { class: "lane", x: left, y: y(index), width: room, height: LANE - 6, rx: 3 }),
    isNarrow
      ? svg("text", { x: 0, y: y(index) - 4 }, shortened(instance, Math.floor(room / LETTER)))
      : svg("text", { x: left - 8, y: y(index) + 14, "text-anchor": "end" }, shortened(instance, Math.floor(left / LETTER))),
  ]);
  const ticks = (isNarrow ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]).map((part) => {
    const at = from + (to - from) * part;
    const anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
    const label = part === 1 ? "now" : moment(at, to - from);
    return [
      svg("line", { class: "grid", x1: x(at), x2: x(at), y1: TOP - 6, y2: height }),
      svg("text", { class: "faint", x: x(at), y: 12, "text-anchor": anchor }, label),
    ];
  });
  const bars = seen.map(({ tenure, from: begin, to: end, isOpen, isUnsure }) => {
    const length = Math.max(BAR_MIN, x(end) - x(begin));
    if (!tenure) {
      const told = `nobody for ${span(end - begin)}${isOpen ? " until now" : ""}, from ${dayAndClock(begin)}`;
      const isLong = end - begin >= BRIEF_MS; // a shorter one is a tick on the axis, not a stroke through the picture
      return svg("rect", { class: "gap", x: x(begin), y: TOP - (isLong ? 6 : 8), width: length, height: isLong ? height - TOP + 4 : 8 }, svg("title", {}, told));
    }
    const lane = lanes.indexOf(named(tenure));
    const told = `${named(tenure)}, epoch ${tenure.epoch}: ${dayAndClock(tenure.began_ms)}, for ${lasted(tenure)}${tenure.reason ? `, ended: ${ending(tenure)}` : ", active now"}`;
    const look = isUnsure ? "unsure" : tenure.ended_ms === null ? "held now" : "held";
    return svg("rect", { class: look, fill: isUnsure && `url(#${HATCH})`, x: x(begin), y: y(lane), width: length, height: LANE - 6, rx: 2 },
      svg("title", {}, isUnsure ? `perhaps still active: ${told}` : told));
  });
  const counted = (which) => {
    const some = seen.filter(which);
    return `${some.length} ${some.length === 1 ? "time" : "times"}, ${span(some.reduce((sum, one) => sum + one.to - Math.max(from, one.from), 0))} in all`;
  };
  const hasUnsure = seen.some((one) => one.isUnsure);
  const unsure = hasUnsure ? `; whether the active one still was is not known ${counted((one) => one.isUnsure)}` : "";
  const said = `${lanes.length} instances in ${span(to - from)}; nobody was active ${counted((one) => !one.tenure)}${unsure}. The table below says the same.`;
  const hatch = svg("pattern", { id: HATCH, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { class: "hatch", width: 3, height: 6 }));
  const picture = svg("svg", { class: "timeline", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said }, hatch, ...ticks.flat(), ...parts.flat(), ...bars);
  const legend = hasUnsure && h("p", { className: "sub" }, "Hatched: perhaps still active. It was silent there, and its end was decided later.");
  return h("div", {}, picture, legend);
}

/** At most so many letters: what is too much is left out in the middle, as both ends tell names apart. */
function shortened(text, letters) {
  const half = Math.floor((letters - 1) / 2);
  return text.length > letters ? `${text.slice(0, half)}…${text.slice(-half)}` : text;
}

/** The same for who cannot see a picture, or wants the numbers: the newest first. */
export function tenureTable(tenures) {
  const rows = tenures.map((tenure) =>
    h("tr", {},
      h("th", { scope: "row", className: "number" }, String(tenure.epoch)),
      h("td", { "data-label": "Instance" }, named(tenure)),
      h("td", { "data-label": "From", className: "number" }, dayAndClock(tenure.began_ms)),
      h("td", { "data-label": "For" }, lasted(tenure)),
      h("td", { "data-label": "Why it ended" }, ending(tenure) ?? h("span", { className: "badge good" }, "active")),
    ),
  );
  const head = ["Epoch", "Instance", "From", "For", "Why it ended"].map((text) => h("th", { scope: "col" }, text));
  return h("details", {}, h("summary", {}, `The ${tenures.length} newest tenures as a table`),
    h("div", { className: "scroller" }, h("table", { className: "folds" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))));
}
