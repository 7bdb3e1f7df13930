#!/bin/sh
# Writes what docker-compose.yml needs and is not there yet: .env and secrets/.
# Asks nothing, overwrites nothing that a person may have written; run it again
# at any time. Needs a POSIX shell and /dev/urandom.
#
#   deploy/init.sh                     make what is missing
#   deploy/init.sh rotate USER...      new passwords for users of the NATS server
#   deploy/init.sh rotate server       a new certificate for the NATS servers
#   deploy/init.sh rotate authority    another authority beside the one that signed it
#   deploy/init.sh encrypt             a key, or a new one, for the streams on disk: docker compose stop comes first
#   deploy/init.sh forget              put the key before aside, once tapctl seal has replaced it
#
# NATS_NAMES   more names of NATS servers, with commas, for their certificate
# TAPCTL       the tapctl that makes certificates; else bin/tapctl, Go's, or the image
set -eu
cd "$(dirname "$0")/.."
secrets=${TAPLINE_SECRETS:-secrets}
users='admin scheduler fetcher enricher shipper viewer operator sys'

# certs has tapctl make certificates. It is 127 if there is no tapctl yet.
certs() {
  version=${TAPLINE_VERSION:-$(sed -n 's/^TAPLINE_VERSION=//p' .env 2>/dev/null | tail -n 1)}
  image=tapline/tapctl:${version:-local}
  if [ -n "${TAPCTL:-}" ]; then
    "$TAPCTL" certs --dir "$secrets/nats" "$@"
  elif [ -x bin/tapctl ]; then
    bin/tapctl certs --dir "$secrets/nats" "$@"
  elif command -v go >/dev/null && [ -d services/tapctl ]; then
    go run -trimpath ./services/tapctl/cmd/tapctl certs --dir "$secrets/nats" "$@"
  elif docker image inspect "$image" >/dev/null 2>&1; then
    docker run --rm --network none --user "$(id -u):$(id -g)" --volume "$(cd "$secrets/nats" && pwd):/certs" "$image" certs --dir /certs "$@"
  else
    return 127
  fi
}

password() { LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 40; }

# The folder keeps other people of this host out; the files in it must be
# readable by the user of the containers, who is not you.
umask 022
if [ -d "$secrets" ]; then
  case $(ls -ld "$secrets") in d???------*) ;; *) echo "init: closed $secrets to other users of this host" ;; esac
  chmod 700 "$secrets"
fi
if [ -L "$secrets" ] || [ -n "$(find "$secrets" -type l 2>/dev/null)" ]; then
  echo "init: $secrets is or holds a symbolic link: secrets would go elsewhere; want folders and files" >&2
  exit 2
fi
(umask 077 && mkdir -p "$secrets")
mkdir -p "$secrets/nats/ca" "$secrets/nats/tls" "$secrets/devo"
chmod 700 "$secrets"

if [ "${1:-}" = rotate ]; then
  shift
  case ${1:-} in server | authority)
    [ $# = 1 ] || { echo "init: rotate $1 stands alone" >&2; exit 2; }
    certs rotate "$1"
    exit
    ;;
  esac
  for user in "$@"; do
    case " $users " in *" $user "*) ;; *) echo "init: no user $user: want some of: $users, or server or authority alone" >&2; exit 2 ;; esac
    password >"$secrets/nats/$user"
    echo "init: new password for NATS user $user"
  done
elif [ "${1:-}" = encrypt ] || [ "${1:-}" = forget ]; then
  mode=$1
elif [ $# -gt 0 ]; then
  echo "init: unknown argument $1: want none, rotate USER..., encrypt or forget" >&2
  exit 2
fi

for user in $users; do
  if [ ! -s "$secrets/nats/$user" ]; then
    password >"$secrets/nats/$user"
    echo "init: made a password for NATS user $user"
  fi
done
# What the NATS server reads follows from the files above. It is written in place:
# a container sees that, and would not see a new file under the old name.
for user in $users; do
  printf 'PASSWORD_%s = "%s"\n' "$(echo "$user" | tr a-z A-Z)" "$(cat "$secrets/nats/$user")"
done >"$secrets/nats/passwords.conf"

# The key of the streams on disk. Without it they cannot be read, so it is never overwritten.
encryption=$secrets/nats/encryption.conf
if [ ! -e "$encryption" ]; then
  echo '# The streams on disk are in clear. deploy/init.sh encrypt makes a key.' >"$encryption"
fi
if [ "${mode:-}" = encrypt ]; then
  if grep -q '^prev_encryption_key:' "$encryption"; then
    echo "init: $encryption has a previous key already: run tapctl seal, then deploy/init.sh forget" >&2
    exit 2
  fi
  {
    echo 'cipher: aes'
    echo "key: \"$(password)\""
    sed -n 's/^key:/prev_encryption_key:/p' "$encryption"
  } >"$encryption.new"
  mv "$encryption.new" "$encryption"
  echo "init: made a key in $encryption: keep a copy of this file elsewhere"
  echo "init: nats must not start with it before the store has it. Now, and nothing else before:"
  echo "init:   docker compose stop && docker compose run --rm --no-deps check seal /data --encryption /run/secrets/nats_encryption && docker compose up -d"
  echo "init: see \"Encryption at rest\" in docs/security.md"
elif [ "${mode:-}" = forget ] && grep -q '^prev_encryption_key:' "$encryption"; then
  (umask 077 && cat "$encryption" >>"$secrets/nats/encryption.forgotten")
  sed '/^prev_encryption_key:/d' "$encryption" >"$encryption.new"
  mv "$encryption.new" "$encryption"
  echo "init: $encryption has one key; the one before is kept in $secrets/nats/encryption.forgotten"
  echo "init: delete that file when docker compose up has passed its check, not before: the store may still need it"
fi

# The servers of deploy/cluster.yml know each other by a password, too.
if [ ! -s "$secrets/nats/route.conf" ]; then
  secret=$(password)
  {
    echo "authorization { user: route, password: \"$secret\" }"
    echo 'routes: ['
    for node in nats nats-2 nats-3; do echo "  \"nats://route:$secret@$node:6222\""; done
    echo ']'
  } >"$secrets/nats/route.conf"
fi

# Certificates of the NATS servers, for what leaves this host: deploy/cluster.yml and
# deploy/k8s. Those in volumes (TAPLINE_NATS_TLS) make themselves.
if certs ${NATS_NAMES:+--name "$NATS_NAMES"} >/dev/null; then
  chmod 644 "$secrets/nats/tls/server.pem" # as with passwords: the folder keeps others out
elif [ ! -s "$secrets/nats/tls/server.pem" ]; then
  echo "init: no certificates for NATS, which a cluster and Kubernetes need: run this again after docker compose build"
fi

if [ ! -s "$secrets/grafana_admin" ]; then
  password >"$secrets/grafana_admin"
  echo "init: made a password for Grafana's admin"
fi
for name in tap_secret devo_http_token; do
  if [ ! -e "$secrets/$name" ]; then
    : >"$secrets/$name"
    echo "init: made $secrets/$name, empty"
  fi
done
if [ ! -e .env ]; then
  cp deploy/env.template .env
  echo "init: made .env"
fi
[ -s "$secrets/tap_secret" ] || echo "init: put Proofpoint's secret into $secrets/tap_secret and its principal into .env"
[ -e "$secrets/devo/domain.crt" ] || echo "init: put Devo's chain.crt, domain.crt and domain.key into $secrets/devo"
