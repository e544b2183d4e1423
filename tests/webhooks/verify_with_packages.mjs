// Reads [{secret, headers, body}, ...] from standard input, the body as base64, and prints for each what every way of
// verifying says. Arguments: the folder with node_modules, and a folder with the examples beside such a node_modules.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const [packages, examples] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const { isGenuine } = await import(pathToFileURL(`${examples}/verify_webhook.mjs`));
const { verified } = await import(pathToFileURL(`${examples}/verify_webhook_with_package.mjs`));

const passes = (verify) => {
  try {
    verify();
    return true;
  } catch (error) {
    if (error.constructor.name === "WebhookVerificationError") return false;
    throw error;
  }
};

const said = JSON.parse(await text(process.stdin)).map(({ secret, headers, body: base64 }) => {
  const body = Buffer.from(base64, "base64");
  const withPackage = (name) => passes(() => new (require(name).Webhook)(secret).verify(body.toString(), headers));
  return {
    standardwebhooks: withPackage("standardwebhooks"),
    svix: withPackage("svix"),
    example: isGenuine(secret, headers, body),
    example_with_package: passes(() => verified(secret, headers, body)),
  };
});
console.log(JSON.stringify(said));
