package adminapi

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookgate/hookgate/release/canary"
)

const (
	// csrfHeader proves that a page of this gate makes a call that changes something with a session.
	csrfHeader = "X-CSRF-Token"
	// renewAfter is how old the time of last use in a cookie may become before the cookie is renewed.
	renewAfter = time.Minute
	// maxEnded bounds how many signed-out sessions are remembered. Beyond it the oldest is forgotten.
	maxEnded = 10_000
)

// session is the content of a cookie: its owner has shown the token with this hash. Every request
// looks up whether the token is still valid, and its role.
//
// Cookies are sealed and stored nowhere. So every process with the same admin tokens accepts them,
// also after a restart and while the store is away:
//
//	nonce, 12 | AES-256-GCM: hash of the token, 32 | id, 16 | begun, 8 | used, 8    Unix times in seconds
type session struct {
	token       [sha256.Size]byte
	id          [16]byte
	begun, used time.Time
}

const sessionBytes = sha256.Size + 16 + 8 + 8

// sessions seals and opens cookies.
type sessions struct {
	tokens    []string
	derived   sync.Once    // of the keys
	keys      []sessionKey // the first one seals; see ready
	idle, max time.Duration

	mu    sync.Mutex // guards all below, for a few instructions at a time
	ended map[[16]byte]bool
	order [][16]byte // of ended, the oldest first
}

// sessionKey holds the keys derived from an admin token.
type sessionKey struct {
	name string // of its cookies: gates with other tokens on the same host have other names
	seal cipher.AEAD
	csrf []byte
}

// newSessions derives the keys from the admin tokens of the configuration. The first one seals;
// cookies of the others are accepted too, so that a token can be replaced without signing people
// out.
func newSessions(tokens []string, idle, max time.Duration) *sessions {
	if len(tokens) == 0 {
		tokens = []string{rand.Text()}
	}
	return &sessions{tokens: tokens, idle: idle, max: max, ended: map[[16]byte]bool{}}
}

// ready derives the keys when the first session needs them, because that takes some time.
func (s *sessions) ready() {
	s.derived.Do(func() {
		for _, token := range s.tokens {
			master := stretched(token)
			block, err1 := aes.NewCipher(derive(master, "session", 32))
			seal, err2 := cipher.NewGCM(block)
			if err := errors.Join(err1, err2); err != nil {
				panic(err) // a key of 32 bytes is valid
			}
			name := canary.GateCookie + hex.EncodeToString(derive(master, "cookie", 4))
			s.keys = append(s.keys, sessionKey{name, seal, derive(master, "csrf", 32)})
		}
	})
}

// stretchRounds makes one guess at the admin token of a cookie take about a tenth of a second, as
// OWASP advises for PBKDF2 with SHA-256. The salt is constant, because all processes with the same
// token must derive the same key.
const stretchRounds = 600_000

// masters caches the derived keys of this process, by the hash of the token.
var masters sync.Map // [sha256.Size]byte -> func() []byte

// stretched derives a key from a token that a person may have chosen.
func stretched(token string) []byte {
	once, _ := masters.LoadOrStore(sha256.Sum256([]byte(token)), sync.OnceValue(func() []byte {
		key, err := pbkdf2.Key(sha256.New, token, []byte("hookgate dashboard"), stretchRounds, 32)
		if err != nil {
			panic(err) // 32 bytes is a valid length
		}
		return key
	}))
	return once.(func() []byte)()
}

func derive(master []byte, purpose string, length int) []byte {
	key, err := hkdf.Key(sha256.New, master, nil, "hookgate dashboard "+purpose, length)
	if err != nil {
		panic(err) // the length is far below the limit of HKDF
	}
	return key
}

// begin returns a new session for a token.
func (s *sessions) begin(token [sha256.Size]byte, now time.Time) session {
	n := session{token: token, begun: now, used: now}
	rand.Read(n.id[:]) // never fails
	return n
}

// write sets the cookie of a session.
func (s *sessions) write(w http.ResponseWriter, r *http.Request, n session) {
	s.ready()
	plain := make([]byte, 0, sessionBytes)
	plain = append(append(plain, n.token[:]...), n.id[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(n.begun.Unix()))
	plain = binary.BigEndian.AppendUint64(plain, uint64(n.used.Unix()))
	key := &s.keys[0]
	nonce := make([]byte, key.seal.NonceSize())
	rand.Read(nonce)
	set(w, r, key.cookie(r), base64.RawURLEncoding.EncodeToString(key.seal.Seal(nonce, nonce, plain,
		nil)), int(s.max.Seconds()))
}

// clear removes the cookies that a request has.
func (s *sessions) clear(w http.ResponseWriter, r *http.Request) {
	s.ready()
	for i := range s.keys {
		if _, err := r.Cookie(s.keys[i].cookie(r)); err == nil {
			set(w, r, s.keys[i].cookie(r), "", -1)
		}
	}
}

func set(w http.ResponseWriter, r *http.Request, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
		Secure:   isSecure(r),
	})
}

// cookie returns the name of the key's cookies. With the prefix __Host- a browser accepts the
// cookie only from this host over TLS, so that no other host of the domain can replace it.
func (k *sessionKey) cookie(r *http.Request) string {
	if isSecure(r) {
		return "__Host-" + k.name
	}
	return k.name
}

// isSecure reports whether the browser uses TLS, according to the first of several proxies. A
// client that forges the header harms only itself.
func isSecure(r *http.Request) bool {
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	return r.TLS != nil || strings.EqualFold(strings.TrimSpace(first), "https")
}

// read returns the session of a request if it has one that has neither ended nor expired.
func (s *sessions) read(r *http.Request, now time.Time) (n session, ok bool) {
	if !slices.ContainsFunc(r.Cookies(), func(c *http.Cookie) bool {
		return strings.HasPrefix(strings.TrimPrefix(c.Name, "__Host-"), canary.GateCookie)
	}) {
		return n, false
	}
	s.ready()
	for i := range s.keys {
		if cookie, err := r.Cookie(s.keys[i].cookie(r)); err == nil {
			if n, ok = s.keys[i].open(cookie.Value); ok {
				return n, !now.After(n.begun.Add(s.max)) && !now.After(n.used.Add(s.idle)) && !s.isEnded(n.id)
			}
		}
	}
	return n, false
}

// open returns the content of a cookie that was sealed with the key.
func (k *sessionKey) open(text string) (n session, ok bool) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	size := k.seal.NonceSize()
	if err != nil || len(sealed) != size+sessionBytes+k.seal.Overhead() {
		return n, false
	}
	plain, err := k.seal.Open(nil, sealed[:size], sealed[size:], nil)
	if err != nil {
		return n, false
	}
	copy(n.token[:], plain)
	copy(n.id[:], plain[sha256.Size:])
	n.begun = time.Unix(int64(binary.BigEndian.Uint64(plain[sha256.Size+16:])), 0)
	n.used = time.Unix(int64(binary.BigEndian.Uint64(plain[sha256.Size+24:])), 0)
	return n, true
}

// csrf returns the token that a page of the session sends with calls that change something.
func (s *sessions) csrf(n session) string {
	s.ready()
	return s.keys[0].csrfOf(n)
}

func (k *sessionKey) csrfOf(n session) string {
	mac := hmac.New(sha256.New, k.csrf)
	mac.Write(n.id[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// meant reports whether a page of this gate made a request that changes something: the request is
// not from another origin, and has the token that only such a page knows.
func (s *sessions) meant(r *http.Request, n session, token string) bool {
	if http.NewCrossOriginProtection().Check(r) != nil {
		return false
	}
	s.ready()
	found := 0
	for i := range s.keys { // a page may be older than the key that seals now
		found |= subtle.ConstantTimeCompare([]byte(token), []byte(s.keys[i].csrfOf(n)))
	}
	return found == 1
}

// end signs a session out. This process then rejects copies of its cookie.
func (s *sessions) end(n session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended[n.id] {
		return
	}
	if len(s.order) == maxEnded {
		delete(s.ended, s.order[0])
		s.order = s.order[1:]
	}
	s.ended[n.id] = true
	s.order = append(s.order, n.id)
}

func (s *sessions) isEnded(id [16]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended[id]
}

// bySession identifies the caller by its cookie. found is false if there is none.
func (c *call) bySession() (who actor, found bool, err error) {
	s, now := c.server, time.Now()
	n, ok := s.sessions.read(c.request, now)
	if !ok {
		return who, false, nil
	}
	switch who, err = s.findHash(c.request.Context(), n.token, now); {
	case errors.Is(err, unknownToken):
		return who, true, removedToken
	case err != nil:
		return who, true, err
	}
	c.csrf = s.sessions.csrf(n)
	if now.Sub(n.used) >= renewAfter && c.outer == nil {
		n.used = now
		s.sessions.write(c, c.request, n)
	}
	if c.route.Method != http.MethodGet && !s.sessions.meant(c.request, n, c.request.Header.Get(csrfHeader)) {
		return who, true, errForged
	}
	return who, true, nil
}

// removedToken is a configured token that was removed since the session began. It is no guess, and
// does not count as a failed login.
const removedToken rejectedToken = "is no longer valid for this gate"

// errForged rejects a change that a page of another site may have caused.
var errForged = errors.New("with a session, a call that changes something needs the header " +
	csrfHeader + " and must come from a page of this gate")
