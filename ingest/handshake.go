package ingest

import (
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/hookgate/hookgate/admit"
)

// headAnswer is for senders such as Intercom and Mandrill, which check with HEAD that the endpoint
// exists. It is shared and must not be modified.
var headAnswer = &admit.Answer{Status: http.StatusOK}

// greet answers a handshake without a body. If it returns neither an answer nor a rejection, the
// request is a POST and no such handshake.
func (source *servedSource) greet(r *admit.Request) (*admit.Answer, *rejection) {
	if source.handshaker != nil {
		answer, err := source.handshaker.Greet(r)
		if err != nil {
			return nil, rejectedBy(err)
		}
		if answer != nil {
			return answer, nil
		}
	}
	if r.Method != http.MethodPost {
		return nil, source.rejectedMethod()
	}
	return nil, nil
}

func (source *servedSource) rejectedMethod() *rejection {
	if source.handshaker == nil || len(source.handshaker.Methods()) == 0 {
		return rejectedMethod
	}
	allow := strings.Join(source.methods, ", ")
	return &rejection{status: http.StatusMethodNotAllowed, text: "this source takes " + allow,
		allow: allow}
}

// reply answers an authentic handshake that came like an event; nil if the request is an event.
func (source *servedSource) reply(r *admit.Request) (*admit.Answer, *rejection) {
	if source.handshaker == nil {
		return nil, nil
	}
	answer, err := source.handshaker.Reply(r)
	if err != nil {
		return nil, rejectedBy(err)
	}
	return answer, nil
}

// ping answers a test request that its sender does not sign; nil if the request is something else.
func (h *Handler) ping(x *exchange) *admit.Answer {
	source := x.source.handshaker
	if source == nil || !source.MayPing(&x.input) || h.readBody(x, admit.MaxPing) != nil {
		return nil
	}
	x.input.Body = x.body
	return source.Ping(&x.input)
}

// answerHandshake counts a handshake and answers it.
func (h *Handler) answerHandshake(x *exchange) (status int) {
	x.source.counts.handshakes.Add(1)
	// Anyone can make some of the handshakes, so the log has a bounded rate.
	h.rejections.Info("handshake answered", "request_id", x.info.IDText, "source", x.source.Name,
		"method", x.http.Method, "remote", x.http.RemoteAddr)
	a := x.greeting
	maps.Copy(x.writer.Header(), a.Header)
	x.writer.WriteHeader(a.Status)
	x.writer.Write(a.Body) // the sender may be gone
	if x.authentic {       // otherwise a stranger could make a silent source look active
		h.countAnswer(x, a.Status)
	}
	return a.Status
}

// writeSuccess answers an accepted request of a sender that needs another answer than a 202.
func writeSuccess(w http.ResponseWriter, s admit.Success) (status int) {
	if s.Body != "" {
		w.Header()["Content-Type"] = []string{s.ContentType}
	}
	w.WriteHeader(s.Status)
	if s.Body != "" {
		io.WriteString(w, s.Body) // the sender may be gone
	}
	return s.Status
}
