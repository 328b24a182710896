package protocol

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
)

// A ChunkSet is a set of a stage's chunks, as the bitmap that the donor reads: chunk c, counted from 1, is bit (c-1)%32 of word
// (c-1)/32. In JSON it is the base64 of its words, little-endian.
type ChunkSet []uint32

func chunkBit(c uint32) (word int, bit uint32) { return int((c - 1) / 32), 1 << ((c - 1) % 32) }

// Add puts chunk c, at least 1, into the set and makes room for it: callers bound c.
func (s *ChunkSet) Add(c uint32) {
	word, bit := chunkBit(c)
	s.grow(word + 1)
	(*s)[word] |= bit
}

func (s *ChunkSet) grow(words int) {
	if words > len(*s) {
		*s = append(*s, make(ChunkSet, words-len(*s))...)
	}
}

// Remove takes chunk c, at least 1, out of the set.
func (s ChunkSet) Remove(c uint32) {
	if word, bit := chunkBit(c); word < len(s) {
		s[word] &^= bit
	}
}

// Has reports whether chunk c is in the set.
func (s ChunkSet) Has(c uint32) bool {
	if c == 0 {
		return false
	}
	word, bit := chunkBit(c)
	return word < len(s) && s[word]&bit != 0
}

// Count returns the number of chunks in the set.
func (s ChunkSet) Count() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount32(word)
	}
	return n
}

// Union puts all chunks of o into the set.
func (s *ChunkSet) Union(o ChunkSet) {
	s.grow(len(o))
	for i, word := range o {
		(*s)[i] |= word
	}
}

// last returns the highest chunk of the set; 0 if it is empty.
func (s ChunkSet) last() uint32 {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] != 0 {
			return uint32(32*i + bits.Len32(s[i]))
		}
	}
	return 0
}

// allChunks returns the set of the chunks 1 to n.
func allChunks(n uint32) ChunkSet {
	s := make(ChunkSet, chunkWords(n))
	for i := range s {
		s[i] = 1<<32 - 1
	}
	if rest := n % 32; rest != 0 {
		s[len(s)-1] = 1<<rest - 1
	}
	return s
}

// chunkWords returns the number of words of a bitmap of n chunks.
func chunkWords(n uint32) int { return int((uint64(n) + 31) / 32) }

// MarshalJSON writes the set as a base64 string.
func (s ChunkSet) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 4*len(s))
	for _, word := range s {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return json.Marshal(b)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *ChunkSet) UnmarshalJSON(text []byte) error {
	var str string
	if err := json.Unmarshal(text, &str); err != nil {
		return fmt.Errorf("chunk set: %w", err)
	}
	b, err := base64.StdEncoding.DecodeString(str)
	if err != nil || len(b)%4 != 0 {
		return fmt.Errorf("chunk set of %d characters is not the base64 of 32-bit words", len(str))
	}
	*s = nil
	for ; len(b) > 0; b = b[4:] {
		*s = append(*s, binary.LittleEndian.Uint32(b))
	}
	return nil
}
