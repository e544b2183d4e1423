// Check that a webhook comes from Waybill and was not changed, with nothing but what Node.js has.
import { createHmac, timingSafeEqual } from "node:crypto";

// Whether `body`, a Buffer as it came, was signed with `secret` (whsec_...) within five minutes of now.
// `headers` by their names in lower case, as `request.headers` has them.
export function isGenuine(secret, headers, body, toleranceSeconds = 300) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > toleranceSeconds) {
    return false;
  }
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // Several while a secret is being exchanged. Compared in constant time, so that nobody can guess byte by byte.
  return (headers["webhook-signature"] ?? "").split(" ").some((given) => {
    const signature = Buffer.from(given.startsWith("v1,") ? given.slice(3) : "", "base64");
    return signature.length === expected.length && timingSafeEqual(signature, expected);
  });
}
