#!/bin/bash
# Makes the secrets of a first start below $SECRETS: each only where it is missing, and readable by its user only.
set -euo pipefail
umask 077
secrets=${SECRETS:-/secrets}

# A file that is whole or not there.
make() {
  [ -s "$1" ] && return
  "${@:2}" > "$1.new"
  mv "$1.new" "$1"
}
secret() { openssl rand -hex 32; }

make "$secrets/berth/admin-password" openssl rand -hex 12
make "$secrets/berth/secret-key" secret
make "$secrets/postgres/password" secret
make "$secrets/s3/secret-key" secret
make "$secrets/berth/s3-secret-key" cat "$secrets/s3/secret-key"
make "$secrets/berth/database-url" echo "postgres://berth:$(cat "$secrets/postgres/password")@postgres:5432/berth"
if [ ! -s "$secrets/proxy/berth.pem" ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$BERTH_HOSTNAME" \
    -addext "subjectAltName=DNS:$BERTH_HOSTNAME,DNS:localhost,IP:127.0.0.1" -keyout "$secrets/proxy/key.pem" -out "$secrets/proxy/ca.crt"
  make "$secrets/proxy/berth.pem" cat "$secrets/proxy/ca.crt" "$secrets/proxy/key.pem"
  rm "$secrets/proxy/key.pem"
fi

# The users of the images: the server's, Debian's `postgres`, the proxy's. The S3 service runs as root.
if [ "$(id -u)" = 0 ]; then
  chown -R 65532:65532 "$secrets/berth"
  chown -R 999:999 "$secrets/postgres"
  chown -R 99:99 "$secrets/proxy"
fi
