package admit

// Credential says which of a source's credentials a request proved itself with: by its position in
// the configuration, and never by its value. The zero value says nothing.
type Credential struct {
	Setting  Setting
	Position int // from 1
}

// Setting names the setting that a credential stands in.
type Setting int

// The settings.
const (
	Secrets Setting = iota
	BearerKeys
)

// positionOf is where a key stands in the configuration that is the i-th, from 1, of those in use.
func positionOf(positions []int, i int) int {
	if positions == nil || i == 0 {
		return i
	}
	return positions[i-1]
}
