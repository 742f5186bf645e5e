import { createHmac, timingSafeEqual } from "node:crypto";

// headers: as http.IncomingMessage has them; body: a Buffer of the bytes that came.
export function verify(secret, headers, body, now = Date.now() / 1000) {
  const { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signatures } = headers;
  if (!(Math.abs(now - Number(at)) <= 300)) throw new Error("too old, or our clock is wrong");
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${at}.`).update(body).digest();
  const signed = signatures.split(" ").filter((s) => s.startsWith("v1,")).some((s) => {
    const given = Buffer.from(s.slice(3), "base64");
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
  if (!signed) throw new Error("not signed with our secret");
}
