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
  # A power cut during initdb leaves a PG_VERSION and half a cluster, which no later start could tell from a whole one (seen).
  # So it is made beside its place, and only what is whole is moved there.
  rm -rf "$unfinished"
  # The arguments are a list of words by definition, hence no quotes. The password goes through a file descriptor, not
  # through an argument that the process list would show.
  # shellcheck disable=SC2086
  initdb --pgdata="$unfinished" --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all scram-sha-256\n' >> "$unfinished/pg_hba.conf"
  if [ "$database" != postgres ]; then
    # On the socket only, so that nobody connects before the cluster is complete.
    pg_ctl -D "$unfinished" -o "-c listen_addresses=''" -w start
    PGPASSWORD=$POSTGRES_PASSWORD psql -X -q -v ON_ERROR_STOP=1 -v database="$database" -U "$user" -d postgres \
      <<< 'CREATE DATABASE :"database";'
    pg_ctl -D "$unfinished" -m fast -w stop
  fi
  sync -f "$unfinished"
  mv "$unfinished" "$finished"
}

# PG_VERSION comes last: while it is missing, the next start goes on with this.
move_into_place() {
  find "$finished" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
  sync -f "$PGDATA"
  mv "$finished/PG_VERSION" "$PGDATA"
  rmdir "$finished"
}

if [ "${1:-postgres}" = postgres ]; then
  if [ "$(id -u)" = 0 ]; then
    echo "postgres: does not run as root; start the container with --user 999:999" >&2
    exit 1
  fi
  unfinished=$PGDATA/initdb.unfinished
  finished=$PGDATA/initdb.finished
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -d "$finished" ] || initialise
    move_into_place
  elif [ "$(< "$PGDATA/PG_VERSION")" != 17 ]; then
    echo "postgres: $PGDATA is of PostgreSQL $(< "$PGDATA/PG_VERSION"), this is 17; upgrade it with pg_upgrade or a dump" >&2
    exit 1
  fi
  # Empty, and there only after a power cut behind the last move.
  rmdir "$finished" 2> /dev/null || true
  unset POSTGRES_PASSWORD
fi
exec "$@"
