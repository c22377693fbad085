package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(SignedLink{})
	httpcaddyfile.RegisterHandlerDirective("signed_link", parse[SignedLink])
}

// The one key that signs (images/server/artifact_links.py, KEY_ID).
const linkKeyID = "1"

// SignedLink lets a link to a file pass that the server has signed and that has not expired, without a key.
//
//	signed_link <the links' key>
//
// The server checks it again (skyvern/forge/sdk/artifact/signing.py, 1.0.56). Here, because a stranger's guess should cost a hash
// and not a request to the server.
type SignedLink struct {
	Key string `json:"key"`
}

// CaddyModule names the module.
func (SignedLink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.signed_link", New: func() caddy.Module { return new(SignedLink) }}
}

// UnmarshalCaddyfile reads the directive.
func (s *SignedLink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&s.Key) {
		return d.ArgErr()
	}
	return nil
}

// Provision refuses a key that anybody could guess, above all an empty one.
func (s *SignedLink) Provision(caddy.Context) error {
	if len(s.Key) < 32 {
		return errors.New("signed_link: the key is too short")
	}
	return nil
}

// ServeHTTP answers as Skyvern does to a link that was changed or has expired.
func (s *SignedLink) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !s.valid(r.URL.EscapedPath(), r.URL.RawQuery, time.Now()) {
		return refuse(w, r, http.StatusForbidden, []byte(`{"detail":"Invalid or expired artifact URL"}`))
	}
	return next.ServeHTTP(w, r)
}

// valid says whether the path and query are a link that works at the time.
func (s *SignedLink) valid(path, rawQuery string, now time.Time) bool {
	query, err := url.ParseQuery(rawQuery)
	if err != nil || len(query["expiry"]) != 1 || len(query["kid"]) != 1 || len(query["sig"]) != 1 {
		return false
	}
	expiry, err := strconv.ParseUint(query.Get("expiry"), 10, 40)
	if err != nil || query.Get("kid") != linkKeyID || int64(expiry) < now.Unix() {
		return false
	}
	mac := hmac.New(sha256.New, []byte(s.Key))
	fmt.Fprintf(mac, "GET\n%s\n%d\n%s", path, expiry, linkKeyID)
	wanted := base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(wanted), []byte(query.Get("sig")))
}

var (
	_ caddyhttp.MiddlewareHandler = (*SignedLink)(nil)
	_ caddy.Provisioner           = (*SignedLink)(nil)
)
