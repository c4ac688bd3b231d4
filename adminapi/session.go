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
	// csrfHeader is where a call that changes something, made with a session, shows that a page of
	// this gate makes it.
	csrfHeader = "X-CSRF-Token"
	// renewAfter is how old the note of a session's last use may be before it is written anew.
	renewAfter = time.Minute
	// maxEnded is how many sessions that were signed out are remembered until they would have run out
	// anyway; then the oldest goes.
	maxEnded = 10_000
)

// session is what a cookie says of the one who has it: that he has shown the token with this hash.
// What the token may do, and whether it still may, is looked up at every request.
//
// A cookie is sealed and stands in no table, so that every process that has the same admin tokens
// takes it, also after a restart and while the store is away:
//
//	nonce, 12 | AES-256-GCM: hash of the token, 32 | id, 16 | begun, 8 | used, 8    times in seconds of Unix
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

// sessionKey is what comes of an admin token.
type sessionKey struct {
	name string // of its cookies, so that gates with other tokens on the same host have others
	seal cipher.AEAD
	csrf []byte
}

// newSessions takes the admin tokens of the configuration, from which the keys are derived. The
// first one seals; cookies of the others are taken too, so that a token can be replaced without
// signing people out.
func newSessions(tokens []string, idle, max time.Duration) *sessions {
	if len(tokens) == 0 {
		tokens = []string{rand.Text()}
	}
	return &sessions{tokens: tokens, idle: idle, max: max, ended: map[[16]byte]bool{}}
}

// ready derives the keys when the first session needs them, because that takes a while.
func (s *sessions) ready() {
	s.derived.Do(func() {
		for _, token := range s.tokens {
			master := slowly(token)
			block, err1 := aes.NewCipher(derive(master, "session", 32))
			seal, err2 := cipher.NewGCM(block)
			if err := errors.Join(err1, err2); err != nil {
				panic(err) // the length of the key is right
			}
			name := canary.GateCookie + hex.EncodeToString(derive(master, "cookie", 4))
			s.keys = append(s.keys, sessionKey{name, seal, derive(master, "csrf", 32)})
		}
	})
}

// slowRounds make one guess at the admin token of a cookie take a tenth of a second or so, as OWASP
// advises for PBKDF2 with SHA-256. The salt is the same everywhere: all processes with one token
// must find the same key.
const slowRounds = 600_000

// masters has the keys that were derived in this process, by the hash of the token.
var masters sync.Map // [sha256.Size]byte -> func() []byte

// slowly derives a key from a token that a person may have chosen.
func slowly(token string) []byte {
	once, _ := masters.LoadOrStore(sha256.Sum256([]byte(token)), sync.OnceValue(func() []byte {
		key, err := pbkdf2.Key(sha256.New, token, []byte("hookgate dashboard"), slowRounds, 32)
		if err != nil {
			panic(err) // the length is one that there is
		}
		return key
	}))
	return once.(func() []byte)()
}

func derive(master []byte, purpose string, length int) []byte {
	key, err := hkdf.Key(sha256.New, master, nil, "hookgate dashboard "+purpose, length)
	if err != nil {
		panic(err) // the length is far below what HKDF gives
	}
	return key
}

// begin returns the session of whoever has just shown a token.
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

// cookie is the name of the key's cookies. With its prefix a browser takes one from this very host
// alone, over TLS: no other host of the domain can put one of its own in its place.
func (k *sessionKey) cookie(r *http.Request) string {
	if isSecure(r) {
		return "__Host-" + k.name
	}
	return k.name
}

// isSecure reports whether the browser has come by TLS, as the first of the proxies says if there
// are several. Whoever writes that header himself shuts out nobody but himself.
func isSecure(r *http.Request) bool {
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	return r.TLS != nil || strings.EqualFold(strings.TrimSpace(first), "https")
}

// read returns the session of a request, if it has one that has neither been ended nor run out.
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

// open returns what is in a cookie that was sealed with the key.
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

// csrf returns what a page of the session sends with calls that change something.
func (s *sessions) csrf(n session) string {
	s.ready()
	return s.keys[0].csrfOf(n)
}

func (k *sessionKey) csrfOf(n session) string {
	mac := hmac.New(sha256.New, k.csrf)
	mac.Write(n.id[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// meant reports whether a request that changes something was made by a page of this gate: it is not
// from another origin, and it has what only such a page knows.
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

// end signs a session out: a copy of its cookie opens nothing more in this process.
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

// bySession finds out who makes the call by its cookie, as authorise does by a token. found is
// false if it has none.
func (c *call) bySession() (who actor, found bool, err error) {
	s, now := c.server, time.Now()
	n, ok := s.sessions.read(c.request, now)
	if !ok {
		return who, false, nil
	}
	switch who, err = s.findHash(c.request.Context(), n.token, now); {
	case errors.Is(err, unknownToken):
		return who, true, goneToken
	case err != nil:
		return who, true, err
	}
	c.csrf = s.sessions.csrf(n)
	if now.Sub(n.used) >= renewAfter && c.outer == nil {
		n.used = now
		s.sessions.write(c, c.request, n)
	}
	if c.route.Action != "" && !s.sessions.meant(c.request, n, c.request.Header.Get(csrfHeader)) {
		return who, true, errNotMeant
	}
	return who, true, nil
}

// goneToken is one of the configuration that was known when the session began. It is no guess, and
// counts as no failed login.
const goneToken refusedToken = "is not one of this gate any more"

// errNotMeant refuses a change that a page elsewhere may have made a browser ask for.
var errNotMeant = errors.New("a call that changes something takes, with a session, the header " +
	csrfHeader + " and must come from a page of this gate")
