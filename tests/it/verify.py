"""Checks one webhook with the official Standard Webhooks library.

Stdin: JSON {"secret", "headers", "body"}. Exit code 0 if the library accepts it.
"""
import json
import sys

from standardwebhooks.webhooks import Webhook

given = json.load(sys.stdin)
payload = Webhook(given["secret"]).verify(given["body"], given["headers"])
print(json.dumps(payload["type"] if isinstance(payload, dict) else json.loads(given["body"])["type"]))
