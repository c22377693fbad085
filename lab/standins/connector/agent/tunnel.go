package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// cloudflared keeps four connections, to two data centres.
	connections = 4
	// Written when the image is made: where the edge listens on the host of the container, or HOST:PORT.
	edgeFile = "/etc/edge"
	// In its place, for a process without an image.
	edgeVariable = "REHEARSAL_EDGE"
	edgeTimeout  = 5 * time.Second
	pause        = time.Second
)

// message is one line of JSON of the stand-ins' own protocol, in either direction.
//
// A connection begins with register (answered by registered or refused) and then brings open, with an id and the address of an origin;
// or it begins with data and the id of an open, and then carries the bytes of that origin.
type message struct {
	Kind    string `json:"kind"`
	Account string `json:"account,omitempty"`
	Tunnel  string `json:"tunnel,omitempty"`
	Secret  string `json:"secret,omitempty"`
	ID      string `json:"id,omitempty"`
	Origin  string `json:"origin,omitempty"`
	// How long the origin may be dialled.
	ConnectSeconds int    `json:"connectSeconds,omitempty"`
	Text           string `json:"text,omitempty"`
}

type tunnel struct {
	credentials token
	live        atomic.Int64
	carrying    sync.WaitGroup
	// Where the process writes its number after the first connection, as cloudflared does; empty for nowhere.
	pidFile  string
	pidWrite sync.Once
}

// run serves until the context ends, then lets requests in progress take as long as grace.
func (t *tunnel) run(stopping context.Context, grace time.Duration) {
	var registered sync.WaitGroup
	for index := range connections {
		registered.Go(func() { t.keepRegistered(stopping, index) })
	}
	<-stopping.Done()
	logLine("INF", "Initiating graceful shutdown due to signal terminated ...")
	registered.Wait()
	idle := make(chan struct{})
	go func() {
		t.carrying.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-time.After(grace):
	}
}

func (t *tunnel) keepRegistered(stopping context.Context, index int) {
	for {
		err := t.register(stopping, index)
		if stopping.Err() != nil {
			return
		}
		logLine("ERR", "Register tunnel error from server side error=%q connIndex=%d", err, index)
		select {
		case <-time.After(pause):
		case <-stopping.Done():
			return
		}
	}
}

// register makes one connection and follows it to its end.
func (t *tunnel) register(stopping context.Context, index int) error {
	connection, err := dial(message{
		Kind:    "register",
		Account: t.credentials.Account,
		Tunnel:  t.credentials.Tunnel,
		Secret:  t.credentials.Secret,
	})
	if err != nil {
		return err
	}
	defer connection.Close()
	// Ends the loop below; the edge takes the closed connection for what cloudflared calls unregistering.
	defer context.AfterFunc(stopping, func() { connection.Close() })()
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		var received message
		if err := json.Unmarshal(lines.Bytes(), &received); err != nil {
			return err
		}
		switch received.Kind {
		case "refused":
			return errors.New(received.Text)
		case "registered":
			logLine("INF", "Registered tunnel connection connIndex=%d", index)
			t.pidWrite.Do(t.writePid)
			t.live.Add(1)
			defer t.live.Add(-1)
		case "open":
			t.carrying.Go(func() { carry(received) })
		}
	}
	return errors.Join(lines.Err(), errors.New("the edge closed the connection"))
}

func (t *tunnel) writePid() {
	if t.pidFile == "" {
		return
	}
	if err := os.WriteFile(t.pidFile, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		logLine("ERR", "Unable to write pid to %s error=%q", t.pidFile, err)
	}
}

// carry passes bytes on between the edge and an origin until both have ended. Without an origin the edge gets an end and no byte, which
// it answers with 502.
func carry(open message) {
	edge, err := dial(message{Kind: "data", ID: open.ID})
	if err != nil {
		logLine("ERR", "cannot open a connection: %v", err)
		return
	}
	defer edge.Close()
	origin, err := net.DialTimeout("tcp", open.Origin, time.Duration(open.ConnectSeconds)*time.Second)
	if err != nil {
		logLine("ERR", "Unable to reach the origin service error=%q", err)
		return
	}
	defer origin.Close()
	var directions sync.WaitGroup
	directions.Go(func() { copyToEnd(origin, edge) })
	directions.Go(func() { copyToEnd(edge, origin) })
	directions.Wait()
}

// copyToEnd ends its own direction only: a whole close with bytes unread would take back what the other side has not read yet.
func copyToEnd(target, source net.Conn) {
	io.Copy(target, source)
	target.(*net.TCPConn).CloseWrite()
}

func dial(first message) (net.Conn, error) {
	address, err := edgeAddress()
	if err != nil {
		return nil, err
	}
	connection, err := net.DialTimeout("tcp", address, edgeTimeout)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(first)
	if err == nil {
		_, err = connection.Write(append(line, '\n'))
	}
	if err != nil {
		connection.Close()
		return nil, err
	}
	return connection, nil
}

// edgeAddress is the address in the image; with a port alone, the host is the container's default gateway, that is, the Docker host.
func edgeAddress() (string, error) {
	edge := os.Getenv(edgeVariable)
	if edge == "" {
		text, err := os.ReadFile(edgeFile)
		if err != nil {
			return "", err
		}
		edge = strings.TrimSpace(string(text))
	}
	if strings.Contains(edge, ":") {
		return edge, nil
	}
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(routes)) {
		// Destination, gateway and mask are hex, in the byte order of the machine.
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[1] != "00000000" || fields[7] != "00000000" {
			continue
		}
		raw, err := hex.DecodeString(fields[2])
		if err != nil || len(raw) != net.IPv4len {
			continue
		}
		ip := make(net.IP, net.IPv4len)
		binary.NativeEndian.PutUint32(ip, binary.BigEndian.Uint32(raw))
		return net.JoinHostPort(ip.String(), edge), nil
	}
	return "", errors.New("the container has no default route")
}

// serveReady answers the health check.
func (t *tunnel) serveReady(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		live, status := t.live.Load(), http.StatusOK
		if live == 0 {
			status = http.StatusServiceUnavailable
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status":%d,"readyConnections":%d}`, status, live)
	})
	go http.Serve(listener, mux)
	return nil
}
