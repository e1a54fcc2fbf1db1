#!/bin/sh
# What the official image does at its start, as far as compose.yaml asks for it: a database of POSTGRES_DB for POSTGRES_USER at the first
# start, with the password of POSTGRES_PASSWORD_FILE; then the server, never as root.
set -eu
if [ "$(id -u)" = 0 ]; then
  chown postgres:postgres "$PGDATA"
  exec setpriv --reuid postgres --regid postgres --clear-groups -- sh "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # POSTGRES_INITDB_ARGS is words, as there.
  initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-host=scram-sha-256 --auth-local=trust $POSTGRES_INITDB_ARGS
  pg_ctl -D "$PGDATA" -w start -o "-c listen_addresses=''"
  psql -U "$POSTGRES_USER" -d postgres -c "create database \"$POSTGRES_DB\""
  pg_ctl -D "$PGDATA" -w stop
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
fi
exec "$@" -c listen_addresses='*'
