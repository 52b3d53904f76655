// What strangers named, stored or answered goes onto the page with textContent alone, and every failure ends as a
// sentence where the person who caused it is looking.
"use strict";

const [, , namespace, object] = location.pathname.split("/");
const MAX_COMPONENT = 64 * 1024 * 1024;
const MAX_SHOWN = 100_000;
const ROWS = 50;
const LOOK_AGAIN_MS = 4000;
const UPLOAD = "upload:";

/** Methods to try, with arguments, of the classes that the page knows. */
const HINTS = {
  counter: [["increment", "[1]"], ["value", "[]"], ["add_via", '["visits", 7]'], ["children", "[]"], ["reset", "[]"]],
  notes: [["add", '["Title", "Body"]'], ["list", "[]"], ["search", '["word"]'], ["count", "[]"]],
};

/** What an outcome means for the person who called. */
const OUTCOMES = {
  "not-applied": "nothing happened",
  applied: "the app finished; what it wrote before stays",
  unknown: "it may or may not have happened",
};

const $ = (id) => document.getElementById(id);
const state = { apps: [], components: [], selected: null, shown: "", reachable: true };

function el(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// Talking to the host

/** An error in the host's words: kind, code, message, outcome. */
class Problem extends Error {
  constructor({ kind, code, message, outcome }) {
    super(message);
    Object.assign(this, { kind, code, outcome });
  }
}

async function ask(address, options) {
  let response, text;
  try {
    response = await fetch(address, { cache: "no-store", ...options });
    text = await response.text();
  } catch {
    reachable(false);
    // A request that was only read from can be repeated; of the others nobody knows what became of them.
    const outcome = options?.method === "POST" ? "unknown" : "not-applied";
    throw new Problem({ kind: "unreachable", code: "", message: "the host does not answer", outcome });
  }
  reachable(true);
  const value = parse(text);
  if (response.ok && value !== undefined) return value;
  const said = value?.error ?? { kind: "http", message: `the host answered with status ${response.status}: ${text.trim()}` };
  throw new Problem({ code: "", outcome: "unknown", ...said });
}

const post = (address, body) => ask(address, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body) });

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function reachable(now) {
  if (now === state.reachable) return;
  state.reachable = now;
  $("connection").textContent = now ? "" : "The host does not answer. Is facetd still running? What is shown here is what it said last.";
}

// Words

/** A message as a sentence, whoever wrote it. */
function sentence(text) {
  const trimmed = String(text).trim() || "something went wrong, and nothing was said about it";
  const begun = trimmed[0].toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 1024 * 1024 ? `${Math.round(bytes / 1024)} KiB` : `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

const stateMark = (app) => el("span", { className: `state ${app.state}`, textContent: app.state });

function say(place, text, bad = false) {
  place.classList.toggle("bad", bad);
  place.textContent = text;
}

/** Runs what a form does: once at a time, and whatever goes wrong is said in the form. */
function onSubmit(id, act) {
  const form = $(id);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.ariaBusy === "true") return;
    const place = form.querySelector(".said");
    form.ariaBusy = "true";
    try {
      await act((text) => place && say(place, text));
    } catch (error) {
      say(place, sentence(error.message) + (error.outcome === "unknown" ? " It may have happened all the same." : ""), true);
    } finally {
      form.ariaBusy = "false";
    }
    await refresh();
  });
}

// The list

async function refresh() {
  try {
    [state.apps, state.components] = await Promise.all([ask("api/apps"), ask("api/components")]);
  } catch (error) {
    if (error.kind !== "unreachable") say($("connection"), sentence(error.message));
    return;
  }
  draw();
}

function draw() {
  // Only what changed is drawn again, so that focus and a list that is being read stay where they are.
  const now = JSON.stringify([state.apps, state.components, state.selected]);
  if (now === state.shown) return;
  state.shown = now;
  drawClasses();
  const focused = document.activeElement?.dataset?.app;
  $("apps").replaceChildren(...state.apps.map(listItem));
  $("no-apps").hidden = state.apps.length > 0;
  if (focused !== undefined) [...$("apps").querySelectorAll("button")].find((button) => button.dataset.app === focused)?.focus();
  drawApp();
}

function drawClasses() {
  const select = $("start-class");
  const chosen = select.value;
  const option = ({ label, digest, bytes }) =>
    el("option", { value: bytes === null ? label : digest, textContent: bytes === null ? `${label} (example)` : `${label} (${size(bytes)})` });
  select.replaceChildren(...state.components.map(option), el("option", { value: UPLOAD, textContent: "A component of mine…" }));
  if ([...select.options].some((known) => known.value === chosen)) select.value = chosen;
  select.dispatchEvent(new Event("change"));
}

function listItem(app) {
  const button = el("button", { type: "button" },
    el("b", { textContent: app.name }), stateMark(app),
    el("span", { className: "class", textContent: app.class }),
    el("span", { className: "bytes", textContent: size(app.storage_bytes) }));
  button.dataset.app = app.name;
  if (app.name === state.selected) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => {
    choose(app.name);
    $("app-name").focus();
    $("app").scrollIntoView({ block: "nearest" });
  });
  return el("li", {}, button);
}

function choose(name) {
  const changed = state.selected !== name;
  state.selected = name;
  history.replaceState(null, "", name === null ? location.pathname : `#${encodeURIComponent(name)}`);
  if (changed) fresh();
  draw();
}

const selected = () => state.apps.find((app) => app.name === state.selected);

// The app that was chosen

/** The page as it is for an app that was just chosen. */
function fresh() {
  for (const place of $("app").querySelectorAll(".said")) say(place, "");
  $("answer").replaceChildren();
  $("call-method").value = "";
  $("call-args").value = "[]";
  $("clone-name").value = "";
  $("rows").replaceChildren();
  askDelete(false);
  if (state.selected !== null) showRows("");
}

function drawApp() {
  const app = selected();
  $("app").hidden = !app;
  $("nothing").hidden = Boolean(app);
  if (!app) return;
  $("app-name").textContent = app.name;
  const facts = [
    ["State", stateMark(app)], ["Stored", size(app.storage_bytes)], ["Class", app.class],
    ["Digest", el("code", { textContent: app.digest.slice(0, 12), title: app.digest })],
    ["Created", new Date(app.created).toLocaleString()],
  ];
  $("facts").replaceChildren(...facts.map(([term, what]) => el("div", {}, el("dt", { textContent: term }), el("dd", {}, what))));
  const known = state.components.find(({ label, digest }) => digest === app.digest && HINTS[label])?.label ?? app.class;
  const hints = HINTS[known] ?? [];
  $("hints").replaceChildren(...hints.map(([method, args]) => {
    const button = el("button", { type: "button", className: "mono", textContent: `${method} ${args}` });
    button.addEventListener("click", () => {
      $("call-method").value = method;
      $("call-args").value = args;
      $("call-args").focus();
    });
    return button;
  }));
  if (hints.length === 0) {
    const textContent = "Its author knows its methods. Facets written with the Rust SDK name theirs when asked for one they do not have.";
    $("hints").append(el("p", { className: "hint", textContent }));
  }
}

function showAnswer(asked, bad, ...what) {
  const place = $("answer");
  place.classList.toggle("bad", bad);
  place.replaceChildren(el("p", { className: "mono asked", textContent: asked }), ...what);
}

function blame(name, kind) {
  if (kind === "failed") return `${name} answered with an error.`;
  return ["aborted", "restarted", "deleted"].includes(kind) ? `${name} was ${kind} meanwhile.` : "The call failed.";
}

function problemList(problem) {
  const words = { kind: problem.kind, code: problem.code || "none", message: problem.message, outcome: problem.outcome };
  const meaning = OUTCOMES[problem.outcome];
  if (meaning) words.outcome += `: ${meaning}`;
  return el("dl", {}, ...Object.entries(words).flatMap(([term, text]) => [el("dt", { textContent: term }), el("dd", { textContent: text })]));
}

// Rows

async function showRows(path) {
  const name = state.selected;
  const facet = path === "" ? name : `${name}/${path}`;
  const still = () => state.selected === name;
  try {
    const tree = await ask(`/admin/tree/${namespace}/${object}`);
    if (!still()) return;
    drawFacets(name, path, tree.facets);
    // An app that has stored nothing and does not run does not exist for the host.
    const exists = tree.facets.some((known) => known.path === facet);
    const address = `/admin/rows/${namespace}/${object}?path=${encodeURIComponent(facet)}&rows=${ROWS}`;
    const { tables } = exists ? await ask(address) : { tables: [] };
    if (!still()) return;
    $("rows").replaceChildren(...tables.map(table));
    say($("rows-said"), tables.length === 0 ? "Nothing yet." : "");
  } catch (error) {
    if (!still()) return;
    $("rows").replaceChildren();
    say($("rows-said"), sentence(error.message), true);
  }
}

/** An app may have children of its own. */
function drawFacets(name, path, facets) {
  const below = facets.map((facet) => facet.path).filter((known) => known.startsWith(`${name}/`));
  const select = $("rows-facet");
  select.hidden = select.labels[0].hidden = below.length === 0;
  const paths = ["", ...below.map((known) => known.slice(name.length + 1))];
  select.replaceChildren(...paths.map((value) => el("option", { value, textContent: value === "" ? name : `${name}/${value}` })));
  select.value = path;
}

function table({ name, columns, rows, total, error }) {
  const count = rows.length < total ? `the first ${rows.length} of ${total} rows` : total === 1 ? "1 row" : `${total} rows`;
  const what = error ? sentence(error) : name === "keys" ? count.replace("row", "key") : count;
  const caption = el("caption", {}, el("b", { textContent: name }), `, ${what}`);
  const head = el("tr", {}, ...columns.map((column) => el("th", { scope: "col", textContent: column })));
  const body = rows.map((row) => el("tr", {}, ...row.map(cell)));
  const place = el("div", { className: "table", tabIndex: 0, role: "region", ariaLabel: `Table ${name}` });
  place.append(el("table", {}, caption, el("thead", {}, head), el("tbody", {}, ...body)));
  return place;
}

function cell(value) {
  if (value === null) return el("td", { className: "kind", textContent: "null" });
  if (typeof value === "number") return el("td", { className: "number", textContent: value });
  if (typeof value === "string") return el("td", { textContent: value });
  const number = value.$integer ?? value.$real;
  if (number !== undefined) return el("td", { className: "number", textContent: number });
  // Text that is not UTF-8 is shown as bytes are.
  const bytes = Uint8Array.from(atob(value.$b64 ?? value.$text_b64), (char) => char.charCodeAt(0));
  const title = `${bytes.length} bytes`;
  try {
    return el("td", { textContent: new TextDecoder("utf-8", { fatal: true }).decode(bytes), title });
  } catch {
    const hex = [...bytes.slice(0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    return el("td", { className: "kind", textContent: bytes.length > 16 ? `${hex} … (${title})` : hex, title });
  }
}

// What a person does

function askDelete(asking) {
  $("delete-sure").hidden = !asking;
  $("delete-ask").hidden = asking;
}

onSubmit("start", async (said) => {
  const name = $("start-name").value;
  let chosen = $("start-class").value;
  if (chosen === UPLOAD) {
    const file = $("start-file").files[0];
    if (!file) throw new Error("choose the component's file first");
    if (file.size > MAX_COMPONENT) throw new Error(`${file.name} has ${size(file.size)}; a component has at most ${size(MAX_COMPONENT)}`);
    said(`Sending ${file.name}, ${size(file.size)}…`);
    const { digest } = await ask(`api/upload?label=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    // Should starting fail, it need not be sent again.
    await refresh();
    $("start-class").value = chosen = digest;
    $("start-class").dispatchEvent(new Event("change"));
  }
  said("Starting…");
  const app = await post("api/start", { name, class: chosen });
  said(`${app.name} is there. Nothing of it runs before its first call.`);
  $("start-name").value = "";
  await refresh();
  choose(app.name);
});

onSubmit("call", async () => {
  const app = selected();
  const method = $("call-method").value.trim();
  const args = $("call-args").value.trim() || "[]";
  const asked = `${app.name}: ${method} ${args}`;
  if (!Array.isArray(parse(args))) {
    const textContent = "The arguments are not a JSON array. Write them like [1, \"two\"], and [] for none.";
    return showAnswer(asked, true, el("p", { textContent }));
  }
  showAnswer(asked, false, el("p", { className: "hint", textContent: "Waiting for the answer…" }));
  let shown;
  try {
    // The arguments go as they were typed: reading and writing them here would round large numbers.
    const body = `{"name": ${JSON.stringify(app.name)}, "method": ${JSON.stringify(method)}, "args": ${args}}`;
    const answer = JSON.stringify(await post("api/call", body), null, 2);
    shown = [false, el("pre", { tabIndex: 0, textContent: answer.slice(0, MAX_SHOWN) })];
    if (answer.length > MAX_SHOWN) {
      const textContent = `This is the beginning; the whole answer has ${answer.length.toLocaleString()} characters.`;
      shown.push(el("p", { className: "hint", textContent }));
    }
  } catch (error) {
    shown = [true, el("p", { textContent: `${blame(app.name, error.kind)} ${sentence(error.message)}` }), problemList(error)];
  }
  if (state.selected !== app.name) return;
  showAnswer(asked, ...shown);
  await showRows($("rows-facet").value);
});

onSubmit("clone", async (said) => {
  const app = selected();
  const copy = await post("api/clone", { name: app.name, copy: $("clone-name").value });
  $("clone-name").value = "";
  said(`${copy.name} is there, with what ${app.name} had stored.`);
});

onSubmit("abort", async (said) => {
  const app = selected();
  await post("api/abort", { name: app.name, reason: $("abort-reason").value });
  said(`${app.name} was stopped. Its next call starts it again.`);
});

onSubmit("delete", async () => {
  const app = selected();
  await post("api/delete", { name: app.name });
  choose(null);
  say($("start").querySelector(".said"), `${app.name} is deleted, with everything it stored.`);
  $("apps-title").focus();
});

$("delete-ask").addEventListener("click", () => {
  askDelete(true);
  $("delete-keep").focus();
});
$("delete-keep").addEventListener("click", () => {
  askDelete(false);
  $("delete-ask").focus();
});
$("start-class").addEventListener("change", () => {
  $("start-upload").hidden = $("start-class").value !== UPLOAD;
});
$("rows-facet").addEventListener("change", () => showRows($("rows-facet").value));
$("rows-again").addEventListener("click", () => showRows($("rows-facet").value));
$("call-args").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("call").requestSubmit();
});

$("here").textContent = `${decodeURIComponent(namespace)}/${decodeURIComponent(object)}`;
document.title = `Apps of ${$("here").textContent}`;
setInterval(() => document.hidden || refresh(), LOOK_AGAIN_MS);
refresh().then(() => {
  const name = decodeURIComponent(location.hash.slice(1));
  if (state.apps.some((app) => app.name === name)) choose(name);
});
