// Drives MQTT.js for the tests: one command a line of JSON on standard input, one answer a line on standard output.
// Messages that a client receives are written as they come. The process ends with its input.

"use strict";

const readline = require("node:readline");
const mqtt = require("mqtt");

const clients = new Map();

function say(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Group pairs by name, as MQTT.js wants them. */
function toObject(pairs) {
  const grouped = {};
  for (const [name, value] of pairs) {
    grouped[name] = name in grouped ? [].concat(grouped[name], value) : value;
  }
  return grouped;
}

function toPairs(properties) {
  return Object.entries(properties ?? {}).flatMap(([name, values]) => [].concat(values).map((value) => [name, value]));
}

/** Return the properties of PUBLISH that a message has; undefined under 3.x, which knows none. */
function publishProperties(message, version) {
  if (version < 5) return undefined;
  const properties = {};
  if (message.user_properties.length) properties.userProperties = toObject(message.user_properties);
  if (message.response_topic !== null) properties.responseTopic = message.response_topic;
  if (message.correlation_data !== null) properties.correlationData = Buffer.from(message.correlation_data, "base64");
  if (message.content_type !== null) properties.contentType = message.content_type;
  if (message.topic_alias !== null) properties.topicAlias = message.topic_alias;
  return properties;
}

function willOf(command) {
  if (command.will === null) return undefined;
  const { topic, payload, qos, retain } = command.will;
  const properties = publishProperties(command.will, command.version);
  return { topic, payload: Buffer.from(payload, "base64"), qos, retain, properties };
}

function tell(number, topic, payload, packet) {
  const properties = packet.properties ?? {};
  say({
    client: number,
    message: {
      topic,
      payload: payload.toString("base64"),
      qos: packet.qos,
      retain: packet.retain,
      user_properties: toPairs(properties.userProperties),
      response_topic: properties.responseTopic ?? null,
      correlation_data: properties.correlationData?.toString("base64") ?? null,
      content_type: properties.contentType ?? null,
    },
  });
}

const commands = {
  /** Connect; answers whether the session was present. */
  connect(command) {
    const is5 = command.version === 5;
    const client = mqtt.connect(command.url, {
      path: "/mqtt",
      clientId: command.client_id,
      protocolVersion: command.version,
      protocolId: command.version === 3 ? "MQIsdp" : "MQTT",
      clean: command.clean,
      reconnectPeriod: 0,
      resubscribe: false,
      ca: command.ca ?? undefined,
      cert: command.cert ?? undefined,
      key: command.key ?? undefined,
      will: willOf(command),
      properties: is5
        ? { sessionExpiryInterval: command.session_expiry_s, topicAliasMaximum: command.topic_alias_maximum }
        : undefined,
    });
    clients.set(command.client, { client, version: command.version });
    client.on("message", (topic, payload, packet) => tell(command.client, topic, payload, packet));
    return new Promise((resolve, reject) => {
      client.once("connect", (connack) => resolve(connack.sessionPresent));
      client.on("error", reject);
      client.once("close", () => reject(new Error("closed before CONNACK")));
    });
  },

  /** Subscribe; answers the granted QoS. */
  async subscribe({ client: number, filter, qos }) {
    const granted = await clients.get(number).client.subscribeAsync(filter, { qos });
    return granted[0].qos;
  },

  /** Publish; answers when the exchange is over. */
  async publish({ client: number, message }) {
    const { client, version } = clients.get(number);
    const { qos, retain } = message;
    const properties = publishProperties(message, version);
    await client.publishAsync(message.topic, Buffer.from(message.payload, "base64"), { qos, retain, properties });
  },

  /** Leave with DISCONNECT. */
  async disconnect({ client: number }) {
    const entry = clients.get(number);
    if (entry?.client.connected) await entry.client.endAsync();
    clients.delete(number);
  },

  /** Drop the socket. */
  async cut({ client: number }) {
    clients.get(number).client.stream.destroy();
    clients.delete(number);
  },
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const command = JSON.parse(line);
  try {
    say({ id: command.id, result: (await commands[command.what](command)) ?? null });
  } catch (error) {
    say({ id: command.id, error: String(error) });
  }
}).on("close", () => process.exit(0));
