// The official client for JavaScript.
import OpenAI from "openai";
import { inFlight, picture, print, thrown, url } from "./support.mjs";

const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
const body = (content, fields = {}) => ({ model: "scripted", messages: [{ role: "user", content }], ...fields });

async function whole(content, fields) {
  const reply = await client.chat.completions.create(body(content, fields));
  const { message, finish_reason } = reply.choices[0];
  return { ...message, finish_reason, usage: reply.usage, safer: reply.safer, moderation: reply.moderation, id: reply._request_id };
}

async function stream(content) {
  const seen = { reasoning: "", content: "", refusal: "", kinds: [] };
  const ask = body(content, { stream: true, stream_options: { include_usage: true } });
  for await (const chunk of await client.chat.completions.create(ask)) {
    const { delta = {}, finish_reason = null } = chunk.choices[0] ?? {};
    for (const kind of ["reasoning", "content", "refusal"]) {
      if (delta[kind] === undefined) continue;
      seen[kind] += delta[kind];
      if (seen.kinds.at(-1) !== kind) seen.kinds.push(kind);
    }
    seen.finish_reason ??= finish_reason;
    Object.assign(seen, { usage: chunk.usage, safer: chunk.safer });
  }
  return seen;
}

async function runner(content) {
  const seen = { content: null, refusal: null };
  const run = client.chat.completions.stream(body(content));
  run.on("content.done", (event) => (seen.content = event.content));
  run.on("refusal.done", (event) => (seen.refusal = event.refusal));
  const final = await run.finalChatCompletion();
  return { ...seen, final: final.choices[0].message, finish_reason: final.choices[0].finish_reason, safer: final.safer };
}

async function error(fields) {
  const { constructor, status, code, param, requestID } = await thrown(() => client.chat.completions.create(body("steal", fields)));
  return { name: constructor.name, status, code, param, requestID };
}

async function cancelled() {
  const leaves = new AbortController();
  const reply = await client.chat.completions.create(body("wait", { stream: true }), { signal: leaves.signal });
  const chunks = reply[Symbol.asyncIterator]();
  await chunks.next();
  const working = await inFlight(1);
  leaves.abort();
  return working && (await chunks.next().catch(() => ({ done: true }))).done && (await inFlight(0));
}

async function again(content) {
  const asked = { role: "user", content };
  const earlier = (await client.chat.completions.create(body(content))).choices[0].message;
  const messages = [asked, earlier, { role: "user", content: "hello" }];
  return (await client.chat.completions.create(body(null, { messages }))).choices[0].message.content;
}

print({
  answered: await whole("hello"),
  refused: await whole("steal"),
  stream: { answered: await stream("hello"), refused: await stream("steal") },
  runner: { answered: await runner("hello"), refused: await runner("steal") },
  pictured: await whole([{ type: "text", text: "hello" }, { type: "image_url", image_url: { url: picture } }]),
  again: await again("steal"),
  errors: {
    blocked: await error({ safer: { block: "error" } }),
    unknown: await error({ model: "other" }),
    tools: await error({ tools: [] }),
  },
  models: (await client.models.list()).data.map((model) => model.id),
  moderation: (await client.moderations.create({ input: ["hello", "steal"] })).results,
  cancelled: await cancelled(),
});
