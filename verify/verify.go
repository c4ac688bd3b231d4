// Package verify checks the signatures of webhooks in any HTTP handler, without a gate:
//
//	stripe, err := verify.New(verify.Stripe(secret))
//	mux.Handle("POST /hooks", stripe.Handler(next))
//
// The presets are those of the gate. Nothing is stored: a webhook that the handler loses is lost,
// and one that the sender repeats arrives again. The package makes no requests and has no state.
package verify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate/admit"
)

// DefaultMaxBody is the MaxBody of a Preset that has none, in bytes.
const DefaultMaxBody = 1 << 20

// Preset describes a sender. Functions such as Stripe return one.
type Preset struct {
	kind    string
	options admit.Options

	// URL is the URL that the sender calls, for senders that sign it. Behind a proxy the program does
	// not see it.
	URL string
	// Tolerance is how far the time of a signature may be from now; 0: admit.DefaultTolerance.
	Tolerance time.Duration
	// MaxBody bounds a body, in bytes; 0: DefaultMaxBody.
	MaxBody int64
}

// Errors of Verify, which its errors wrap.
var (
	// ErrUnauthenticated: credentials are missing or wrong. Answer 401 and do not show the text to
	// the sender. It has no secret.
	ErrUnauthenticated = admit.ErrUnauthenticated
	// ErrUnavailable: Amazon's certificate cannot be fetched now. Answer 503.
	ErrUnavailable = admit.ErrUnavailable
	// ErrTooLarge: the body is larger than Preset.MaxBody. Answer 413.
	ErrTooLarge = errors.New("the body is too large")
)

// Verifier verifies the requests of one sender. All methods may be called concurrently.
type Verifier struct {
	scheme     admit.Scheme
	handshaker admit.Handshaker // nil if the sender makes no handshakes
	maxBody    int64
	now        func() time.Time
}

// New returns a Verifier. An error says what is wrong with the preset, and shows no secret.
func New(p Preset) (*Verifier, error) {
	if p.kind == "" {
		return nil, errors.New("verify: the preset is empty: use one like verify.Stripe(secret)")
	}
	p.options.PublicURL, p.options.Tolerance = p.URL, p.Tolerance
	scheme, err := admit.New(p.kind, p.options)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	v := &Verifier{scheme: scheme, maxBody: p.MaxBody, now: time.Now}
	v.handshaker, _ = scheme.(admit.Handshaker)
	if v.maxBody <= 0 {
		v.maxBody = DefaultMaxBody
	}
	return v, nil
}

// Verify reads and verifies a request. It returns the body exactly as the sender sent it,
// compressed if the sender has compressed it, and sets r.Body to a reader of the same bytes. If the
// header alone shows that the request is not authentic, Verify does not read the body.
//
// Errors wrap ErrUnauthenticated, ErrUnavailable or ErrTooLarge, or are those of reading the body.
// Secrets are compared in constant time.
func (v *Verifier) Verify(r *http.Request) (body []byte, err error) {
	request := v.request(r)
	if err := v.scheme.CheckHeader(request); err != nil {
		return nil, err
	}
	if request.Body, err = v.read(r, v.maxBody); err != nil {
		return nil, err
	}
	if err := v.scheme.Authenticate(request); err != nil {
		return nil, err
	}
	return request.Body, nil
}

// request returns what a scheme sees of a request whose body is not read.
func (v *Verifier) request(r *http.Request) *admit.Request {
	return &admit.Request{Method: r.Method, Header: r.Header, Query: r.URL.RawQuery,
		Slash: strings.HasSuffix(r.URL.Path, "/"), Time: v.now()}
}

// read reads the body and sets r.Body to its bytes.
func (v *Verifier) read(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, fmt.Errorf("%w: it has %d bytes, and the limit is %d", ErrTooLarge, r.ContentLength,
			limit)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%w: the limit is %d bytes", ErrTooLarge, limit)
	}
	r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// Handler returns a handler that calls next for authentic webhooks only. next can read the body
// again. It answers handshakes by which some senders test the address, and everything else with
// 401, 405, 413, 400 or 503. The answers do not say what is wrong with the credentials; call Verify
// to log it.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch answer, err := v.admit(r); {
		case err != nil:
			v.refuse(w, err)
		case answer != nil:
			maps.Copy(w.Header(), answer.Header)
			w.WriteHeader(answer.Status)
			w.Write(answer.Body)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// errMethod is the error of a request with a method that the sender does not use.
var errMethod = errors.New("method not allowed")

// methods returns the methods that the sender uses.
func (v *Verifier) methods() []string {
	methods := []string{http.MethodPost}
	if v.handshaker != nil {
		methods = append(methods, v.handshaker.Methods()...)
	}
	return methods
}

// admit verifies a request. The answer is that to a handshake; nil: the request is a webhook.
func (v *Verifier) admit(r *http.Request) (*admit.Answer, error) {
	if !slices.Contains(v.methods(), r.Method) {
		return nil, errMethod
	}
	if v.handshaker == nil {
		_, err := v.Verify(r)
		return nil, err
	}
	request := v.request(r)
	if answer, err := v.handshaker.Greet(request); answer != nil || err != nil {
		return answer, err
	}
	if r.Method != http.MethodPost {
		return nil, errMethod
	}
	// Some senders do not sign their test request.
	if v.handshaker.MayPing(request) && v.scheme.CheckHeader(request) != nil {
		var err error
		if request.Body, err = v.read(r, admit.MaxPing); err == nil {
			if answer := v.handshaker.Ping(request); answer != nil {
				return answer, nil
			}
		}
	}
	var err error
	if request.Body, err = v.Verify(r); err != nil {
		return nil, err
	}
	return v.handshaker.Reply(request)
}

// refuse answers a request that is not admitted.
func (v *Verifier) refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	switch {
	case errors.Is(err, ErrUnauthenticated):
		status = http.StatusUnauthorized
	case errors.Is(err, ErrUnavailable):
		status = http.StatusServiceUnavailable
	case errors.Is(err, ErrTooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, errMethod):
		status = http.StatusMethodNotAllowed
		w.Header().Set("Allow", strings.Join(v.methods(), ", "))
	}
	http.Error(w, http.StatusText(status), status)
}
