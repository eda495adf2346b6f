// LangChain for JavaScript.
import { HumanMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { inFlight, picture, print, thrown, url } from "./support.mjs";

const open = (fields = {}) =>
  new ChatOpenAI({ model: "scripted", apiKey: "none", maxRetries: 0, configuration: { baseURL: url }, ...fields });
const model = open();

const told = ({ content, additional_kwargs, response_metadata, usage_metadata }) => ({
  content,
  reasoning: additional_kwargs.reasoning_content,
  refusal: additional_kwargs.refusal ?? null,
  finish_reason: response_metadata.finish_reason,
  usage: usage_metadata,
});

async function stream(prompt) {
  let all;
  for await (const chunk of await model.stream(prompt)) all = all === undefined ? chunk : all.concat(chunk);
  return told(all);
}

async function raw(prompt) {
  const { choices, safer } = (await open({ __includeRawResponse: true }).invoke(prompt)).additional_kwargs.__raw_response;
  return { refusal: choices[0].message.refusal, safer };
}

async function again(prompt) {
  const asked = new HumanMessage(prompt);
  return (await model.invoke([asked, await model.invoke([asked]), new HumanMessage("hello")])).content;
}

async function blocked(work) {
  const { status, code } = await thrown(work);
  return { status, code };
}

async function cancelled() {
  const leaves = new AbortController();
  let working = false;
  await thrown(async () => {
    for await (const _ of await model.stream("wait", { signal: leaves.signal })) {
      if (working) continue;
      working = await inFlight(1);
      leaves.abort();
    }
    throw new Error("left");
  });
  return working && (await inFlight(0));
}

const strict = open({ modelKwargs: { safer: { block: "error" } } });
const shown = [{ type: "text", text: "hello" }, { type: "image_url", image_url: { url: picture } }];
print({
  answered: told(await model.invoke("hello")),
  refused: told(await model.invoke("steal")),
  raw: await raw("steal"),
  stream: { answered: await stream("hello"), refused: await stream("steal") },
  again: await again("steal"),
  pictured: told(await model.invoke([new HumanMessage({ content: shown })])),
  blocked: { whole: await blocked(() => strict.invoke("steal")), stream: await blocked(() => strict.stream("steal")) },
  cancelled: await cancelled(),
});
