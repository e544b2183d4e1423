// Check that a webhook comes from Waybill and was not changed, with Node.js' own modules only.
import { createHmac, timingSafeEqual } from "node:crypto";

// Whether `body`, a Buffer exactly as received, was signed with `secret` (whsec_...) within five minutes of now.
// The names in `headers` are in lower case, as in `request.headers`.
export function isGenuine(secret, headers, body, toleranceSeconds = 300) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > toleranceSeconds) {
    return false;
  }
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // Several while a secret is being rotated. Compared in constant time, so that no sender can guess byte by byte.
  return (headers["webhook-signature"] ?? "").split(" ").some((given) => {
    const signature = Buffer.from(given.startsWith("v1,") ? given.slice(3) : "", "base64");
    return signature.length === expected.length && timingSafeEqual(signature, expected);
  });
}
