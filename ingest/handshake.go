package ingest

import (
	"maps"
	"net/http"
	"strings"

	"github.com/hookgate/hookgate/admit"
)

// headAnswer is for senders that ask with HEAD whether there is anything at the path, such as
// Intercom and Mandrill. It is shared and must not be modified.
var headAnswer = &admit.Answer{Status: http.StatusOK}

// greet answers a handshake that carries no body. Without an answer and without a refusal the
// request is something else, and a POST.
func (source *servedSource) greet(r *admit.Request) (*admit.Answer, *refusal) {
	if source.handshaker != nil {
		answer, err := source.handshaker.Greet(r)
		if err != nil {
			return nil, refusedBy(err)
		}
		if answer != nil {
			return answer, nil
		}
	}
	if r.Method != http.MethodPost {
		return nil, source.refusedMethod()
	}
	return nil, nil
}

func (source *servedSource) refusedMethod() *refusal {
	if source.handshaker == nil || len(source.handshaker.Methods()) == 0 {
		return refusedMethod
	}
	allow := strings.Join(source.methods, ", ")
	return &refusal{status: http.StatusMethodNotAllowed, told: "this source takes " + allow,
		allow: allow}
}

// reply answers a handshake that came like an event and is authentic.
func (source *servedSource) reply(r *admit.Request) (*admit.Answer, *refusal) {
	if source.handshaker == nil {
		return nil, nil
	}
	answer, err := source.handshaker.Reply(r)
	if err != nil {
		return nil, refusedBy(err)
	}
	return answer, nil
}

// ping answers a test request that its sender does not sign. Without an answer the request is
// something else; what has been read of its body counts for nothing.
func (h *Handler) ping(x *exchange, r *http.Request) *admit.Answer {
	shaker := x.source.handshaker
	if shaker == nil || !shaker.MayPing(&x.request) || h.readBody(x, r, admit.MaxPing) != nil {
		return nil
	}
	x.request.Body = x.body
	return shaker.Ping(&x.request)
}

// writeAnswer sends the answer to a handshake.
func writeAnswer(w http.ResponseWriter, a *admit.Answer) (status int) {
	maps.Copy(w.Header(), a.Header)
	w.WriteHeader(a.Status)
	w.Write(a.Body) // the sender may be gone
	return a.Status
}

// writeSuccess answers a delivery whose sender insists on something else than a 202.
func writeSuccess(w http.ResponseWriter, s admit.Success) (status int) {
	h := w.Header()
	if s.Body != "" {
		h["Content-Type"] = []string{s.ContentType}
	} else {
		delete(h, "Content-Type")
	}
	w.WriteHeader(s.Status)
	if s.Body != "" {
		w.Write([]byte(s.Body)) // the sender may be gone
	}
	return s.Status
}
