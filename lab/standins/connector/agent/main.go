// A stand-in for cloudflared, for rehearsals without Cloudflare: it takes the flags, the environment and the token that the real one
// takes, dials out to the stand-in of Cloudflare's edge (lab/standins/edge), and carries bytes from there to origins that it can reach.
//
// A flag, command or protocol that it does not have is refused, not ignored, so that a container made for cloudflared cannot go wrong
// silently here. Not here: the tunnel's ingress rules, which the edge applies.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Protocols that cloudflared accepts in TUNNEL_TRANSPORT_PROTOCOL; here they all mean the same.
var protocols = []string{"auto", "quic", "http2"}

// token is what `cloudflared tunnel run` is given: base64 of JSON.
type token struct {
	Account string `json:"a"`
	Tunnel  string `json:"t"`
	Secret  string `json:"s"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ERR", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	command, metrics, err := parse(arguments)
	if err != nil {
		return err
	}
	switch command {
	case "ready":
		return askReady(metrics)
	case "run":
		return serve(metrics)
	}
	return fmt.Errorf("the stand-in has no command %q", command)
}

// parse returns the subcommand of `tunnel` and the address of the metrics server.
func parse(arguments []string) (command, metrics string, err error) {
	metrics = os.Getenv("TUNNEL_METRICS")
	var words []string
	for index := 0; index < len(arguments); index++ {
		switch argument := arguments[index]; {
		case argument == "--no-autoupdate":
		case argument == "--metrics" && index+1 < len(arguments):
			index++
			metrics = arguments[index]
		case strings.HasPrefix(argument, "-"):
			return "", "", fmt.Errorf("flag provided but not defined: %s", argument)
		default:
			words = append(words, argument)
		}
	}
	if len(words) != 2 || words[0] != "tunnel" {
		return "", "", fmt.Errorf("the stand-in has only `tunnel run` and `tunnel ready`, not %q", strings.Join(words, " "))
	}
	return words[1], metrics, nil
}

// askReady is the health check: it asks the metrics server of the process that runs.
func askReady(metrics string) error {
	if metrics == "" {
		return errors.New("--metrics has to be provided")
	}
	client := http.Client{Timeout: 4 * time.Second}
	response, err := client.Get("http://" + metrics + "/ready")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("http://%s/ready endpoint returned status code %d\n%s", metrics, response.StatusCode, body)
	}
	return nil
}

func serve(metrics string) error {
	given, err := givenToken()
	if err != nil {
		return err
	}
	credentials, err := readToken(given)
	if err != nil {
		return err
	}
	if protocol := os.Getenv("TUNNEL_TRANSPORT_PROTOCOL"); protocol != "" && !slices.Contains(protocols, protocol) {
		return fmt.Errorf("unknown protocol %s", protocol)
	}
	grace := 30 * time.Second
	if text := os.Getenv("TUNNEL_GRACE_PERIOD"); text != "" {
		if grace, err = time.ParseDuration(text); err != nil {
			return err
		}
	}
	tunnel := tunnel{credentials: credentials, pidFile: os.Getenv("TUNNEL_PIDFILE")}
	if metrics != "" {
		if err := tunnel.serveReady(metrics); err != nil {
			return err
		}
	}
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	tunnel.run(stopping, grace)
	return nil
}

// givenToken is the variable, or what the file of TUNNEL_TOKEN_FILE holds.
func givenToken() (string, error) {
	path := os.Getenv("TUNNEL_TOKEN_FILE")
	if path == "" {
		return os.Getenv("TUNNEL_TOKEN"), nil
	}
	content, err := os.ReadFile(path)
	return strings.TrimSpace(string(content)), err
}

func readToken(text string) (credentials token, err error) {
	content, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(content, &credentials)
	}
	if err != nil || credentials.Account == "" || credentials.Tunnel == "" || credentials.Secret == "" {
		return credentials, errors.New("Provided Tunnel token is not valid.")
	}
	return credentials, nil
}

// logLine writes one line as cloudflared does, to standard error.
func logLine(level, format string, values ...any) {
	fmt.Fprintf(os.Stderr, "%s %s %s\n", time.Now().UTC().Format(time.RFC3339), level, fmt.Sprintf(format, values...))
}
