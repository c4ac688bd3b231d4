// Prints, a line of JSON each, webhooks signed by the senders' own packages: source, method, path and query, headers, body, the
// expected status. Arguments: the folder of the packages, the secrets as JSON, the public base URL.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [folder, secretsText, base] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(folder), "x.js"));
const secrets = JSON.parse(secretsText);
const now = Math.floor(Date.now() / 1000);

function send(source, headers, body, status, query = "") {
  console.log(JSON.stringify({ source, query, headers, body, status }));
}

// What has no sense to a signature: text that is no ASCII, and what JSON escapes.
const awkward = 'grüße "€" \\ \u2028 😀';

for (const [source, module, names] of [
  ["standard", "standardwebhooks", ["webhook-id", "webhook-timestamp", "webhook-signature"]],
  ["svix", "svix", ["svix-id", "svix-timestamp", "svix-signature"]],
  ["gitlab", "standardwebhooks", ["webhook-id", "webhook-timestamp", "webhook-signature"]],
]) {
  const { Webhook } = require(module);
  const body = JSON.stringify({ type: "user.created", data: { name: awkward } });
  const signed = (secret, at, id) => ({
    "Content-Type": "application/json", "X-Gitlab-Event": "Push Hook",
    [names[0]]: id, [names[1]]: String(at), [names[2]]: new Webhook(secret).sign(id, new Date(at * 1000), body),
  });
  send(source, signed(secrets[source], now, `${source}-1`), body, 202);
  send(source, signed(secrets[source], now, `${source}-2`), body + " ", 401);
  send(source, signed("whsec_b3RoZXJzZWNyZXRvdGhlcnNlY3JldA==", now, `${source}-3`), body, 401);
  send(source, signed(secrets[source], now - 400, `${source}-4`), body, 401);
  send(source, signed(secrets[source], now + 400, `${source}-5`), body, 401);
}

{
  const stripe = require("stripe")("sk_test_unused");
  const body = JSON.stringify({ id: "evt_1", object: "event", type: "customer.created", data: { object: { id: "cus_1", name: awkward } } });
  const signed = (secret, timestamp) => ({
    "Content-Type": "application/json", "Stripe-Signature": stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp }),
  });
  send("stripe", signed(secrets.stripe, now), body, 202);
  send("stripe", signed(secrets.stripe, now), body.replace("cus_1", "cus_2"), 401);
  send("stripe", signed("whsec_another_secret", now), body, 401);
  send("stripe", signed(secrets.stripe, now - 400), body, 401);
}

{
  const { getExpectedTwilioSignature, getExpectedBodyHash } = require("twilio/lib/webhooks/webhooks");
  const params = { MessageSid: "SM1", MessageStatus: "delivered", Body: awkward, From: "+14158675309" };
  const form = new URLSearchParams(params).toString();
  const url = `${base}/webhooks/twilio?source=a%20b`;
  const headers = (type, signature) => ({ "Content-Type": type, "X-Twilio-Signature": signature, "I-Twilio-Idempotency-Token": signature });
  const formType = "application/x-www-form-urlencoded";
  send("twilio", headers(formType, getExpectedTwilioSignature(secrets.twilio, url, params)), form, 200, "source=a%20b");
  send("twilio", headers(formType, getExpectedTwilioSignature(secrets.twilio, url, params)), form, 401, "source=a");
  send("twilio", headers(formType, getExpectedTwilioSignature("another-token", url, params)), form, 401, "source=a%20b");
  send("twilio", headers(formType, getExpectedTwilioSignature(secrets.twilio, url, params)), form + "&Digits=1", 401, "source=a%20b");
  const json = JSON.stringify({ text: awkward });
  const query = `bodySHA256=${getExpectedBodyHash(json)}`;
  const signature = getExpectedTwilioSignature(secrets.twilio, `${base}/webhooks/twilio?${query}`, {});
  send("twilio", headers("application/json", signature), json, 200, query);
  send("twilio", headers("application/json", signature), json + " ", 401, query);
}

{
  const { sign } = await import(pathToFileURL(path.join(folder, "node_modules/@octokit/webhooks-methods/dist-node/index.js")));
  const body = JSON.stringify({ repository: { full_name: "o/r" }, text: awkward });
  const headers = async (secret, id) => ({
    "Content-Type": "application/json", "X-GitHub-Delivery": id, "X-GitHub-Event": "push", "X-Hub-Signature-256": await sign(secret, body),
  });
  send("github", await headers(secrets.github, "gh-1"), body, 202);
  send("github", await headers(secrets.github, "gh-2"), body.replace("o/r", "o/s"), 401);
  send("github", await headers("another secret", "gh-3"), body, 401);
}

{
  // The library that SendGrid's own package verifies with.
  const { Ecdsa, PrivateKey } = require("starkbank-ecdsa");
  const key = PrivateKey.fromPem(secrets.sendgridPrivate);
  const body = JSON.stringify([{ event: "delivered", email: "a@example.com", sg_event_id: "sg-1", text: awkward }, { event: "open", sg_event_id: "sg-2" }]) + "\r\n";
  const signed = (at) => ({
    "Content-Type": "application/json", "X-Twilio-Email-Event-Webhook-Timestamp": String(at),
    "X-Twilio-Email-Event-Webhook-Signature": Ecdsa.sign(at + body, key).toBase64(),
  });
  send("sendgrid", signed(now), body, 202);
  send("sendgrid", signed(now), body.trimEnd(), 401);
  send("sendgrid", signed(now - 100_000), body, 401) // it repeats for a day, with the first time;
}
