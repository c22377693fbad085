"""Secrets of a Swarm's service: files named like the variables that its program has on one daemon. Pure."""

FOLDER = "/run/secrets"
# For ``sh -c``, before a command: docker service inspect shows variables to everyone who may use Docker, and no file.
OPEN = """
for file in FOLDER/*; do
  [ -e "$file" ] || continue
  name=${file##*/}
  value=$(cat "$file")
  export "$name=$value"
done
exec "$@"
""".replace("FOLDER", FOLDER)
