package certify

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// appendGzip appends src in gzip format.
//
// Judge computes the plan again, and compares the digest of each body as it was sent. So equal
// bodies must have equal compressed bytes in every build that judges a bundle. compress/gzip does
// not promise that: its output may change with a version of Go. If the plan had only the digest of
// the content, a forger could put the bytes that a wrong gate has stored into the ledger. This
// encoder never changes: one block with the fixed codes of RFC 1951, greedy, with the last place of
// each four bytes as the only candidate for a match.
func appendGzip(dst, src []byte) []byte {
	// no name, no time, unknown system
	w := bitWriter{dst: append(dst, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255)}
	w.write(1, 1) // the last block
	w.write(1, 2) // fixed codes
	const window, least, most = 32 << 10, 4, 258
	last := map[uint32]int{}
	for i := 0; i < len(src); {
		length, from := 0, 0
		if i+least <= len(src) {
			four := binary.LittleEndian.Uint32(src[i:])
			if at, ok := last[four]; ok && i-at <= window {
				for from = at; length < most && i+length < len(src) &&
					src[at+length] == src[i+length]; {
					length++
				}
			}
			last[four] = i
		}
		if length == 0 {
			w.literal(int(src[i]))
			i++
			continue
		}
		w.match(length, i-from)
		i += length
	}
	const endOfBlock = 256
	w.literal(endOfBlock)
	w.write(0, 7) // at most 7 bits are left over; write keeps none of a whole byte
	dst = binary.LittleEndian.AppendUint32(w.dst, crc32.ChecksumIEEE(src))
	return binary.LittleEndian.AppendUint32(dst, uint32(len(src)))
}

// bitWriter packs bits from the lowest one of each byte.
type bitWriter struct {
	dst  []byte
	held uint32
	n    int
}

// write writes the lowest n bits of v, from the lowest one.
func (w *bitWriter) write(v uint32, n int) {
	w.held |= v << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.dst = append(w.dst, byte(w.held))
		w.held >>= 8
	}
}

// code writes a Huffman code of n bits, from the highest one.
func (w *bitWriter) code(v uint32, n int) { w.write(bits.Reverse32(v)>>(32-n), n) }

// literal writes a symbol of the alphabet of literals and lengths.
func (w *bitWriter) literal(symbol int) {
	switch v := uint32(symbol); {
	case symbol < 144:
		w.code(0x30+v, 8)
	case symbol < 256:
		w.code(0x190+v-144, 9)
	case symbol < 280:
		w.code(v-256, 7)
	default:
		w.code(0xc0+v-280, 8)
	}
}

// match writes a repetition of length bytes, from 4 to 258, from distance bytes before.
func (w *bitWriter) match(length, distance int) {
	switch n := uint32(length - 3); {
	case length == 258:
		w.literal(285)
	case n < 8:
		w.literal(257 + int(n))
	default: // groups of four symbols, each with one more extra bit
		extra := bits.Len32(n) - 3
		w.literal(257 + 4*extra + int(n>>extra))
		w.write(n&(1<<extra-1), extra)
	}
	n := uint32(distance - 1)
	if n < 4 {
		w.code(n, 5)
		return
	}
	extra := bits.Len32(n) - 2
	w.code(uint32(2*extra)+n>>extra, 5)
	w.write(n&(1<<extra-1), extra)
}
