module docker_newest

go 1.26.3

require (
	github.com/docker/cli v29.9.3+incompatible
	github.com/moby/moby/v2 v2.0.0-beta.24
)
