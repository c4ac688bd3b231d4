package admit

// Credential says which of a source's credentials authenticated a request: by its position in the
// configuration, never by its value. The zero value means none.
type Credential struct {
	Setting  Setting
	Position int // from 1
}

// Setting is the setting that has a credential.
type Setting int

// The settings.
const (
	Secrets Setting = iota
	BearerKeys
)

// positionOf returns the position in the configuration of the i-th key in use, counted from 1.
func positionOf(positions []int, i int) int {
	if positions == nil || i == 0 {
		return i
	}
	return positions[i-1]
}
