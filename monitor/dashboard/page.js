// The live page. One stream feeds `held`, a map of executions, and the list is drawn from it in one animation frame;
// an opened execution has a stream of its own. Strangers' words reach the document as text alone, and strangers' ids
// are keys of maps, never of objects.

const STATUSES = ["queued", "running", "waiting", "success", "failed", "cancelled", "timeout", "crashed"];
const IN_FLIGHT = new Set(["queued", "running", "waiting"]);
const ENDS = new Set(["execution.completed", "execution.failed", "execution.cancelled"]);
const NODE_STATUSES = new Map([
  ["node.queued", "queued"], ["node.started", "running"], ["node.waiting", "waiting"], ["node.resumed", "running"],
  ["node.retrying", "waiting"], ["node.completed", "success"], ["node.failed", "failed"],
  ["node.cancelled", "cancelled"], ["node.skipped", "skipped"],
]);
const KEPT = 500; // executions that are counted: a snapshot of about half a megabyte
const SHOWN = 200; // rows in the document: more than anybody reads while they move
const BARS = 120, NODES = 200, LINES = 300;
const DRAW_MS = 100; // ten times a second: nobody reads faster, and a flood of events costs half of a core, not all
const SETTLED_MS = 1000; // a stream says that it is behind, and not that it is so no longer
const AGAIN_MS = 3000; // where EventSource itself gives up

// --- words ----------------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

function words(said, most = 200) {
  const text = typeof said === "string" ? said : said == null ? "" : JSON.stringify(said);
  return text.length > most ? `${text.slice(0, most)}… (${text.length.toLocaleString()} characters)` : text;
}

function clock(said) {
  const at = new Date(said ?? NaN);
  if (!(at >= 0)) return "";
  const isToday = at.toDateString() === new Date().toDateString(), time = at.toTimeString().slice(0, 8);
  return isToday ? time : `${at.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

function span(ms) {
  const s = Math.floor(ms / 1000);
  if (!(ms >= 0)) return "";
  if (s < 1) return `${Math.round(ms)} ms`;
  if (s < 60) return `${(ms / 1000).toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
}

// --- parts of the document ------------------------------------------------------------------------------------------

function partsIn(node) {
  const named = [...node.querySelectorAll("[class]")].map((part) => [part.classList[0], part]);
  return { node, ...Object.fromEntries(named) };
}

const made = (template) => partsIn($(template).content.firstElementChild.cloneNode(true));

function write(parts, texts) {
  for (const [name, text] of Object.entries(texts)) {
    if (parts[name].textContent !== text) parts[name].textContent = text;
  }
}

function arrange(list, entries, ids, template) {
  const wanted = new Set(ids);
  for (const [id, { node }] of entries) if (!wanted.has(id)) node.remove(), entries.delete(id);
  let next = list.firstElementChild;
  for (const id of wanted) {
    if (!entries.has(id)) entries.set(id, made(template));
    const { node } = entries.get(id);
    if (node === next) next = next.nextElementSibling;
    else list.insertBefore(node, next);
  }
}

// --- an execution, as the API shows it, and what an event makes of it ------------------------------------------------

function fold(row, { executionId, workflowId, type, timestamp, data, version, state }) {
  const at = new Date(timestamp).toISOString();
  // One whose beginning was told before we listened is read once more.
  row ??= { id: executionId, createdAt: at, isPartial: type !== "execution.queued" && type !== "execution.started" };
  const workflowName = data.workflowName ?? row.workflowName, mode = data.mode ?? row.mode;
  const next = { ...row, workflowId, workflowName, mode, version, ...state };
  if (type === "execution.started") next.startedAt = at;
  if (IN_FLIGHT.has(state.status)) return { ...next, stoppedAt: undefined, duration: undefined, error: undefined };
  if (!ENDS.has(type)) return next;
  return { ...next, stoppedAt: at, duration: data.duration, error: { message: words(data.error?.message, 2000) } };
}

function foldNode(node, { type, timestamp, data }) {
  const { nodeId, iteration = 0, attempt = 1, duration } = data, status = NODE_STATUSES.get(type);
  const ahead = node ? iteration - node.iteration || attempt - node.attempt : 1;
  if (ahead < 0 || (!ahead && !IN_FLIGHT.has(node.status))) return node;
  const nodeName = data.nodeName || node?.nodeName || nodeId;
  const next = { ...(!ahead && node), nodeId, nodeName, iteration, attempt, status };
  if (type === "node.started") next.startedAt = timestamp;
  return IN_FLIGHT.has(status) ? next : { ...next, status: data.status ?? status, stoppedAt: timestamp, duration };
}

function elapsed({ status, startedAt, stoppedAt, duration }) {
  if (duration >= 0) return duration * 1000;
  return Math.max(0, (IN_FLIGHT.has(status) ? Date.now() : Date.parse(stoppedAt)) - Date.parse(startedAt));
}

function telling(row) {
  const { completed, total, current, message } = row.progress;
  return {
    status: row.status,
    name: words(row.workflowName || row.workflowId || "no workflow yet"),
    id: words(row.id),
    count: total && row.status !== "success" ? `${completed}/${total}` : "",
    took: span(elapsed(row)),
    doing: IN_FLIGHT.has(row.status) ? words(message || current) : words(row.error?.message),
  };
}

// --- the list -------------------------------------------------------------------------------------------------------

const search = new URLSearchParams(location.search);
const chosen = { status: search.get("status") ?? "", workflowId: search.get("workflow") ?? "" };
const workflows = new Map(), shown = new Map();
let held = new Map(), incoming = new Map(), isPaused = false, drawing = 0;

const begun = ({ startedAt, createdAt }) => startedAt ?? createdAt;
const isBefore = (one, other) => (begun(one) === begun(other) ? one.id < other.id : begun(one) < begun(other));
const newest = () => [...held.values()].sort((one, other) => (isBefore(one, other) ? 1 : -1));
const isWanted = ({ status }) => !chosen.status || status === chosen.status;

function take(event) {
  const id = event.executionId, row = held.get(id);
  if (event.type === "execution.deleted") held.delete(id);
  // Equal too: what the service concludes from an event comes ahead of it, under the same version.
  else if (!row || event.version >= row.version) held.set(id, fold(row, event));
  if (held.size > 4 * KEPT) forget(newest()); // a hidden tab draws nothing
  draw();
}

function forget(sorted) {
  const isOld = (row, place) => place > 2 * KEPT || !(IN_FLIGHT.has(row.status) || (chosen.status && isWanted(row)));
  for (const { id } of sorted.slice(KEPT).filter(isOld)) held.delete(id);
}

async function read(filters) {
  const query = new URLSearchParams({ limit: 100 });
  for (const [field, value] of Object.entries(filters)) if (value) query.set(`filter[${field}]`, value);
  const answer = await fetch(`/v1/executions?${query}`).catch(() => null);
  for (const row of answer?.ok ? (await answer.json()).data : []) {
    const known = held.get(row.id);
    if (known?.version > row.version) known.isPartial = known.isAsked;
    else held.set(row.id, row);
  }
  draw();
}

function complete(rows) {
  const partial = rows.filter(({ id, isPartial }) => isPartial && !id.includes(",")).slice(0, 100);
  for (const row of partial) Object.assign(row, { isPartial: false, isAsked: true });
  if (partial.length) read({ id: partial.map(({ id }) => id).join(",") });
}

function draw() {
  drawing ||= setTimeout(requestAnimationFrame, DRAW_MS, () => {
    drawing = 0;
    drawList();
    if (opened) drawOpened(opened);
  });
}

function drawList() {
  const sorted = newest(), wanted = sorted.filter(isWanted).slice(0, SHOWN), counted = sorted.slice(0, KEPT);
  forget(sorted);
  if (!isPaused) arrange($("rows"), shown, wanted.map(({ id }) => id), "row");
  for (const [id, parts] of shown) drawRow(parts, held.get(id) ?? parts.row);
  complete(wanted);
  for (const row of sorted) offer(row);
  drawCounters(counted);
  drawStrip(sorted.slice(0, BARS).reverse());
  const many = wanted.length === SHOWN ? `Newest ${SHOWN}` : `${wanted.length || "None"}`;
  const scope = counted.length === KEPT ? ` · counts are of the newest ${KEPT}` : "";
  const behind = isPaused ? ` · paused, ${wanted.filter(({ id }) => !shown.has(id)).length} more` : "";
  $("summary").textContent = held.size
    ? `${many} ${chosen.status || "shown"}${scope}${behind}`
    : "No executions yet: they appear as soon as their events arrive";
}

function drawRow(parts, row) {
  const isOpen = opened?.id === row.id;
  if (parts.row === row && parts.isOpen === isOpen && !IN_FLIGHT.has(row.status)) return;
  Object.assign(parts, { row, isOpen });
  Object.assign(parts.node.dataset, { id: row.id, status: row.status, version: row.version });
  parts.link.href = `#${new URLSearchParams({ id: row.id })}`;
  parts.link.ariaCurrent = isOpen ? "true" : null;
  parts.bar.style.setProperty("--ratio", row.progress.ratio);
  write(parts, { ...telling(row), started: clock(begun(row)) });
}

function drawCounters(rows) {
  const counts = new Map([["", rows.length]]);
  for (const { status } of rows) counts.set(status, (counts.get(status) ?? 0) + 1);
  for (const parts of choices) {
    const count = counts.get(parts.node.dataset.status) ?? 0;
    parts.node.classList.toggle("none", !count);
    write(parts, { number: `${count}` });
  }
}

function drawStrip(rows) {
  const heights = rows.map((row) => Math.log1p((elapsed(row) || 0) / 1000)), highest = Math.max(1, ...heights);
  [...$("strip").children].forEach((bar, place) => {
    const at = place - BARS + rows.length;
    bar.dataset.status = rows[at]?.status ?? "";
    bar.style.setProperty("--height", (heights[at] ?? 0) / highest);
  });
}

function offer({ workflowId: id, workflowName: name }) {
  const known = workflows.get(id);
  if (!id || id.includes(",") || workflows.size > KEPT || (known && known.name === name)) return;
  const option = known?.option ?? $("workflows").appendChild(new Option("", id));
  option.textContent = words(name || id, 60);
  workflows.set(id, { option, name });
}

// --- one execution --------------------------------------------------------------------------------------------------

const detail = partsIn($("detail"));
let opened = null;

async function open(id) {
  opened?.source?.close();
  const mine = (opened = id ? { id, nodes: new Map(), shown: new Map(), lines: [] } : null);
  document.body.classList.toggle("split", Boolean(id));
  detail.node.hidden = !id;
  detail.node.ariaBusy = "true";
  for (const part of ["status", "name", "started", "took", "count", "mode", "error", "nodes", "log"]) {
    detail[part].replaceChildren();
  }
  detail.progress.value = 0;
  draw();
  if (!id) return;
  const address = `/v1/executions/${encodeURIComponent(id)}`;
  [detail.json.href, detail.lines.href] = [`${address}?include=data,logs`, `${address}/logs?limit=1000`];
  const include = me?.scopes.includes("executions:data") ? "data,logs" : "logs";
  const answer = await fetch(`${address}?include=${include}`).catch(() => null);
  const execution = await answer?.json().catch(() => null);
  if (mine !== opened) return;
  detail.node.ariaBusy = "false";
  if (!answer?.ok || !execution) return fail(answer, execution);
  const { epoch = 0, logs, logLines } = execution;
  const first = logLines > logs.length ? `: the first ${logs.length} of ${logLines}, and what comes now` : "";
  Object.assign(mine, { row: execution, epoch, lines: logs, first });
  for (const node of execution.executionData ?? []) mine.nodes.set(node.nodeId, node);
  const query = new URLSearchParams({ events: "*", logs: 1, position: answer.headers.get("monitor-position") });
  const again = () => mine === opened && open(id);
  mine.source = follow(`${address}/stream?${query}`, again, (event) => tell(mine, event), {
    "stream.gap": again,
    "stream.reset": again,
    "stream.log-gap": ({ count, from }) => mine.lines.push({ timestamp: from, message: `${count} lines left out` }),
    "stream.end": () => mine.source.close(),
  });
  draw();
}

function fail(answer, said) {
  detail.error.hidden = false;
  write(detail, { error: words(said?.error?.message ?? "The service does not answer. Trying again.") });
  if (!(answer?.status < 500)) setTimeout(route, AGAIN_MS);
}

function tell(mine, event) {
  const { type, data } = event;
  if (event.epoch > mine.epoch) return open(mine.id); // restarted in place: other nodes
  if (event.version >= mine.row.version) mine.row = fold(mine.row, event);
  if (NODE_STATUSES.has(type)) mine.nodes.set(data.nodeId, foldNode(mine.nodes.get(data.nodeId), event));
  if (type === "log.appended") mine.lines.push(...data.lines.map((line) => ({ timestamp: event.timestamp, ...line })));
  mine.lines = mine.lines.slice(-LINES);
  draw();
}

function drawOpened({ id, row, nodes, shown, lines, first }) {
  write(detail, { id: words(id) });
  if (!row || held.get(id)?.version > row.version) row = held.get(id);
  if (!row) return;
  detail.node.dataset.status = row.status;
  detail.error.hidden = !row.error;
  detail.progress.value = row.progress.ratio;
  const { doing, ...told } = telling(row);
  const error = words(row.error?.message, 2000);
  const cuts = { cutNodes: nodes.size > NODES ? `: the first ${NODES} of ${nodes.size}` : "", cutLines: first ?? "" };
  write(detail, { ...told, ...cuts, started: clock(row.startedAt), mode: words(row.mode, 40), error });
  drawNodes([...nodes.values()].slice(0, NODES), shown, row);
  drawLines(detail.log, lines.splice(0));
}

function drawNodes(nodes, shown, row) {
  const start = (run) => Date.parse(run.startedAt ?? run.stoppedAt) - (run.startedAt ? 0 : run.duration * 1000 || 0);
  const from = Math.min(...[row, ...nodes].map(start).filter(Number.isFinite));
  const until = Math.max(from + 1, ...[row, ...nodes].map((run) => start(run) + elapsed(run)).filter(Number.isFinite));
  arrange(detail.nodes, shown, nodes.map(({ nodeId }) => nodeId), "node");
  for (const node of nodes) {
    const parts = shown.get(node.nodeId), took = elapsed(node), { iteration, attempt, status } = node;
    const run = [words(node.nodeName, 80), iteration && `round ${iteration + 1}`, attempt > 1 && `attempt ${attempt}`];
    parts.node.dataset.status = status;
    parts.run.style.setProperty("--from", (start(node) - from) / (until - from) || 0);
    parts.run.style.setProperty("--length", took / (until - from) || 0);
    write(parts, { name: run.filter(Boolean).join(" · "), status, took: span(took) });
  }
}

function drawLines(log, lines) {
  const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  for (const { timestamp, level, message } of lines) {
    const parts = made("line"), word = words(level || "info", 20);
    parts.node.dataset.level = word.toLowerCase();
    write(parts, { started: clock(timestamp), level: word, message: words(message, 2000) });
    log.append(parts.node);
  }
  while (log.children.length > LINES) log.firstElementChild.remove();
  if (isAtEnd && lines.length) log.scrollTop = log.scrollHeight;
}

// --- the streams ----------------------------------------------------------------------------------------------------

let source = null, settling = 0, staleSince = null;

function say(state, text) {
  clearTimeout(settling);
  $("chip").dataset.state = state;
  $("chip").textContent = text;
}

function live(since = staleSince) {
  staleSince = since;
  say(...(since ? ["stale", `Stale since ${clock(since)}`] : ["live", "Live"]));
}

const lose = () => $("chip").dataset.state === "lost" || say("lost", `Reconnecting, as of ${clock(Date.now())}`);

function catchUp() {
  say("behind", "Catching up");
  settling = setTimeout(() => live(), SETTLED_MS);
}

function follow(address, again, onEvent, controls) {
  const source = new EventSource(address);
  source.onmessage = ({ data }) => onEvent(JSON.parse(data));
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(async () => (await isKnown()) && again(), AGAIN_MS);
  };
  for (const [name, react] of Object.entries(controls)) {
    source.addEventListener(name, ({ data }) => react(JSON.parse(data)));
  }
  return source;
}

function watch() {
  source?.close();
  const query = new URLSearchParams({ snapshot: `recent:${KEPT}`, events: "execution.*,node.*" });
  if (chosen.workflowId) query.set("channels", `workflow:${chosen.workflowId}`);
  const mine = (source = follow(`/v1/executions/stream?${query}`, () => mine === source && watch(), take, {
    "stream.hello": () => ([incoming, staleSince] = [new Map(), null]), // whatever was cut off begins again
    "stream.subscribed": catchUp,
    "stream.snapshot": ({ execution }) => incoming.set(execution.id, execution),
    "stream.snapshot-end": replace,
    "stream.gap": catchUp,
    "stream.reset": catchUp,
    "stream.slow": catchUp,
    "stream.stale": ({ since }) => live(since),
    "stream.fresh": () => live(null),
    "stream.drain": lose,
  }));
  mine.addEventListener("error", lose);
}

function replace() {
  [held, incoming] = [incoming, new Map()];
  if (chosen.status) read(chosen);
  live();
  draw();
}

// --- who looks ------------------------------------------------------------------------------------------------------

let me = null;

async function isKnown() {
  const answer = await fetch("/v1/session").catch(() => null);
  if (answer?.status === 401 || answer?.status === 403) return ask(), false;
  if (answer?.ok) me = await answer.json();
  // A session of ours ends by a button; where nobody is asked, there is none.
  $("who").hidden = !me?.csrfToken;
  if (me) $("who").firstElementChild.textContent = words(`${me.name} · ${me.team}`, 60);
  return true;
}

function ask(refusal = "") {
  [source, me] = [source?.close(), null];
  opened?.source?.close();
  document.body.classList.add("outside");
  $("door").hidden = false;
  $("who").hidden = true;
  $("refusal").textContent = refusal;
  $("token").focus();
}

async function signIn(authorization) {
  const answer = await fetch("/v1/session", { method: "POST", headers: { authorization } }).catch(() => null);
  if (answer?.ok) return enter();
  const said = await answer?.json().catch(() => null);
  ask(words(said?.error?.message ?? "The service does not answer. Try again."));
}

async function enter() {
  if (!(await isKnown())) return;
  document.body.classList.remove("outside");
  $("door").hidden = true;
  watch();
  route();
}

async function leave() {
  await fetch("/v1/session", { method: "DELETE", headers: { "x-csrf-token": me?.csrfToken } }).catch(() => null);
  held = new Map();
  draw();
  ask();
}

// --- what people do -------------------------------------------------------------------------------------------------

function choose(change) {
  Object.assign(chosen, change);
  const said = Object.entries({ status: chosen.status, workflow: chosen.workflowId }).filter(([, value]) => value);
  history.replaceState(null, "", `?${new URLSearchParams(said)}${location.hash}`);
  pause(false);
}

function pause(is) {
  isPaused = is;
  $("pause").ariaPressed = `${is}`;
  draw();
}

function route() {
  open(new URLSearchParams(location.hash.slice(1)).get("id"));
}

function close() {
  const row = shown.get(opened?.id);
  history.pushState(null, "", location.pathname + location.search);
  route();
  row?.link.focus();
}

const choices = ["", ...STATUSES].map((status) => {
  const parts = made("choice");
  parts.node.dataset.status = status;
  parts.radio.checked = status === chosen.status;
  parts.radio.onchange = () => (choose({ status }), status && read(chosen));
  write(parts, { word: status || "all" });
  $("statuses").append(parts.node);
  return parts;
});
$("strip").append(...Array.from({ length: BARS }, () => document.createElement("i")));
offer(chosen);
$("workflows").value = chosen.workflowId;
$("workflows").onchange = ({ target }) => (choose({ workflowId: target.value }), watch());
$("pause").onclick = () => pause(!isPaused);
detail.close.onclick = close;
$("rows").onkeydown = (event) => {
  const row = event.target.closest("li");
  const to = event.key === "ArrowDown" ? row.nextElementSibling : event.key === "ArrowUp" && row.previousElementSibling;
  if (to) event.preventDefault(), to.firstElementChild.focus();
};
addEventListener("keydown", ({ key }) => key === "Escape" && opened && close());
addEventListener("hashchange", () => (route(), opened && detail.node.focus()));
setInterval(draw, 1000); // what runs grows older
$("who").lastElementChild.onclick = leave;
$("door").onsubmit = (event) => {
  event.preventDefault();
  signIn(`Bearer ${$("token").value.trim()}`);
  $("token").value = "";
};
const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
if (ticket) history.replaceState(null, "", location.pathname + location.search); // good for once, and gone from sight
ticket ? signIn(`Ticket ${ticket}`) : enter();
