#!/bin/sh
# Starts nats-server on a store that has the key it is given, and on no other: it would start without its streams there. Each start
# goes through here, also one by docker compose restart, after a crash or after a reboot. tapctl check and tapctl seal write
# key.mark into the store: a digest of the setting with the key. A store without the file is one in clear.
set -eu
store=${NATS_STORE:-/data}
keys=${NATS_KEYS:-/etc/nats/encryption.conf}
mark() { sha256sum | cut -d ' ' -f 1; }
want=$(tr -d ' \t\r' <"$keys" | tr ',' '\n' | grep '^key' | mark)
have=$(cat "$store/key.mark" 2>/dev/null || : | mark)
if [ "$want" != "$have" ]; then
  echo "nats: the store is not known to have the key that encryption.conf has now: not started, and nothing is changed." >&2
  echo "nats: docker compose up -d, or another pod, checks it and says what to do: see \"Encryption at rest\" in docs/security.md" >&2
  exit 78
fi
exec nats-server "$@"
