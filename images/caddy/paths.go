package main

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(PlainPath{})
	caddy.RegisterModule(RecordedFile{})
	httpcaddyfile.RegisterHandlerDirective("plain_path", parse[PlainPath])
	httpcaddyfile.RegisterHandlerDirective("recorded_file", parse[RecordedFile])
}

// PlainPath answers 400 to a path that can be read in more than one way.
//
// Caddy's matchers judge a path that is decoded and cleaned, and the one that came is sent on. For a plain path both are the same.
// No braces either, in which Caddy's placeholders are written, but for Skyvern's own paths: they are sent on as they are, and its UI
// asks for {{ templates }}.
type PlainPath struct{}

// CaddyModule names the module.
func (PlainPath) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.plain_path", New: func() caddy.Module { return new(PlainPath) }}
}

// UnmarshalCaddyfile reads the directive, which has no arguments.
func (*PlainPath) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return numbers(d) }

// ServeHTTP lets plain paths pass.
func (*PlainPath) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	raw := strings.ToLower(r.URL.EscapedPath())
	skyvern := strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/v1/")
	braces := !skyvern && strings.ContainsAny(r.URL.Path, "{}")
	if !plain(r.URL.Path) || braces || strings.Contains(r.URL.Path, ";") || strings.Contains(raw, "%2f") {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("not a plain path"))
	}
	return next.ServeHTTP(w, r)
}

// plain says whether a decoded path is absolute and has no empty part, no part . or .., no backslash and no control character.
func plain(decoded string) bool {
	if decoded != "/" && path.Clean(decoded) != strings.TrimSuffix(decoded, "/") {
		return false
	}
	return strings.HasPrefix(decoded, "/") && !strings.ContainsFunc(decoded, func(character rune) bool {
		return character < ' ' || character == 0x7f || character == '\\'
	})
}

// RecordedFile makes the file that ?path= names the path of the request; 404 if it is not one below /data, 400 with a brace in
// the query.
//
// In Go, because in Caddy's configuration the name would have to pass through placeholders.
type RecordedFile struct{}

// CaddyModule names the module.
func (RecordedFile) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.recorded_file", New: func() caddy.Module { return new(RecordedFile) }}
}

// UnmarshalCaddyfile reads the directive, which has no arguments.
func (*RecordedFile) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return numbers(d) }

// ServeHTTP sends the request on with the file's path.
func (*RecordedFile) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if strings.ContainsAny(r.URL.RawQuery, "{}") {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("a brace in the query"))
	}
	var names []string
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if name, found := strings.CutPrefix(pair, "path="); found {
			names = append(names, name)
		}
	}
	if len(names) != 1 {
		return caddyhttp.Error(http.StatusNotFound, errors.New("no file is named"))
	}
	// Decoded once and encoded again for the file server: a ? or a percent sign in the name stays part of it.
	file, err := url.PathUnescape(names[0])
	if err != nil || !plain(file) || !strings.HasPrefix(file, "/data/") {
		return caddyhttp.Error(http.StatusNotFound, errors.New("no file of a recording"))
	}
	r.URL = &url.URL{Path: file}
	r.RequestURI = r.URL.RequestURI()
	return next.ServeHTTP(w, r)
}

var (
	_ caddyhttp.MiddlewareHandler = (*PlainPath)(nil)
	_ caddyhttp.MiddlewareHandler = (*RecordedFile)(nil)
)
