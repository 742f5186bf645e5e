<?php
// $headers: an array with lower-case names; $body: file_get_contents('php://input').
function verify(string $secret, array $headers, string $body, ?int $now = null): void
{
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret));
    $id = $headers['webhook-id'];
    $at = $headers['webhook-timestamp'];
    if (abs(($now ?? time()) - (int) $at) > 300) {
        throw new RuntimeException('too old, or our clock is wrong');
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$at.$body", $key, true));
    foreach (explode(' ', $headers['webhook-signature']) as $given) {
        if (hash_equals($expected, $given)) {
            return;
        }
    }
    throw new RuntimeException('not signed with our secret');
}
