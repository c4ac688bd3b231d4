package terminal

import (
	"io"
	"os"
)

// Colour is a colour of text, as ECMA-48 numbers it.
type Colour string

// The colours.
const (
	Red    Colour = "31"
	Green  Colour = "32"
	Yellow Colour = "33"
)

// Paint writes text to w, in a colour if w is a terminal and NO_COLOR is not set.
func Paint(w io.Writer, c Colour, text string) error {
	file, ok := Of(w)
	if !ok || os.Getenv("NO_COLOR") != "" {
		_, err := io.WriteString(w, text)
		return err
	}
	if _, err := io.WriteString(file, "\x1b["+string(c)+"m"); err != nil {
		return err
	}
	_, err := io.WriteString(w, text)
	file.WriteString("\x1b[0m")
	return err
}
