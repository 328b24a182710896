package clone

import "math/bits"

// defaultUnit is the granularity, in bytes, in which the arrival of a file without pages is recorded.
const defaultUnit = 16 << 10

// coverage records which parts of a file have arrived, in units of a page. It takes memory for what has arrived, not for what
// a donor says there is: sizes and offsets come from the network.
type coverage struct {
	unit   uint64 // bytes
	size   uint64 // bytes that have to arrive; what lies beyond is not recorded
	blocks map[uint64]*coverageBlock
	n      uint64 // units that have arrived
}

// A coverageBlock is 4096 units, a bit each.
type coverageBlock [64]uint64

const blockUnits = uint64(len(coverageBlock{})) * 64

// fullBlock stands for every block that has arrived as a whole: most of a large file has. It is never written to.
var fullBlock = func() *coverageBlock {
	var b coverageBlock
	for i := range b {
		b[i] = ^uint64(0)
	}
	return &b
}()

// add records n bytes at offset. A unit counts when its first byte is in the range: a file's last unit may be short.
func (c *coverage) add(offset, n uint64) {
	if c.n >= c.units() {
		return
	}
	end := min(offset+n, c.size)
	for u := (offset + c.unit - 1) / c.unit; u*c.unit < end; u++ {
		c.addUnit(u)
	}
	if c.n == c.units() {
		c.blocks = nil // nothing is missing, so there is nothing to tell apart
	}
}

func (c *coverage) addUnit(u uint64) {
	block := c.blocks[u/blockUnits]
	if block == nil {
		if c.blocks == nil {
			c.blocks = make(map[uint64]*coverageBlock)
		}
		block = new(coverageBlock)
		c.blocks[u/blockUnits] = block
	}
	word, bit := u%blockUnits/64, uint64(1)<<(u%64)
	if block[word]&bit != 0 {
		return
	}
	block[word] |= bit
	c.n++
	if u%blockUnits == blockUnits-1 && *block == *fullBlock {
		c.blocks[u/blockUnits] = fullBlock
	}
}

// units is how many have to arrive.
func (c *coverage) units() uint64 { return (c.size + c.unit - 1) / c.unit }

// missing is the first offset that has not arrived; ok is false when everything has.
func (c *coverage) missing() (offset uint64, ok bool) {
	if c.n >= c.units() {
		return 0, false
	}
	for u := uint64(0); ; u++ {
		block := c.blocks[u/blockUnits]
		if block == nil || block[u%blockUnits/64]&(1<<(u%64)) == 0 {
			return u * c.unit, true
		}
	}
}

// count is how many units of the block have arrived.
func (b *coverageBlock) count() (n uint64) {
	for _, word := range b {
		n += uint64(bits.OnesCount64(word))
	}
	return n
}

// reaches is the number after that of the last unit that has arrived.
func (b *coverageBlock) reaches() uint64 {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return uint64(64*i + bits.Len64(b[i]))
		}
	}
	return 0
}
