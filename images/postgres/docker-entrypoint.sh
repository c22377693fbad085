#!/bin/bash
# First start: a cluster from POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB and POSTGRES_INITDB_ARGS. Then the command.
# These variables mean what they mean in the public image (docker-library/postgres, 17); its other features are not here.
set -euo pipefail

initialise() {
  local user=${POSTGRES_USER:-postgres} database
  database=${POSTGRES_DB:-$user}
  if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    echo "postgres: POSTGRES_PASSWORD is not set; the first start needs it" >&2
    exit 1
  fi
  # The arguments are a list of words by definition, hence no quotes. The password goes through a file descriptor, not
  # through an argument that the process list would show.
  # shellcheck disable=SC2086
  initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
  if [ "$database" != postgres ]; then
    # On the socket only, so that nobody connects before the cluster is complete.
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    PGPASSWORD=$POSTGRES_PASSWORD psql -X -q -v ON_ERROR_STOP=1 -v database="$database" -U "$user" -d postgres \
      <<< 'CREATE DATABASE :"database";'
    pg_ctl -D "$PGDATA" -m fast -w stop
  fi
}

if [ "${1:-postgres}" = postgres ]; then
  if [ "$(id -u)" = 0 ]; then
    echo "postgres: does not run as root; start the container with --user 999:999" >&2
    exit 1
  fi
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initialise
  elif [ "$(< "$PGDATA/PG_VERSION")" != 17 ]; then
    echo "postgres: $PGDATA is of PostgreSQL $(< "$PGDATA/PG_VERSION"), this is 17; upgrade it with pg_upgrade or a dump" >&2
    exit 1
  fi
  unset POSTGRES_PASSWORD
fi
exec "$@"
