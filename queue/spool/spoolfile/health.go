package spoolfile

// health says whether the writer can write. It belongs to the writer's goroutine.
//
//	phase           event                                               next phase
//	any             a transaction fails                                 healthUnknown
//	healthUnknown   the records were counted, and nothing has failed    healthWorks
//	healthUnknown   the records were counted after a failure            healthDoubtful
//	healthWorks     the file is not in its place                        healthDoubtful
//	healthDoubtful  a transaction of at least failedBytes commits       healthWorks
//
// The first phase is healthUnknown. Only the methods of health change it.
type health struct {
	phase healthPhase
	// failedBytes is the size of the largest group that has failed since healthWorks; at least 1 in
	// healthDoubtful. A smaller group may still find room on a full disk and proves nothing.
	failedBytes int
}

type healthPhase int

const (
	// healthUnknown: the outcome of a transaction is unknown, or nothing was read yet. The writer must
	// count the records before it writes.
	healthUnknown healthPhase = iota
	// healthDoubtful: the count is right, but writing has failed since it last worked.
	healthDoubtful
	// healthWorks: the count is right, and the last large transaction committed.
	healthWorks
)

// transactionFailed notes that a transaction of so many bytes failed.
func (h *health) transactionFailed(bytes int) {
	h.failedBytes = max(h.failedBytes, bytes, 1)
	h.phase = healthUnknown
}

// accessFailed notes that the file could not be read, or is not in its place.
func (h *health) accessFailed() {
	h.failedBytes = max(h.failedBytes, 1)
	if h.phase == healthWorks {
		h.phase = healthDoubtful
	}
}

// counted notes that the records of the file were counted.
func (h *health) counted() {
	h.phase = healthDoubtful
	if h.failedBytes == 0 {
		h.phase = healthWorks
	}
}

// committed notes that a transaction of so many bytes committed. It reports whether that proves
// that writing works.
func (h *health) committed(bytes int) bool {
	if bytes < h.failedBytes {
		return false
	}
	h.phase, h.failedBytes = healthWorks, 0
	return true
}
