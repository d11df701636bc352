// node redlock on one server with its default settings except that it never gives up, as one process of a crowd.
// The same lines in and out as redis_py.py.
const readline = require("node:readline");
const Redis = require("ioredis");
const Redlock = require("redlock");

const now = () => Number(process.hrtime.bigint()) / 1000;

async function use(number, url, key, seconds) {
  const client = new (Redis.Redis ?? Redis)(url);
  const redlock = new Redlock([client], { retryCount: -1 });
  await client.ping();
  const end = now() + Number(seconds) * 1e6;
  const answer = [number];
  for (;;) {
    const start = now();
    const lock = await redlock.lock(key, 10_000);
    const having = now();
    await lock.unlock();
    if (having >= end) break;
    answer.push(`${Math.round(having - start)}:${Math.round(now() - start)}`);
  }
  client.disconnect();
  console.log(answer.join(" "));
}

console.log("ready");
(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) await use(...line.split(" "));
})();
