// Check that a webhook comes from Waybill with the package `standardwebhooks` (or `svix`, the same way).
import { Webhook } from "standardwebhooks";

// The event in `body`, a Buffer as it came. Throws WebhookVerificationError.
export function verified(secret, headers, body) {
  return new Webhook(secret).verify(body.toString(), headers);
}
