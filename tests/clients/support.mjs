// What the scripts share. Each is run as `node SCRIPT URL`, drives one client against that server, and prints what it saw as JSON.
import { setTimeout as sleep } from "node:timers/promises";

export const server = process.argv[2];
export const url = `${server}/v1`;

export const picture =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC";

/** Run `work` and return what it throws. */
export async function thrown(work) {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

/** Whether the server comes to work on that many requests within a minute. */
export async function inFlight(number) {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(50)) {
    const text = await (await fetch(`${server}/metrics`)).text();
    if (text.includes(`\nsafer_in_flight ${number}.0\n`)) return true;
  }
  return false;
}

export const print = (seen) => console.log(JSON.stringify(seen));
