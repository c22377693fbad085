package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/time/rate"
)

func init() {
	caddy.RegisterModule(new(Connections))
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

// counts is a number per client.
type counts struct {
	mutex  sync.Mutex
	counts map[string]int
}

// add counts one more, unless the client has its limit; release counts it down again.
func (c *counts) add(who string, limit int) (release func(), ok bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.counts[who] >= limit {
		return nil, false
	}
	c.counts[who]++
	return func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		if c.counts[who]--; c.counts[who] == 0 {
			delete(c.counts, who)
		}
	}, true
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

// Limits bounds the requests of one client that run at the same time. Each place where the directive stands counts its own, so that
// requests before a credential take nothing from those after it.
//
//	limits <requests>
type Limits struct {
	Requests int `json:"requests"`

	running *counts
}

// CaddyModule names the module.
func (Limits) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.limits", New: func() caddy.Module { return new(Limits) }}
}

// UnmarshalCaddyfile reads the directive.
func (l *Limits) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return numbers(d, &l.Requests)
}

// Provision begins to count.
func (l *Limits) Provision(caddy.Context) error {
	l.running = &counts{counts: map[string]int{}}
	return nil
}

// ServeHTTP answers 429 to a client with too many requests under way.
func (l *Limits) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	release, ok := l.running.add(clientOf(r), l.Requests)
	if !ok {
		return tooMany(w, "too many requests at the same time")
	}
	defer release()
	if conn, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		conn.keep(true)
		defer conn.keep(false)
	}
	return next.ServeHTTP(w, r)
}

// Connections bounds the open connections of one address (0: without a limit) and of all. Beyond, the oldest is closed on which no
// request is under way that Limits counts: one that is silent, or sends what was refused, keeps nobody out. Where there is none, the
// new one is closed.
//
//	connections <all> <address>
type Connections struct {
	All     int `json:"all"`
	Address int `json:"address"`

	mutex sync.Mutex
	// In the order in which they came, or had their last request.
	open []*connection
}

type connection struct {
	net.Conn
	of   *Connections
	who  string
	kept bool
}

// connectionKey is where the context of a request has its connection.
type connectionKey struct{}

// CaddyModule names the module.
func (*Connections) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.connections", New: func() caddy.Module { return new(Connections) }}
}

// UnmarshalCaddyfile reads the option.
func (c *Connections) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return numbers(d, &c.All, &c.Address)
}

// Provision lets requests know their connection.
func (c *Connections) Provision(ctx caddy.Context) error {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return errors.New("connections: not in an HTTP server")
	}
	server.RegisterConnContext(c.inContext)
	return nil
}

// WrapListener bounds the connections of a listener.
func (c *Connections) WrapListener(listener net.Listener) net.Listener {
	return &bounded{Listener: listener, connections: c}
}

type bounded struct {
	net.Listener
	connections *Connections
}

// Accept returns the next connection within the limits.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := b.connections.admit(conn); admitted != nil {
			return admitted, nil
		}
		_ = conn.Close()
	}
}

// admit makes room for a connection; nil if there is none.
func (c *Connections) admit(conn net.Conn) net.Conn {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	added := &connection{Conn: conn, of: c, who: client(host)}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	same := 0
	for _, open := range c.open {
		if open.who == added.who {
			same++
		}
	}
	ofAddress := c.Address > 0 && same >= c.Address
	if ofAddress || len(c.open) >= c.All {
		index := slices.IndexFunc(c.open, func(open *connection) bool { return !open.kept && (!ofAddress || open.who == added.who) })
		if index < 0 {
			return nil
		}
		_ = c.open[index].Conn.Close()
		c.open = slices.Delete(c.open, index, index+1)
	}
	c.open = append(c.open, added)
	return added
}

func (c *Connections) inContext(ctx context.Context, conn net.Conn) context.Context {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	// Caddy has wrapped the connection, but its address is still the same pointer.
	index := slices.IndexFunc(c.open, func(open *connection) bool { return open.RemoteAddr() == conn.RemoteAddr() })
	if index < 0 {
		return ctx
	}
	return context.WithValue(ctx, connectionKey{}, c.open[index])
}

// keep says whether the connection has a request under way.
func (c *connection) keep(kept bool) {
	c.of.mutex.Lock()
	defer c.of.mutex.Unlock()
	c.kept = kept
	if index := slices.Index(c.of.open, c); index >= 0 {
		c.of.open = append(slices.Delete(c.of.open, index, index+1), c)
	}
}

// Close closes the connection and makes room for another.
func (c *connection) Close() error {
	c.of.mutex.Lock()
	c.of.open = slices.DeleteFunc(c.of.open, func(open *connection) bool { return open == c })
	c.of.mutex.Unlock()
	return c.Conn.Close()
}

// CloseWrite is how net/http lets a client read a refusal while the client still sends.
func (c *connection) CloseWrite() error {
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
	_ caddy.Provisioner           = (*Limits)(nil)
	_ caddy.ListenerWrapper       = (*Connections)(nil)
	_ caddy.Provisioner           = (*Connections)(nil)
)
