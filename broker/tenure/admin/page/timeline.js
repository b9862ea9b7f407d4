// Who was active when, as a picture: a lane for each instance, a bar for each tenure, and red where nobody was active.

import { dayAndClock, h, moment, span } from "./dom.js";

const WIDTH = 900;
const LEFT = 150;
const LANE = 26;
const TOP = 24;
const BAR_MIN = 2; // a tenure of a few milliseconds is seen too
const LONG_MS = 1_000; // a shorter gap is what a move costs: a tick on the axis, not a stroke through the picture

const RANGES = [
  { label: "15 min", ms: 15 * 60_000 },
  { label: "1 h", ms: 3_600_000 },
  { label: "24 h", ms: 86_400_000 },
  { label: "7 d", ms: 7 * 86_400_000 },
  { label: "all", ms: Infinity },
];

/** Tenures with the spans between them in which nobody was active, the oldest first. */
export function spans(tenures, nowMs) {
  const ordered = [...tenures].sort((a, b) => a.epoch - b.epoch);
  const found = [];
  ordered.forEach((tenure, index) => {
    const next = ordered[index + 1];
    const endMs = tenure.ended_ms ?? nowMs;
    found.push({ tenure, from: tenure.began_ms, to: endMs });
    const gapEnd = next ? next.began_ms : nowMs;
    if (tenure.ended_ms !== null && gapEnd > endMs) found.push({ tenure: null, from: endMs, to: gapEnd, isOpen: !next });
  });
  return found;
}

export class Timeline {
  #range = null;
  #tenures = [];

  constructor() {
    this.ranges = h("div", { className: "ranges", role: "group", "aria-label": "How far back" });
    this.picture = h("div");
    this.element = h("div", {}, this.ranges, this.picture);
  }

  /** Draws tenures as the server gives them; the range is chosen by what there is, until somebody chooses another. */
  show(tenures) {
    this.#tenures = tenures;
    this.draw();
  }

  draw() {
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
    this.picture.replaceChildren(drawn(spans(this.#tenures, nowMs), from, nowMs));
  }

  #choose(range) {
    this.#range = range;
    this.draw();
    this.ranges.querySelector('[aria-pressed="true"]').focus();
  }
}

function drawn(all, from, to) {
  const seen = all.filter((one) => one.to >= from);
  const lanes = [...new Set(seen.filter((one) => one.tenure).map((one) => one.tenure.instance_id))];
  const height = TOP + lanes.length * LANE + 6;
  const x = (ms) => LEFT + (Math.max(0, ms - from) / (to - from)) * (WIDTH - LEFT - 8);
  const svg = (tag, properties, ...children) => h(`svg:${tag}`, properties, ...children);
  const parts = lanes.map((instance, index) => [
    svg("rect", { class: "lane", x: LEFT, y: TOP + index * LANE + 3, width: WIDTH - LEFT - 8, height: LANE - 6, rx: 3 }),
    svg("text", { x: LEFT - 8, y: TOP + index * LANE + 17, "text-anchor": "end" }, shortened(instance)),
  ]);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const at = from + (to - from) * part;
    const anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
    const label = part === 1 ? "now" : moment(at, to - from);
    return [
      svg("line", { class: "grid", x1: x(at), x2: x(at), y1: TOP - 6, y2: height }),
      svg("text", { class: "faint", x: x(at), y: 12, "text-anchor": anchor }, label),
    ];
  });
  const bars = seen.map(({ tenure, from: begin, to: end, isOpen }) => {
    const width = Math.max(BAR_MIN, x(end) - x(begin));
    if (!tenure) {
      const told = `nobody for ${span(end - begin)}${isOpen ? " until now" : ""}, from ${dayAndClock(begin)}`;
      const isLong = isOpen || end - begin >= LONG_MS;
      return svg("rect", { class: "gap", x: x(begin), y: TOP - (isLong ? 6 : 8), width, height: isLong ? height - TOP + 4 : 8 }, svg("title", {}, told));
    }
    const lane = lanes.indexOf(tenure.instance_id);
    const told = `${tenure.instance_id}, epoch ${tenure.epoch}: ${dayAndClock(begin)}, for ${span(end - begin)}${tenure.reason ? `, ended: ${tenure.reason}` : ", active now"}`;
    return svg("rect", { class: tenure.ended_ms === null ? "held now" : "held", x: x(begin), y: TOP + lane * LANE + 3, width, height: LANE - 6, rx: 2 },
      svg("title", {}, told));
  });
  const gaps = seen.filter((one) => !one.tenure);
  const said = `${lanes.length} instances in ${span(to - from)}; nobody was active ${gaps.length} times, ${span(gaps.reduce((sum, gap) => sum + gap.to - Math.max(from, gap.from), 0))} in all. The table below says the same.`;
  return svg("svg", { class: "timeline", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": said }, ...ticks.flat(), ...parts.flat(), ...bars);
}

function shortened(text) {
  return text.length > 20 ? `${text.slice(0, 18)}…` : text;
}

/** The same for who cannot see a picture, or wants the numbers: the newest first. */
export function tenureTable(tenures) {
  const rows = tenures.map((tenure) =>
    h("tr", {},
      h("th", { scope: "row", className: "number" }, String(tenure.epoch)),
      h("td", {}, tenure.instance_id),
      h("td", { className: "number" }, dayAndClock(tenure.began_ms)),
      h("td", { className: "number" }, span((tenure.ended_ms ?? Date.now()) - tenure.began_ms)),
      h("td", {}, tenure.reason ?? h("span", { className: "badge good" }, "active")),
    ),
  );
  const head = ["Epoch", "Instance", "From", "For", "Why it ended"].map((text) => h("th", { scope: "col" }, text));
  return h("details", {}, h("summary", {}, `The ${tenures.length} newest tenures as a table`),
    h("div", { className: "scroller" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))));
}
