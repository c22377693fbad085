"""Rules for single resources of the Docker provider. CIS ids are those of the Docker Benchmark 1.6.0."""

RUN_URL = "https://docs.docker.com/reference/cli/docker/container/run/"
SECURITY_URL = "https://docs.docker.com/engine/security/"
LIMITS_URL = "https://docs.docker.com/engine/containers/resource_constraints/"
