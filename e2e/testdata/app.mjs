// An application that verifies its webhooks itself, with the senders' own packages, as it would without a gate. It prints its port, then
// a line for each request: subscription, source, error. Arguments: the folder of the packages, the secrets as JSON. It answers 204, or 400 with
// the reason.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, secretsText] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(folder), "x.js"));
const secrets = JSON.parse(secretsText);
const standard = require("standardwebhooks"), svix = require("svix");
const stripe = require("stripe")("sk_test_unused");
const { validateRequest, validateRequestWithBody } = require("twilio");
const octokit = await import(pathToFileURL(path.join(folder, "node_modules/@octokit/webhooks-methods/dist-node/index.js")));

// verifyGate verifies the gate's signature. The package parses the body as JSON when it has verified it, and a form is none.
function verifyGate(webhook, body, headers) {
  try {
    webhook.verify(body, headers);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
}

const applications = {
  stripe(body, headers) {
    const event = stripe.webhooks.constructEvent(body, headers["stripe-signature"], secrets.stripe);
    if (event.id !== headers["hookgate-message-id"]) throw new Error(`the event is ${event.id}`);
  },
  async github(body, headers) {
    if (!await octokit.verify(secrets.github, body, headers["x-hub-signature-256"])) throw new Error("X-Hub-Signature-256");
    if (!headers["x-github-delivery"] || !headers["x-github-event"]) throw new Error("a header is missing");
  },
  // docs.slack.dev, "Verifying requests from Slack"
  slack(body, headers) {
    const at = headers["x-slack-request-timestamp"];
    if (Math.abs(Date.now() / 1000 - at) > 300) throw new Error("the time is too old");
    const want = Buffer.from("v0=" + createHmac("sha256", secrets.slack).update(`v0:${at}:${body}`).digest("hex"));
    const got = Buffer.from(headers["x-slack-signature"]);
    if (want.length !== got.length || !timingSafeEqual(want, got)) throw new Error("X-Slack-Signature");
  },
  twilio(body, headers) {
    const url = `${secrets.base}/webhooks/twilio`, signature = headers["x-twilio-signature"];
    const right = headers["content-type"] === "application/json"
      ? validateRequestWithBody(secrets.twilio, signature, `${url}?bodySHA256=${secrets.twilioHash}`, body)
      : validateRequest(secrets.twilio, signature, `${url}?source=a%20b`, Object.fromEntries(new URLSearchParams(body)));
    if (!right) throw new Error("X-Twilio-Signature");
  },
  svix(body, headers) { new svix.Webhook(secrets.svix).verify(body, headers) },
  // The gate signs as Standard Webhooks itself: its secrets include this sender's.
  standard(body, headers) { new standard.Webhook(secrets.standard).verify(body, headers) },
};

createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", async () => {
    const body = Buffer.concat(chunks).toString("utf8"), headers = request.headers;
    const show = (error) => console.log([headers["hookgate-subscription"], headers["hookgate-source"], error].join(" "));
    try {
      for (const secret of secrets.gate) verifyGate(new standard.Webhook(secret), body, headers);
      if (secrets.raw) verifyGate(new standard.Webhook(secrets.raw, { format: "raw" }), body, headers);
      await applications[headers["hookgate-source"]](body, headers);
      show("");
      response.writeHead(204).end();
    } catch (error) {
      show(error);
      response.writeHead(400).end(String(error));
    }
  });
}).listen(0, "127.0.0.1", function () { console.log(this.address().port) });
