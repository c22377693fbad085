package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// configuration is a remotely managed tunnel's, with the names of Pulumi's SDK (the API says ingress and audTag).
type configuration struct {
	Ingresses []struct {
		Hostname      string `json:"hostname"`
		Path          string `json:"path"`
		Service       string `json:"service"`
		OriginRequest struct {
			ConnectTimeout float64 `json:"connectTimeout"`
			HTTPHostHeader string  `json:"httpHostHeader"`
			Access         struct {
				Required bool     `json:"required"`
				AudTags  []string `json:"audTags"`
			} `json:"access"`
		} `json:"originRequest"`
	} `json:"ingresses"`
}

// rule is one ingress rule that can be applied.
type rule struct {
	hostname  string
	path      *regexp.Regexp
	audiences []string
	origin    http.Handler
}

// router applies the rules in their order, first match wins (cloudflared, ingress/ingress.go).
type router struct {
	secret string
	rules  atomic.Pointer[[]rule]
}

func newRouter(secret string) *router {
	return &router{secret: secret}
}

// configure replaces all rules, or none where one of them cannot be applied.
func (r *router) configure(given *configuration) error {
	rules := []rule{}
	if given != nil {
		for number, ingress := range given.Ingresses {
			one := rule{hostname: ingress.Hostname}
			if ingress.Path != "" {
				path, err := regexp.Compile(ingress.Path)
				if err != nil {
					return fmt.Errorf("rule #%d has an invalid regex: %w", number+1, err)
				}
				one.path = path
			}
			request := ingress.OriginRequest
			if request.Access.Required {
				one.audiences = append([]string{}, request.Access.AudTags...)
			}
			origin, err := service(ingress.Service, request.HTTPHostHeader, request.ConnectTimeout)
			if err != nil {
				return err
			}
			one.origin = origin
			rules = append(rules, one)
		}
	}
	r.rules.Store(&rules)
	logLine("INF", "Updated to new configuration with %d ingress rules", len(rules))
	return nil
}

func (r *router) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	// Otherwise net/http closes the request's body when the answer begins, at times before the transport has seen its end, which
	// then drops the connection to the origin in the middle of the answer.
	http.NewResponseController(w).EnableFullDuplex()
	rules := r.rules.Load()
	if rules == nil || len(*rules) == 0 {
		http.Error(w, "No ingress rules were defined", http.StatusServiceUnavailable)
		return
	}
	host, _, err := net.SplitHostPort(request.Host)
	if err != nil {
		host = request.Host
	}
	for _, rule := range *rules {
		if !rule.matches(host, request.URL.Path) {
			continue
		}
		if rule.audiences != nil && !r.admitted(request, rule.audiences) {
			http.Error(w, "no valid Access token in request", http.StatusForbidden)
			return
		}
		rule.origin.ServeHTTP(w, request)
		return
	}
	http.NotFound(w, request)
}

func (r *rule) matches(host, path string) bool {
	hostMatches := r.hostname == "" || r.hostname == "*" || strings.EqualFold(r.hostname, host)
	if domain, wild := strings.CutPrefix(r.hostname, "*"); wild {
		hostMatches = hostMatches || strings.HasSuffix(strings.ToLower(host), strings.ToLower(domain))
	}
	return hostMatches && (r.path == nil || r.path.MatchString(path))
}

// service is what answers: a status, or a proxy to an origin.
func service(address, hostHeader string, connectTimeout float64) (http.Handler, error) {
	if text, found := strings.CutPrefix(address, "http_status:"); found {
		status, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("invalid HTTP status code: %s", text)
		}
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }), nil
	}
	origin, err := url.Parse(address)
	if err != nil || origin.Host == "" || !slices.Contains([]string{"http", "https"}, origin.Scheme) {
		return nil, fmt.Errorf("%s is no service that the stand-in can reach", address)
	}
	timeout := 30 * time.Second
	if connectTimeout > 0 {
		timeout = time.Duration(connectTimeout * float64(time.Second))
	}
	dialer := net.Dialer{Timeout: timeout}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(origin)
			// To the letter: Rewrite leaves out what net/url would not parse.
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			// The edge has written them; Rewrite takes them out, as if a client had.
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
				r.Out.Header[name] = r.In.Header[name]
			}
			r.Out.Host = r.In.Host
			if hostHeader != "" {
				r.Out.Host = hostHeader
			}
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, address)
			},
			// As cloudflared, so that a body arrives as the origin sent it.
			DisableCompression:  true,
			MaxIdleConnsPerHost: 100,
			IdleConnTimeout:     90 * time.Second,
		},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, request *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				logLine("ERR", "Unable to reach the origin service error=%q host=%s", err, request.Host)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}, nil
}

// admitted says whether Access let the request through. The stand-in of the edge signs with the tunnel's secret (HS256), where
// Cloudflare signs with the team's own key (RS256).
func (r *router) admitted(request *http.Request, audiences []string) bool {
	parts := strings.Split(request.Header.Get("Cf-Access-Jwt-Assertion"), ".")
	if len(parts) != 3 {
		return false
	}
	mac := hmac.New(sha256.New, []byte(r.secret))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !hmac.Equal(signature, mac.Sum(nil)) {
		return false
	}
	var claims struct {
		Audience []string `json:"aud"`
		Expires  int64    `json:"exp"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Expires < time.Now().Unix() {
		return false
	}
	return slices.ContainsFunc(claims.Audience, func(one string) bool { return slices.Contains(audiences, one) })
}
