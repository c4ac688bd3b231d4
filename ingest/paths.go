package ingest

import (
	"encoding/hex"
	"strings"
)

// maxDecodings bounds how often a path is decoded in search of dots. Some upstreams decode twice.
const maxDecodings = 4

// climbs reports whether a path leads out of the folder of webhooks, whichever separators the
// upstream accepts and however often it decodes. A request must not reach other paths of the
// upstream.
func climbs(path string) bool {
	for range maxDecodings {
		if hasDots(path) {
			return true
		}
		decoded := decodeOnce(path)
		if decoded == path {
			return false
		}
		path = decoded
	}
	return true // no honest sender encodes a path so often
}

// overlong replaces encodings of a dot and of separators that are invalid UTF-8 but accepted by
// some decoders.
var overlong = strings.NewReplacer("\xc0\xae", ".", "\xc0\xaf", "/", "\xc1\x9c", "\\",
	"\xe0\x80\xae", ".", "\xe0\x80\xaf", "/")

// hasDots reports whether a segment of a path is "..", ignoring characters that some upstreams cut
// off.
func hasDots(path string) bool {
	if strings.IndexByte(path, 0xc0) >= 0 || strings.IndexByte(path, 0xc1) >= 0 ||
		strings.IndexByte(path, 0xe0) >= 0 {
		path = overlong.Replace(path)
	}
	if !strings.Contains(path, "..") {
		return false
	}
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool {
		return c == '/' ||
			c == '\\'
	}) {
		end := strings.IndexFunc(segment, func(c rune) bool { return c != '.' && c != ' ' })
		if end < 0 {
			end = len(segment)
		}
		ends := end == len(segment) || segment[end] == ';' || segment[end] < 0x20 || segment[end] == 0x7f
		if ends && strings.Trim(segment[:end], " ") == ".." {
			return true
		}
	}
	return false
}

// decodeOnce decodes percent-encoded bytes, and leaves invalid encodings as they are.
func decodeOnce(path string) string {
	i := strings.IndexByte(path, '%')
	if i < 0 {
		return path
	}
	decoded := []byte(path[:i])
	for ; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if c, err := hex.DecodeString(path[i+1 : i+3]); err == nil {
				decoded = append(decoded, c[0])
				i += 2
				continue
			}
		}
		decoded = append(decoded, path[i])
	}
	return string(decoded)
}
