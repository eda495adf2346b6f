// Vercel's AI SDK with its provider for OpenAI-compatible servers.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { inFlight, picture, print, thrown, url } from "./support.mjs";

// The vendor object reaches `providerMetadata` through the provider's own hook.
const metadataExtractor = {
  extractMetadata: async ({ parsedBody }) => ({ safer: parsedBody.safer }),
  createStreamExtractor: () => {
    let safer;
    return { processChunk: (chunk) => (safer = chunk.safer ?? safer), buildMetadata: () => ({ safer }) };
  },
};
const provider = createOpenAICompatible({ name: "safer", baseURL: url, apiKey: "none", includeUsage: true, metadataExtractor });
const model = provider("scripted");

async function whole(prompt) {
  const reply = await generateText({ model, prompt, maxRetries: 0 });
  const { text, reasoningText, finishReason, usage, providerMetadata } = reply;
  return { text, reasoningText, finishReason, usage, safer: providerMetadata.safer, parts: reply.content.map((part) => part.type) };
}

async function stream(prompt) {
  const reply = streamText({ model, prompt, maxRetries: 0 });
  const kinds = [];
  for await (const { type } of reply.fullStream) if (kinds.at(-1) !== type) kinds.push(type);
  const [text, reasoningText, finishReason, providerMetadata] = await Promise.all([
    reply.text, reply.reasoningText, reply.finishReason, reply.providerMetadata,
  ]);
  return { text, reasoningText, finishReason, safer: providerMetadata.safer, kinds };
}

async function again(prompt) {
  const messages = [{ role: "user", content: prompt }];
  const { response } = await generateText({ model, messages, maxRetries: 0 });
  return (await generateText({ model, messages: [...messages, ...response.messages, { role: "user", content: "hello" }], maxRetries: 0 })).text;
}

async function pictured() {
  const content = [{ type: "text", text: "hello" }, { type: "file", mediaType: "image/png", data: picture }];
  const { text, providerMetadata } = await generateText({ model, messages: [{ role: "user", content }], maxRetries: 0 });
  return { text, safer: providerMetadata.safer };
}

async function blocked() {
  const providerOptions = { safer: { safer: { block: "error" } } };
  const { name, statusCode, message, responseBody } = await thrown(() => generateText({ model, prompt: "steal", maxRetries: 0, providerOptions }));
  return { name, statusCode, message, code: JSON.parse(responseBody).error.code };
}

async function cancelled() {
  const leaves = new AbortController();
  const reply = streamText({ model, prompt: "wait", maxRetries: 0, abortSignal: leaves.signal });
  let working = false;
  for await (const { type } of reply.fullStream) {
    if (type !== "reasoning-delta" || working) continue;
    working = await inFlight(1);
    leaves.abort();
  }
  return working && (await inFlight(0));
}

print({
  answered: await whole("hello"),
  refused: await whole("steal"),
  stream: { answered: await stream("hello"), refused: await stream("steal") },
  again: await again("steal"),
  pictured: await pictured(),
  blocked: await blocked(),
  cancelled: await cancelled(),
});
