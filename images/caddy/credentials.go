package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/sync/singleflight"
)

func init() {
	caddy.RegisterModule(Login{})
	caddy.RegisterModule(KnownKey{})
	caddy.RegisterModule(NewToken{})
	httpcaddyfile.RegisterHandlerDirective("login", parse[Login])
	httpcaddyfile.RegisterHandlerDirective("known_key", parse[KnownKey])
	httpcaddyfile.RegisterHandlerDirective("new_token", parse[NewToken])
}

// Login lets requests with the one user's name and password pass (HTTP basic authentication).
//
//	login <SHA-256 of user:password, 64 hex digits>
//
// A fast hash is enough for a generated password, and costs the same for a wrong user as for a wrong password. A right login is
// never refused for the wrong ones of others behind the same address.
type Login struct {
	SHA256 string `json:"sha256"`

	sum []byte
}

// CaddyModule names the module.
func (Login) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.login", New: func() caddy.Module { return new(Login) }}
}

// UnmarshalCaddyfile reads the directive.
func (l *Login) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&l.SHA256) {
		return d.ArgErr()
	}
	return nil
}

// Provision refuses what is not a digest; it would refuse every login.
func (l *Login) Provision(caddy.Context) error {
	sum, err := hex.DecodeString(l.SHA256)
	if err != nil || len(sum) != sha256.Size {
		return errors.New("login: not 64 hex digits")
	}
	l.sum = sum
	return nil
}

// ServeHTTP asks for a login, and answers 429 to whoever is wrong too often.
func (l *Login) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	user, password, given := r.BasicAuth()
	sum := sha256.Sum256([]byte(user + ":" + password))
	if subtle.ConstantTimeCompare(sum[:], l.sum) == 1 {
		return next.ServeHTTP(w, r)
	}
	if given && !mayTry(r) {
		return tooMany(w, "too many wrong logins")
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="Skyvern", charset="UTF-8"`)
	return caddyhttp.Error(http.StatusUnauthorized, errors.New("not logged in"))
}

// Keys as Skyvern makes them: a JWT with a signature of 32 bytes (HS256).
var keyForm = regexp.MustCompile(`^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}$`)

const (
	// For so long Skyvern is not asked for a key again.
	freshFor = 10 * time.Second
	// For so long after that a key that was known still passes, while Skyvern is asked. It looks itself at the key of every request
	// that reaches it.
	knownFor = time.Hour
	// As lb_try_interval of components/host/gateway.py; dialTimeout as reverse_proxy has it.
	tryAgainAfter = 500 * time.Millisecond
	dialTimeout   = 3 * time.Second
	// The limit of all tries keeps the number far below; beyond it, what is not known any more is forgotten.
	maximumKeys = 10_000
)

// KnownKey lets requests pass whose key Skyvern knows, before any of the body is read: Skyvern reads and parses it first.
//
//	known_key header|query <wait> <URL that answers 200 to a known key and 401, 403 or 404 to any other> <an organisation's key>...
//
// header is X-Api-Key, query is ?apikey= of a stream. The keys that are named here need no answer. The tries of a stranger do not
// count against a key that was known once. wait is how long nothing may listen there, as while Skyvern restarts.
type KnownKey struct {
	From string         `json:"from"`
	Wait caddy.Duration `json:"wait"`
	URL  string         `json:"url"`
	Keys []string       `json:"keys"`

	digests [][sha256.Size]byte
}

// CaddyModule names the module.
func (KnownKey) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.known_key", New: func() caddy.Module { return new(KnownKey) }}
}

// UnmarshalCaddyfile reads the directive.
func (k *KnownKey) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	var wait string
	if !d.Args(&k.From, &wait, &k.URL) {
		return d.ArgErr()
	}
	duration, err := caddy.ParseDuration(wait)
	if err != nil {
		return d.Errf("%s is not a duration", wait)
	}
	k.Wait = caddy.Duration(duration)
	if k.Keys = d.RemainingArgs(); len(k.Keys) == 0 {
		return d.ArgErr()
	}
	if k.From != "header" && k.From != "query" {
		return d.Errf("a key is in the header or in the query, not in %s", k.From)
	}
	return nil
}

// Provision digests the organisations' keys, to compare them in constant time.
func (k *KnownKey) Provision(caddy.Context) error {
	for _, key := range k.Keys {
		k.digests = append(k.digests, sha256.Sum256([]byte(key)))
	}
	return nil
}

// ServeHTTP answers as Skyvern does without a known key, 429 to a client that tries too many, and 502 where Skyvern does not
// answer.
func (k *KnownKey) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	given := r.Header.Values("X-Api-Key")
	if k.From == "query" {
		given = r.URL.Query()["apikey"]
	}
	if len(given) == 0 || given[0] == "" {
		return refuse(w, r, http.StatusForbidden, []byte(`{"detail":"x-api-key is missing"}`))
	}
	if len(given) > 1 || !keyForm.MatchString(given[0]) {
		return refuse(w, r, http.StatusForbidden, []byte(`{"detail":"Could not validate credentials"}`))
	}
	digest := sha256.Sum256([]byte(given[0]))
	for _, known := range k.digests {
		if subtle.ConstantTimeCompare(digest[:], known[:]) == 1 {
			return next.ServeHTTP(w, r)
		}
	}
	answer, err := keys.answer(r, time.Duration(k.Wait), k.URL, given[0], digest)
	switch {
	case errors.Is(err, errTooMany):
		w.Header().Set("Retry-After", "5")
		return refuse(w, r, http.StatusTooManyRequests, []byte(`{"detail":"Too many unknown keys"}`))
	case err != nil:
		return caddyhttp.Error(http.StatusBadGateway, err)
	case answer.status != http.StatusOK:
		return refuse(w, r, answer.status, answer.body)
	}
	return next.ServeHTTP(w, r)
}

// refuse answers at once; not as an error of Caddy's, whose answer would have no CORS headers.
func refuse(w http.ResponseWriter, r *http.Request, status int, body []byte) error {
	// With a body that was not read, net/http would wait for it first.
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

var errTooMany = errors.New("too many tries")

// keys remembers for a while which keys are known, by their digests.
var keys = keyring{
	answers: map[[sha256.Size]byte]keyAnswer{},
	server: http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			MaxConnsPerHost:     8,
			MaxIdleConnsPerHost: 8,
			IdleConnTimeout:     30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	},
}

type keyring struct {
	mutex   sync.Mutex
	answers map[[sha256.Size]byte]keyAnswer
	server  http.Client
	asking  singleflight.Group
}

// keyAnswer is what Skyvern says to a key; body is empty for a known one.
type keyAnswer struct {
	status int
	body   []byte
	until  time.Time
}

// answer is what Skyvern says to the key, now or a short time ago.
func (k *keyring) answer(r *http.Request, wait time.Duration, url, key string, digest [sha256.Size]byte) (keyAnswer, error) {
	remembered := k.remembered(digest)
	if remembered.fresh() {
		return remembered, nil
	}
	ask := func() (any, error) {
		answer := k.remembered(digest)
		if answer.fresh() {
			return answer, nil
		}
		if answer.status != http.StatusOK && !mayTry(r) {
			return keyAnswer{}, errTooMany
		}
		return k.askUntil(time.Now().Add(wait), url, key, digest)
	}
	if remembered.known() {
		// Nobody waits for it, and where Skyvern is slow or does not answer, nothing is lost.
		k.asking.DoChan(string(digest[:]), ask)
		return remembered, nil
	}
	// A page that opens sends many requests with the same new token.
	select {
	case asked := <-k.asking.DoChan(string(digest[:]), ask):
		return asked.Val.(keyAnswer), asked.Err
	case <-r.Context().Done():
		return keyAnswer{}, r.Context().Err()
	}
}

func (a keyAnswer) fresh() bool { return time.Now().Before(a.until) }

func (a keyAnswer) known() bool {
	return a.status == http.StatusOK && time.Now().Before(a.until.Add(knownFor))
}

func (k *keyring) remembered(digest [sha256.Size]byte) keyAnswer {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.answers[digest]
}

func (k *keyring) remember(digest [sha256.Size]byte, answer keyAnswer) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.answers) >= maximumKeys {
		maps.DeleteFunc(k.answers, func(_ [sha256.Size]byte, answer keyAnswer) bool { return !answer.fresh() && !answer.known() })
	}
	k.answers[digest] = answer
}

// askUntil asks Skyvern again while it cannot be reached, as reverse_proxy does with the request itself: nothing was sent.
func (k *keyring) askUntil(until time.Time, url, key string, digest [sha256.Size]byte) (keyAnswer, error) {
	for {
		answer, err := k.ask(url, key, digest)
		var unreached *net.OpError
		if err == nil || !errors.As(err, &unreached) || unreached.Op != "dial" || time.Now().After(until) {
			return answer, err
		}
		time.Sleep(tryAgainAfter)
	}
}

// ask asks Skyvern, for others than the client that came first too: not with its context, which may end.
func (k *keyring) ask(url, key string, digest [sha256.Size]byte) (keyAnswer, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return keyAnswer{}, err
	}
	request.Header.Set("X-Api-Key", key)
	response, err := k.server.Do(request)
	if err != nil {
		return keyAnswer{}, err
	}
	defer response.Body.Close()
	// Read to its end, the connection can be used again.
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return keyAnswer{}, err
	}
	answer := keyAnswer{status: response.StatusCode, until: time.Now().Add(freshFor)}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		answer.body = body[:min(len(body), 1024)]
	default:
		return keyAnswer{}, fmt.Errorf("known_key: the server answered %d", response.StatusCode)
	}
	k.remember(digest, answer)
	return answer, nil
}

// NewToken remembers the token that Skyvern makes for a person who has logged in, so that no stranger's tries stand in its way.
type NewToken struct{}

// CaddyModule names the module.
func (NewToken) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.new_token", New: func() caddy.Module { return new(NewToken) }}
}

// UnmarshalCaddyfile reads the directive, which has no arguments.
func (*NewToken) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return numbers(d) }

// ServeHTTP passes the answer on.
func (*NewToken) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	var body bytes.Buffer
	recorder := caddyhttp.NewResponseRecorder(w, &body, func(status int, _ http.Header) bool { return status == http.StatusOK })
	if err := next.ServeHTTP(recorder, r); err != nil || !recorder.Buffered() {
		return err
	}
	var session struct {
		Token string `json:"token"`
	}
	if json.Unmarshal(body.Bytes(), &session) == nil && keyForm.MatchString(session.Token) {
		keys.remember(sha256.Sum256([]byte(session.Token)), keyAnswer{status: http.StatusOK, until: time.Now().Add(freshFor)})
	}
	return recorder.WriteResponse()
}

var (
	_ caddyhttp.MiddlewareHandler = (*Login)(nil)
	_ caddyhttp.MiddlewareHandler = (*KnownKey)(nil)
	_ caddyhttp.MiddlewareHandler = (*NewToken)(nil)
	_ caddy.Provisioner           = (*Login)(nil)
	_ caddy.Provisioner           = (*KnownKey)(nil)
)
