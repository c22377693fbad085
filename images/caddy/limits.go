package main

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/time/rate"
)

func init() {
	caddy.RegisterModule(Connections{})
	caddy.RegisterModule(Limits{})
	httpcaddyfile.RegisterHandlerDirective("limits", parse[Limits])
}

// Tries at a login or a key that is not known, of one client and of all. A right login and a known key are never counted.
const (
	clientTries    = rate.Limit(1)
	clientBurst    = 20
	allTries       = rate.Limit(50)
	allBurst       = 100
	maximumClients = 10_000
)

// parse makes a handler of its directive.
func parse[Handler any, Pointer interface {
	*Handler
	caddyhttp.MiddlewareHandler
	caddyfile.Unmarshaler
}](helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := Pointer(new(Handler))
	return handler, handler.UnmarshalCaddyfile(helper.Dispenser)
}

// client is who asks: an IPv4 address or an IPv6 network of 64 bits, all of which one customer has.
func client(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		network, _ := ip.Prefix(64)
		return network.String()
	}
	return ip.String()
}

// clientOf is the client of a request, by the connector's word where Caddy trusts it.
func clientOf(r *http.Request) string {
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return client(address)
}

// counts is a number per client, for instance of its open connections.
type counts struct {
	mutex  sync.Mutex
	counts map[string]int
	all    int
}

// add counts one more, unless the client (0: without a limit) or all have their limit; release counts it down again.
func (c *counts) add(who string, clientLimit, limit int) (release func(), ok bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	if c.all >= limit || (clientLimit > 0 && c.counts[who] >= clientLimit) {
		return nil, false
	}
	c.all++
	c.counts[who]++
	return sync.OnceFunc(func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		c.all--
		if c.counts[who]--; c.counts[who] == 0 {
			delete(c.counts, who)
		}
	}), true
}

// tries bounds how often strangers may be wrong.
var tries = struct {
	mutex   sync.Mutex
	clients map[string]*rate.Limiter
	all     *rate.Limiter
}{clients: map[string]*rate.Limiter{}, all: rate.NewLimiter(allTries, allBurst)}

// mayTry counts a try of the request's client and says whether it may be made.
func mayTry(r *http.Request) bool {
	tries.mutex.Lock()
	defer tries.mutex.Unlock()
	who := clientOf(r)
	limiter := tries.clients[who]
	if limiter == nil {
		// So many addresses are an attack by many machines, which the limit of all tries holds.
		if len(tries.clients) >= maximumClients {
			clear(tries.clients)
		}
		limiter = rate.NewLimiter(clientTries, clientBurst)
		tries.clients[who] = limiter
	}
	return limiter.Allow() && tries.all.Allow()
}

// tooMany is the answer to whoever tries or asks too much.
func tooMany(w http.ResponseWriter, reason string) error {
	w.Header().Set("Retry-After", "5")
	return caddyhttp.Error(http.StatusTooManyRequests, errors.New(reason))
}

// Limits bounds the requests of one client that run at the same time.
//
//	limits <requests>
type Limits struct {
	Requests int `json:"requests"`
}

// CaddyModule names the module.
func (Limits) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.limits", New: func() caddy.Module { return new(Limits) }}
}

// UnmarshalCaddyfile reads the directive.
func (l *Limits) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return numbers(d, &l.Requests)
}

var running counts

// ServeHTTP answers 429 to a client with too many requests under way.
func (l *Limits) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	// Connections bound the number of all.
	release, ok := running.add(clientOf(r), l.Requests, 1<<30)
	if !ok {
		return tooMany(w, "too many requests at the same time")
	}
	defer release()
	err := next.ServeHTTP(w, r)
	if err != nil {
		unread(w, r)
	}
	return err
}

// unread closes the connection after an answer to a request whose body was not read: net/http would wait for the body first.
func unread(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
}

// Connections closes connections beyond a number, of one address (0: without a limit) and of all.
//
//	connections <all> <address>
type Connections struct {
	All     int `json:"all"`
	Address int `json:"address"`
}

// CaddyModule names the module.
func (Connections) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.connections", New: func() caddy.Module { return new(Connections) }}
}

// UnmarshalCaddyfile reads the option.
func (c *Connections) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return numbers(d, &c.All, &c.Address)
}

// WrapListener bounds the connections of a listener.
func (c *Connections) WrapListener(listener net.Listener) net.Listener {
	return &bounded{Listener: listener, limits: *c}
}

type bounded struct {
	net.Listener
	limits Connections
	open   counts
}

// Accept returns the next connection within the limits.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		if release, ok := b.open.add(client(host), b.limits.Address, b.limits.All); ok {
			return &counted{Conn: conn, release: release}, nil
		}
		_ = conn.Close()
	}
}

type counted struct {
	net.Conn
	release func()
}

// Close closes the connection and makes room for another.
func (c *counted) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite is how net/http lets a client read a refusal while the client still sends.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// numbers reads a directive's arguments: exactly as many whole numbers, none negative.
func numbers(d *caddyfile.Dispenser, targets ...*int) error {
	d.Next()
	args := d.RemainingArgs()
	if len(args) != len(targets) {
		return d.ArgErr()
	}
	for index, arg := range args {
		number, err := strconv.Atoi(arg)
		if err != nil || number < 0 {
			return d.Errf("not a number: %s", arg)
		}
		*targets[index] = number
	}
	return nil
}

var (
	_ caddyhttp.MiddlewareHandler = (*Limits)(nil)
	_ caddy.ListenerWrapper       = (*Connections)(nil)
)
