// Making elements and saying times.

/** An element with properties, attributes (with a dash or `role`) and children; text is never taken for HTML. */
export function h(tag, properties = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && !(made instanceof SVGElement) && !key.includes("-") && key !== "role") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const dateFormat = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export function clock(unixMs) {
  return `${clockFormat.format(unixMs)}.${String(Math.floor(unixMs) % 1000).padStart(3, "0")}`;
}

export function dayAndClock(unixMs) {
  return `${dayFormat.format(unixMs)}, ${clock(unixMs)}`;
}

/** A point in time, as exactly as a picture of so many milliseconds can show it. */
export function moment(unixMs, widthMs) {
  return widthMs < 86_400_000 ? clockFormat.format(unixMs) : dateFormat.format(unixMs);
}

/** An instance, so that nobody takes it for one of the same name in another service. */
export function named(instance) {
  return `${instance.service_name}/${instance.instance_id}`;
}

/** A span of time in the largest unit that says enough: 8 ms, 1.4 s, 12 min, 3 h 5 min, 2 d. */
export function span(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}

/** A <time> that says how long ago something was and is brought up to date by `tick`. */
export function ago(unixMs) {
  const made = h("time", { dateTime: new Date(unixMs).toISOString(), title: dayAndClock(unixMs) });
  made.dataset.sinceMs = unixMs;
  made.textContent = span(Math.max(0, Date.now() - unixMs));
  return made;
}

export function tick() {
  for (const element of document.querySelectorAll("time[data-since-ms]")) {
    const text = span(Math.max(0, Date.now() - Number(element.dataset.sinceMs)));
    if (element.textContent !== text) element.textContent = text;
  }
}

/** Says something to who does not see the page. */
export function announce(text) {
  document.getElementById("announce").textContent = text;
}
