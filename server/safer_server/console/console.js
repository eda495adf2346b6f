// The console: asks the server as any client does. Whatever comes back is put in as text, never as markup.

const OUTCOMES = ["answered", "safe_completed", "refused", "clarified", "failed_closed", "would_refuse"];
const $ = (id) => document.getElementById(id);
const conversation = [];
let running = null; // the AbortController of the request under way
let older = null; // the cursor of the next page of records
let lists = 0; // how often records were asked for: the last time counts

function element(tag, text = "", kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells.map((cell) => {
    const one = element("td");
    one.append(cell);
    return one;
  }));
  return made;
}

function options(select, names) {
  select.append(...names.map((name) => new Option(name, name)));
}

function tell(id, error) {
  $(id).hidden = !error;
  $(id).textContent = error ? error.message : "";
}

async function call(path, init = {}) {
  const headers = { "content-type": "application/json" };
  if ($("key").value) headers.authorization = `Bearer ${$("key").value}`;
  const response = await fetch(path, { ...init, headers });
  if (response.ok) return response;
  const found = await response.json().then((body) => body.error, () => null);
  throw new Error(found ? `${found.message} (${response.status} ${found.code})` : `The server says ${response.status}.`);
}

async function ask(path, body) {
  return (await call(path, body && { method: "POST", body: JSON.stringify(body) })).json();
}

async function* chunks(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let held = ""; ;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The reply broke off: nothing of it counts.");
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(`${chunk.error.message} (${chunk.error.code}) What was shown of an answer is void.`);
      yield chunk;
    }
  }
}

function asDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}

async function userMessage() {
  const pictures = await Promise.all([...$("pictures").files].map(asDataUrl));
  const parts = pictures.map((url) => ({ type: "image_url", image_url: { url } }));
  if ($("message").value.trim()) parts.push({ type: "text", text: $("message").value });
  if (!parts.length) throw new Error("Write a message or choose a picture.");
  return { role: "user", content: parts };
}

function showTurn(message, shown) {
  const names = [...$("pictures").files].map((file) => `[${file.name}]`).join(" ");
  const words = message.role === "user" ? `${names} ${$("message").value}`.trim() : shown;
  const turn = element("li");
  turn.append(element("strong", `${message.role}: `), words);
  $("conversation").append(turn);
}

function value(field) {
  return typeof field === "string" ? field : JSON.stringify(field);
}

function steps(trace) {
  const table = element("table");
  table.append(...trace.map(({ tool, fields }) => row(
    element("strong", tool),
    Object.entries(fields).map(([name, field]) => `${name}: ${value(field)}`).join("; "),
  )));
  return table;
}

function summary(safer) {
  const line = element("p");
  const seconds = safer.timings_ms.decision == null ? "" : ` after ${(safer.timings_ms.decision / 1000).toFixed(2)} s`;
  const hazards = safer.categories.length ? `, ${safer.categories.join(", ")}, risk ${safer.severity}` : "";
  line.append(element("span", safer.outcome, `badge ${safer.outcome}`));
  line.append(` ${safer.decision ?? `no decision: ${safer.failure}`}${seconds}${hazards}`);
  return line;
}

function checked({ verification, coverage, receipt }) {
  const line = element("p");
  const faults = verification.violations.map((one) => `${one.code}: ${one.message}`).join("; ");
  line.append(verification.valid ? element("span", "verified", "valid") : element("span", `not verified: ${faults}`, "invalid"));
  line.append(`; ${coverage.judged.length} parts judged`);
  const left = coverage.unjudged.map((part) => `${part.part} (${part.reason})`).join(", ");
  if (left) line.append(element("span", `; not judged: ${left}`, "invalid"));
  if (receipt) line.append(`; receipt ${receipt.sequence} of ${receipt.server}`);
  return line;
}

async function send() {
  tell("fault", null);
  const message = await userMessage();
  const said = element("pre"), answer = element("pre");
  $("case").replaceChildren(said, answer);
  const safer = { policy: $("policy").value || undefined, depth: $("depth").value || undefined };
  const body = { model: $("model").value, messages: [...conversation, message], stream: true, safer };
  let refused = false, end = null;
  const signal = running.signal;
  for await (const chunk of chunks(await call("v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal }))) {
    const delta = chunk.choices[0].delta;
    said.textContent += delta.reasoning ?? "";
    answer.textContent += delta.content ?? delta.refusal ?? "";
    refused ||= delta.refusal != null;
    end = chunk.safer ?? end;
  }
  conversation.push(message, { role: "assistant", content: answer.textContent });
  showTurn(message);
  showTurn({ role: "assistant" }, answer.textContent);
  const raw = element("details");
  raw.append(element("summary", "As it was written"), said);
  $("case").replaceChildren(
    summary(end), steps(end.trace ?? []), element("h3", refused ? "Refusal" : "Answer"), answer, checked(end), raw,
  );
  if (end.reply) raw.before(element("h3", `Judgement of the reply of ${body.model}`), steps(end.reply.trace ?? []));
  $("message").value = $("pictures").value = "";
}

async function busy(work) {
  running = new AbortController();
  $("send").disabled = true;
  $("stop").disabled = false;
  try {
    await work();
  } catch (error) {
    if (error.name === "AbortError") $("case").replaceChildren(element("p", "Stopped.", "quiet"));
    else tell("fault", error);
  } finally {
    $("send").disabled = false;
    $("stop").disabled = true;
  }
  await list(); // what was asked is in the log, answered or not
}

async function open(id) {
  const entry = await ask(`v1/traces/${encodeURIComponent(id)}`);
  $("record-title").textContent = id;
  $("content").textContent = JSON.stringify(entry, null, 2);
  const { sequence, server, key } = entry.receipt;
  $("proof").textContent = `Number ${sequence} of ${server}, signed by key ${key}. \`safer audit verify\` proves it offline.`;
  $("record").showModal();
}

async function list(cursor = null) {
  const query = new URLSearchParams({ limit: 20 });
  for (const name of ["outcome", "category", "tool"]) if ($(name).value) query.set(name, $(name).value);
  if (cursor) query.set("cursor", cursor);
  const mine = ++lists;
  $("records").ariaBusy = "true";
  try {
    const page = await ask(`v1/traces?${query}`);
    if (mine !== lists) return;
    const rows = page.data.map((one) => {
      const show = element("button", one.trace_id.slice(0, 11));
      show.type = "button";
      show.onclick = () => open(one.trace_id).catch((error) => tell("audit-fault", error));
      const time = element("time", new Date(one.time).toLocaleString());
      time.dateTime = one.time;
      const outcome = element("span", one.outcome, one.outcome);
      return row(time, outcome, one.category ?? "–", one.endpoint, one.policy, one.caller ?? "–", show);
    });
    if (cursor) $("records").append(...rows);
    else $("records").replaceChildren(...rows);
    older = page.next_cursor;
    $("more").hidden = !page.has_more;
    tell("audit-fault", null);
  } catch (error) {
    if (mine === lists) tell("audit-fault", error);
  } finally {
    if (mine === lists) $("records").ariaBusy = "false";
  }
}

async function connect() {
  const [version, ready] = await Promise.all([ask("version"), fetch("readyz").then((response) => response.ok)]);
  $("server").textContent = `${version.model} by ${version.engine}, version ${version.version}, protocol `
    + `${version.protocol_hash.slice(0, 12)}, ${ready ? "ready" : "not ready yet"}`;
  $("policy").replaceChildren();
  options($("policy"), Object.keys(version.policies));
  $("model").replaceChildren();
  options($("model"), (await ask("v1/models")).data.map((model) => model.id));
}

async function begin() {
  try {
    await connect();
    tell("fault", null);
  } catch (error) {
    tell("fault", error);
  }
  await list();
}

options($("outcome"), OUTCOMES);
$("key").onchange = begin;
$("ask").onsubmit = (event) => {
  event.preventDefault();
  busy(send);
};
$("message").onkeydown = (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("send").disabled) $("ask").requestSubmit();
};
$("stop").onclick = () => running.abort();
$("new").onclick = () => {
  conversation.length = 0;
  $("conversation").replaceChildren();
};
$("filter").onsubmit = (event) => {
  event.preventDefault();
  list();
};
$("more").onclick = () => list(older);
begin();
