/** The load generator: runs one workload against one server, on its own core, and prints the figures as JSON. */
import { readFileSync } from "node:fs";
import { Figures } from "../figures.ts";
import { messageText } from "../message.ts";
import { CHANNEL, type Dialect, DIALECTS } from "../peers.ts";
import type { Channels, Idle, Paced, Storm, Throughput, Workload } from "../workloads.ts";
import { atOnce } from "./at-once.ts";
import { now, percentile } from "./clock.ts";
import { InFlightPublisher } from "./in-flight.ts";
import { Publisher } from "./publisher.ts";
import { Receiver } from "./receiver.ts";
import { Subscriber } from "./subscriber.ts";

export interface Job {
  port: number;
  /** The server's root process. */
  pid: number;
  dialect: keyof typeof DIALECTS;
  workload: Workload;
  /** How long to measure, and how long to warm up before, in seconds. */
  seconds: number;
  warmUp: number;
}

/** Figures by name. The names contain the units. */
export type Outcome = Record<string, number>;

/** If the load generator uses more than this share of its core, it was the bottleneck. */
const SATURATED = 0.9;

/** How many open files a server may need in addition to its sockets. */
const FILES_OF_ITS_OWN = 500;

const job = JSON.parse(process.argv[2] ?? "") as Job;
const dialect: Dialect = DIALECTS[job.dialect];
const figures = new Figures(job.pid);

console.log(JSON.stringify(await run(job.workload)));
process.exit();

function run(workload: Workload): Promise<Outcome> {
  switch (workload.kind) {
    case "throughput":
      return throughput(workload);
    case "paced":
      return paced(workload);
    case "channels":
      return channels(workload);
    case "idle":
      return idle(workload);
    case "storm":
      return storm(workload);
  }
}

async function throughput(workload: Throughput): Promise<Outcome> {
  const { subscribers, over } = workload;
  const receiver = new Receiver();
  await receiver.join(job.port, dialect, CHANNEL, subscribers);
  const end = new AbortController();
  const published = { count: 0 };
  const publish = { sockets: publishOverSockets, posts: post, acks: publishInFlight }[over];
  const publishing = publish(workload, published, end.signal, receiver);
  await sleep(job.warmUp);
  const measured = await measure(job.seconds, () => ({
    published: published.count,
    delivered: receiver.messages,
    frames: receiver.frames,
  }));
  end.abort();
  await publishing;
  const sent = published.count * subscribers;
  if (!(await receiver.received(sent))) throw new Error(`${receiver.messages} of ${sent} messages arrived`);
  const { seconds, cpu, published: posts, delivered, frames } = measured;
  if (posts === 0 || delivered === 0) throw new Error("Nothing was published during the measurement.");
  return {
    ...load(measured),
    "publishes/s": posts / seconds,
    "deliveries/s": delivered / seconds,
    "messages a frame": delivered / frames,
    "CPU µs/publish": cpu / posts,
    "CPU µs/delivery": cpu / delivered,
  };
}

/** Each publisher sends its next message or batch when the previous one is answered. */
async function post({ publishers, batch }: Throughput, done: { count: number }, end: AbortSignal): Promise<void> {
  const publisher = new Publisher(job.port, dialect, publishers);
  const publishing = Array.from({ length: publishers }, async () => {
    while (!end.aborted) {
      const messages = Array.from({ length: batch }, () => messageText(now()));
      const taken = await publisher.publish(CHANNEL, messages);
      done.count += taken;
    }
  });
  await Promise.all(publishing);
}

/** Sends messages over sockets in turn, with at most one unanswered message per socket. */
async function publishOverSockets(
  { publishers, subscribers }: Throughput,
  done: { count: number },
  end: AbortSignal,
  receiver: Receiver,
): Promise<void> {
  const { socketPublish } = dialect;
  if (!socketPublish) throw new Error("This server accepts no messages over sockets.");
  const open = () => Subscriber.open(job.port, socketPublish.open(CHANNEL), () => {});
  const sockets = await Promise.all(Array.from({ length: publishers }, open));
  while (!end.aborted) {
    for (; done.count - receiver.messages / subscribers < publishers; done.count++) {
      sockets[done.count % publishers]?.send(socketPublish.text(messageText(now())));
    }
    await sleep(0.001);
  }
}

/** Publishes over one socket, with several messages in flight. */
async function publishInFlight(
  { publishers, batch }: Throughput,
  done: { count: number },
  end: AbortSignal,
): Promise<void> {
  const publisher = await InFlightPublisher.open(job.port, dialect);
  const counting = setInterval(() => (done.count = publisher.acknowledged), 1);
  await publisher.keep(publishers * batch, end);
  clearInterval(counting);
  done.count = publisher.acknowledged;
}

async function paced({ subscribers, rate, over }: Paced): Promise<Outcome> {
  const receiver = new Receiver(true);
  await receiver.join(job.port, dialect, CHANNEL, subscribers);
  const publisher = new Publisher(job.port, dialect, 64);
  const inFlight = over === "acks" ? await InFlightPublisher.open(job.port, dialect) : undefined;
  const answered = inFlight?.latenciesUs ?? [];
  const publish = async (due: number) => {
    if (inFlight) return inFlight.send(due);
    await publisher.publish(CHANNEL, [messageText(due)]);
    answered.push(now() - due);
  };
  const count = rate * (job.warmUp + job.seconds);
  const pending: Promise<void>[] = [];
  const start = now();
  for (let sent = 0; sent < count; sent++) {
    const due = start + (sent * 1_000_000) / rate;
    await until(due);
    pending.push(publish(due));
  }
  await Promise.all(pending);
  await receiver.received(count * subscribers);
  const warm = rate * job.warmUp;
  const delivered = receiver.latenciesUs.slice(warm * subscribers);
  answered.splice(0, warm);
  return {
    "answer p50 µs": percentile(answered, 0.5),
    "answer p99 µs": percentile(answered, 0.99),
    "delivery p50 µs": percentile(delivered, 0.5),
    "delivery p99 µs": percentile(delivered, 0.99),
  };
}

async function channels({ channels: count }: Channels): Promise<Outcome> {
  const publisher = new Publisher(job.port, dialect, 64);
  const publishing = atOnce(64, count, (channel) => publisher.publish(`many-${channel}`, [messageText(now())]));
  const measured = await measure(publishing, () => ({}));
  return { ...load(measured), "channels/s": count / measured.seconds, "CPU µs/channel": measured.cpu / count };
}

async function idle({ sockets: wanted }: Idle): Promise<Outcome> {
  const sockets = Math.min(wanted, mostSockets());
  const receiver = new Receiver();
  // The memory that the first sockets cause by loading and compiling code does not count.
  await receiver.join(job.port, dialect, CHANNEL, 100);
  await sleep(1);
  const before = figures.memory();
  await receiver.join(job.port, dialect, CHANNEL, sockets);
  await sleep(1);
  const after = figures.memory();
  const { cpu } = await measure(5, () => ({}));
  return { "bytes a socket": (after - before) / sockets, "CPU µs/s with all idle": cpu / 5, "idle sockets": sockets };
}

/** Returns the largest number of sockets. Servers inherit the limit on open files, and workerd opens two files per WebSocket. */
function mostSockets(): number {
  const limit = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return Math.floor((Number(limit) - FILES_OF_ITS_OWN) / 2);
}

async function storm({ clients, missed }: Storm): Promise<Outcome> {
  const alone = await connectAll(clients, (client) => dialect.subscribe(CHANNEL, client));
  const connecting = { "connect ms": alone.ms, "CPU µs/connect": alone.cpu / clients };
  if (!dialect.resume) return connecting;
  const publisher = new Publisher(job.port, dialect, 1);
  for (let sent = 0; sent < missed; sent += 10) {
    await publisher.publish(
      CHANNEL,
      Array.from({ length: 10 }, () => messageText(now())),
    );
  }
  const resume = dialect.resume;
  const resumed = await connectAll(clients, (client) => resume(CHANNEL, client, 0), clients * missed);
  return { ...connecting, "resume ms": resumed.ms, "CPU µs/resume": resumed.cpu / clients };
}

/** Connects many clients at once. Measures the time until all have their answers and all missed messages. */
async function connectAll(
  clients: number,
  subscribe: (client: number) => ReturnType<Dialect["subscribe"]>,
  messages = 0,
): Promise<{ ms: number; cpu: number }> {
  const receiver = new Receiver();
  const all = Promise.all([
    receiver.open(clients, (client, receive) => Subscriber.open(job.port, subscribe(client), receive)),
    receiver.received(messages),
  ]);
  const { seconds, cpu } = await measure(all, () => ({}));
  if (receiver.messages !== messages) throw new Error(`${receiver.messages} of ${messages} messages were resumed`);
  receiver.close();
  await sleep(0.5);
  return { ms: seconds * 1000, cpu };
}

/** Returns the counts and the CPU time over some seconds, or until a promise settles. */
async function measure<T extends Record<string, number>>(over: number | Promise<unknown>, count: () => T) {
  const own = process.cpuUsage();
  const [cpu, counted, start] = [figures.cpu(), count(), now()];
  await (typeof over === "number" ? sleep(over) : over);
  const seconds = (now() - start) / 1_000_000;
  const after = count();
  const { user, system } = process.cpuUsage(own);
  const difference = Object.entries(after).map(([name, value]) => [name, value - (counted[name] ?? 0)]);
  return {
    seconds,
    cpu: figures.cpu() - cpu,
    loadShare: (user + system) / 1_000_000 / seconds,
    ...(Object.fromEntries(difference) as T),
  };
}

/** Returns how busy the server and the load generator were, and whether the load generator was the bottleneck. */
function load({ seconds, cpu, loadShare }: { seconds: number; cpu: number; loadShare: number }): Outcome {
  return {
    "server core": cpu / 1_000_000 / seconds,
    "load core": loadShare,
    "load was the bottleneck": Number(loadShare > SATURATED),
  };
}

function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

/** Waits until an exact time: with a timer until shortly before, and then by polling in the event loop. */
async function until(time: number): Promise<void> {
  const left = time - now();
  if (left > 2_000) await sleep((left - 1_500) / 1_000_000);
  while (now() < time) await new Promise((resolve) => setImmediate(resolve));
}
