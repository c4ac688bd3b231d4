package pull

// Held returns the size of the bodies of all batches that are not closed.
func (s *Server) Held() (held int64) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.config.Memory - s.memory.free
}
