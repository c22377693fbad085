// Command caddy is Caddy with its standard modules and the gateway's own: limits, login, keys and recordings.
//
// They are compiled in because Caddy's configuration has no words for them, and because a placeholder is no place for what a
// client sends: Caddy has expanded such text twice (GHSA-m2w3-8f23-hxxf, GHSA-j8px-rmrx-76h9).
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
