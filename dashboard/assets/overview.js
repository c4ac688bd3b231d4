// The overview: one stream of server-sent events, of which everything that moves is made.
import { call, times, ago, keepFresh } from "./gate.js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0, useGrouping: true });
const thin = (text) => text.replaceAll(",", "\u202f");

function rate(x) { return x < 100 && x !== Math.trunc(x) ? x.toFixed(1) : thin(whole.format(x)); }
function known(x) {
  if (x === null) return "–";
  return x < 10 && x !== Math.trunc(x) ? x.toFixed(2) : rate(x);
}
const writers = { p50: known, p95: known, p99: known, lag: known, depth: (x) => (x === null ? "–" : rate(x)), mode: (m) => m.replace("_", " "), breaker: String };

const fields = [...document.querySelectorAll("[data-live]")];
function set(node, text) { if (node.textContent !== text) node.textContent = text; }

function show(state) {
  for (const f of fields) set(f, (writers[f.dataset.live] ?? rate)(state[f.dataset.live]));
  document.getElementById("spooled").hidden = !state.spooled;
  showProblems(state.problems);
  showSources(state.sources);
  if (state.events > 0) document.getElementById("first")?.remove();
  add(state.point);
}

let toldProblems = null;
function showProblems(problems) {
  const key = JSON.stringify(problems);
  if (key === toldProblems) return;
  toldProblems = key;
  const level = problems.some((p) => p.level === "bad") ? "bad" : problems.length ? "warn" : "";
  document.getElementById("state").className = `state ${level}`;
  set(document.getElementById("verdict"), level === "bad" ? "Something is wrong" : level ? "Worth a look" : "All well");
  document.getElementById("problems").replaceChildren(...problems.map((p) => {
    const li = document.createElement("li");
    if (p.link) li.append(Object.assign(document.createElement("a"), { href: p.link, textContent: p.text }));
    else li.textContent = p.text;
    if (p.since) {
      const at = Object.assign(document.createElement("time"), { dateTime: p.since });
      at.dataset.ago = "";
      const since = document.createElement("small");
      since.append(" began ", at);
      li.append(since);
      times(li);
    }
    return li;
  }));
}

const sourceRows = document.querySelector("#sources tbody");
function showSources(sources) {
  for (const s of sources) {
    const row = document.querySelector(`[data-source="${CSS.escape(s.name)}"]`) ?? newSource(s.name);
    const cells = row.cells;
    set(cells[1], rate(s.taken));
    set(cells[2], rate(s.refused));
    set(cells[3], rate(s.unavailable));
    if (!s.last) continue;
    let t = cells[6].querySelector("time");
    if (!t) {
      t = document.createElement("time");
      t.dataset.ago = "";
      cells[6].replaceChildren(t);
    }
    if (t.dateTime !== s.last) {
      t.dateTime = s.last;
      times(cells[6]);
    } else {
      set(t, ago(new Date(s.last)));
    }
  }
}

function newSource(name) {
  sourceRows.querySelector(".none")?.remove();
  const row = sourceRows.insertRow();
  row.dataset.source = name;
  row.insertCell().className = "text";
  row.cells[0].textContent = name;
  for (let i = 0; i < 6; i++) row.insertCell().className = i === 2 || i === 3 || i === 4 ? "n wide" : "n";
  row.cells[6].textContent = "not yet";
  return row;
}

// Charts. A live point is: time, accepted, refused, unavailable, P50, P95, P99, depth, lag, stored.
// A point of the history has delivered and failed in the place of depth and lag.
const range = document.getElementById("history").dataset.range;
const live = range === "";
const keep = { "": 900, "1h": 3600, "6h": 6 * 3600, "24h": 24 * 3600 }[range];
const step = { "": 1, "1h": 60, "6h": 300, "24h": 600 }[range];
let points = [];
const charts = [];

const clock = new Intl.DateTimeFormat("sv-SE", { timeStyle: "short" });
// colour returns a colour of the sheet, as it is now, in a form that a canvas takes.
const probe = document.getElementById("fresh");
function colour(name, alpha = 1) {
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.style.color = "";
  return found.replace(")", ` / ${alpha})`).replaceAll(",", "");
}

function makeChart(id, columns) {
  const box = document.getElementById(id);
  const make = () => {
    const text = colour("--muted"), line = colour("--line");
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const size = () => ({ width: box.clientWidth, height: box.clientHeight });
    return new uPlot({
      ...size(),
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 16, 0, 0],
      scales: { x: { time: true, range: () => { const end = Math.floor(Date.now() / 1000); return [live ? Math.max(end - keep, Math.min(points[0]?.[0] ?? end, end - 120)) : end - keep, end]; } }, y: { range: (u, min, max) => [0, Math.max(1, (max ?? 0) * 1.1)] } },
      axes: [{ ...axis, space: 60, size: 26, incrs: [60, 120, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600], values: (u, at) => at.map((t) => clock.format(1000 * t)) },
        { ...axis, size: 46, space: 26, values: (u, at) => at.map((v) => (v >= 1000 ? `${+(v / 1000).toFixed(1)}k` : +v.toFixed(2))) }],
      series: [{}, ...columns.map((c) => ({ stroke: colour(c.colour), width: 1.5, fill: c.fill ? colour(c.colour, 0.13) : undefined, points: { show: (u, i) => u.data[i].filter((v) => v !== null).length === 1, size: 5 }, spanGaps: false }))],
    }, [[], ...columns.map(() => [])], box);
  };
  const chart = { columns, box, plot: null, make };
  charts.push(chart);
  return chart;
}

function draw() {
  for (const c of charts) {
    c.plot ??= c.make();
    c.plot.setData([points.map((p) => p[0]), ...c.columns.map((k) => points.map((p) => p[k.at]))]);
  }
}

function add(point) {
  if (!live) return;
  if (!live || points.length && point[0] <= points.at(-1)[0]) return;
  points.push(point);
  if (points.length > keep) points.shift();
  draw();
}

makeChart("chart-answers", [{ at: 1, colour: "--series-1", fill: true }, { at: 2, colour: "--series-2" }, { at: 3, colour: "--series-3" }]);
makeChart("chart-latency", [{ at: 6, colour: "--series-2" }, { at: 5, colour: "--series-1" }, { at: 4, colour: "--series-4" }]);
if (live) makeChart("chart-queue", [{ at: 7, colour: "--series-1", fill: true }, { at: 9, colour: "--series-4" }]);
else makeChart("chart-deliveries", [{ at: 7, colour: "--series-4", fill: true }, { at: 8, colour: "--series-3" }]);

function redraw() {
  for (const c of charts) {
    c.plot?.destroy();
    c.plot = null;
  }
  draw();
}
document.addEventListener("theme", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new ResizeObserver(() => {
  for (const c of charts) c.plot?.setSize({ width: c.box.clientWidth, height: c.box.clientHeight });
}).observe(document.getElementById("content"));

// The stream. It rests while nobody sees the page, and is begun anew when it breaks off.
let stream = null;
let heard = Date.now();
const fresh = document.getElementById("fresh");

function open() {
  if (stream || document.hidden) return;
  stream = new EventSource("/ui/live");
  stream.addEventListener("history", (e) => { if (live) { points = JSON.parse(e.data); draw(); } });
  stream.addEventListener("state", (e) => {
    heard = Date.now();
    set(fresh, "live");
    show(JSON.parse(e.data));
  });
  stream.addEventListener("over", () => location.reload()); // to the form to sign in
  stream.addEventListener("error", () => {
    if (stream?.readyState !== EventSource.CLOSED) return; // it tries again by itself
    stream = null;
    setTimeout(open, 5000);
  });
}

setInterval(() => {
  if (document.hidden || Date.now() - heard < 5000) return;
  const state = document.getElementById("state");
  state.className = "state gone";
  toldProblems = null;
  set(document.getElementById("verdict"), "No live numbers");
  document.getElementById("problems").replaceChildren(Object.assign(document.createElement("li"), { textContent: "The gate is out of reach, or too many browsers stream live numbers (admin.live_streams)." }));
  set(fresh, `as of ${ago(heard)}`);
}, 1000);

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    open();
  } else if (stream) {
    stream.close();
    stream = null;
  }
});
open();

// The history comes from the store, once a minute.
async function readHistory() {
  if (document.hidden) return;
  const now = Math.floor(Date.now() / 1000);
  let answer;
  try {
    answer = (await call("GET", `/api/history?from=${new Date(1000 * (now - keep)).toISOString()}&step=${step}s`)).body;
  } catch { return; } // it is tried again
  const grid = new Map();
  const begin = Date.parse(answer.from) / 1000;
  for (let t = begin; t <= now; t += step) grid.set(t, [t, 0, 0, 0, null, null, null, 0, 0]);
  for (const s of answer.series) {
    for (const p of s.points) {
      const at = grid.get(Date.parse(p.at) / 1000);
      if (!at) continue;
      // the current step has not ended
      const seconds = Math.max(1, Math.min(step, now - at[0]));
      const more = (i, n) => { at[i] += (n ?? 0) / seconds; };
      more(1, p.accepted);
      more(2, (p.unauthenticated ?? 0) + (p.refused ?? 0));
      more(3, p.unavailable);
      more(7, p.delivered);
      more(8, p.failed);
      if (s.kind === "gate" && p.latency) [at[4], at[5], at[6]] = [p.latency.p50, p.latency.p95, p.latency.p99];
    }
  }
  points = [...grid.values()];
  draw();
}
if (!live) {
  readHistory();
  setInterval(readHistory, 30000);
}

keepFresh(["deliveries", "totals"], 10000); // they move slowly
