package admit

// ProvenByHeader reports whether a request that passed CheckHeader is authentic with any body: its
// header has a secret and nothing signs the body. It is false for a source that authenticates
// nobody.
func ProvenByHeader(s Scheme, r *Request) bool {
	switch s := s.(type) {
	case *source:
		return byHeader(s.proof, r)
	case *shakingSource:
		return byHeader(s.proof, r)
	case *envelope:
		return len(r.Header[envelopeRule.Header]) == 0 // CheckHeader has compared the bearer key
	}
	return false
}

func byHeader(p proof, r *Request) bool {
	switch p := p.(type) {
	case token:
		return true
	case either:
		return byHeader(p.ways[p.pick(r)], r)
	}
	return false
}
