package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
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
	dialTimeout  = 5 * time.Second
	pause        = time.Second
)

// message is one line of JSON of the stand-ins' own protocol, in either direction.
//
// A connection begins with register (answered by registered or refused) and then brings configuration and open; or it begins with
// data and the id of an open, and then is HTTP/1.1, of which the connector is the server.
type message struct {
	Kind      string         `json:"kind"`
	Account   string         `json:"account,omitempty"`
	Tunnel    string         `json:"tunnel,omitempty"`
	Secret    string         `json:"secret,omitempty"`
	Connector string         `json:"connector,omitempty"`
	ID        string         `json:"id,omitempty"`
	Text      string         `json:"text,omitempty"`
	Config    *configuration `json:"config,omitempty"`
}

type tunnel struct {
	credentials token
	connector   string
	live        atomic.Int64
	handler     *router
	incoming    chan net.Conn
	leaving     chan struct{}
}

func newTunnel(credentials token) *tunnel {
	id := make([]byte, 16)
	rand.Read(id)
	return &tunnel{
		credentials: credentials,
		connector:   hex.EncodeToString(id),
		handler:     newRouter(credentials.Secret),
		incoming:    make(chan net.Conn),
		leaving:     make(chan struct{}),
	}
}

// run serves until the context ends, then lets requests in progress take as long as grace.
func (t *tunnel) run(stopping context.Context, grace time.Duration) {
	server := &http.Server{Handler: t.handler}
	go server.Serve(t)
	var registered sync.WaitGroup
	for index := range connections {
		registered.Go(func() { t.keepRegistered(stopping, index) })
	}
	<-stopping.Done()
	logLine("INF", "Initiating graceful shutdown due to signal terminated ...")
	registered.Wait()
	ending, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	server.Shutdown(ending)
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
		Kind:      "register",
		Account:   t.credentials.Account,
		Tunnel:    t.credentials.Tunnel,
		Secret:    t.credentials.Secret,
		Connector: t.connector,
	})
	if err != nil {
		return err
	}
	defer connection.Close()
	// Ends the loop below; the edge takes the closed connection for what cloudflared calls unregistering.
	defer context.AfterFunc(stopping, func() { connection.Close() })()
	lines := bufio.NewScanner(connection)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var got message
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			return err
		}
		switch got.Kind {
		case "refused":
			return errors.New(got.Text)
		case "registered":
			logLine("INF", "Registered tunnel connection connIndex=%d connection=%s", index, t.connector)
			t.live.Add(1)
			defer t.live.Add(-1)
		case "configuration":
			if err := t.handler.configure(got.Config); err != nil {
				logLine("ERR", "Failed to apply configuration err=%q", err)
			}
		case "open":
			go t.open(got.ID)
		}
	}
	return errors.Join(lines.Err(), errors.New("the edge closed the connection"))
}

// open makes the connection on which the edge will send requests.
func (t *tunnel) open(id string) {
	connection, err := dial(message{Kind: "data", ID: id})
	if err != nil {
		logLine("ERR", "cannot open a connection: %v", err)
		return
	}
	t.incoming <- connection
}

func dial(first message) (net.Conn, error) {
	address, err := edgeAddress()
	if err != nil {
		return nil, err
	}
	connection, err := net.DialTimeout("tcp", address, dialTimeout)
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

// edgeAddress is what the image says; of a port alone, the machine is the container's own way out, that is, the Docker host.
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

// --- What net/http wants of a listener ---

func (t *tunnel) Accept() (net.Conn, error) {
	select {
	case connection := <-t.incoming:
		return connection, nil
	case <-t.leaving:
		return nil, net.ErrClosed
	}
}

func (t *tunnel) Close() error {
	close(t.leaving)
	return nil
}

func (t *tunnel) Addr() net.Addr { return &net.TCPAddr{} }

// --- Metrics ---

func (t *tunnel) serveMetrics(address string) error {
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
		fmt.Fprintf(w, `{"status":%d,"readyConnections":%d,"connectorId":%q}`, status, live, t.connector)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "cloudflared_tunnel_ha_connections %d\n", t.live.Load())
	})
	go http.Serve(listener, mux)
	return nil
}
