package innodb

import "encoding/binary"

// Checksums that 8.0 and later do not write by default but that files upgraded
// from older servers, or written with another innodb_checksum_algorithm, still hold.
// See refman/8.0 innodb-parameters, innodb_checksum_algorithm.

// olderChecksum reports whether the two stored checksums are those of the algorithms "innodb" or "none".
func olderChecksum(page []byte, head, tail uint32) bool {
	if head == noChecksum && tail == noChecksum {
		return true
	}
	return tail == fold(page[:offUnused]) &&
		head == fold(page[offNumber:offUnused])+fold(page[offBody:len(page)-trailer])
}

// fold is the hash of the algorithm "innodb".
func fold(b []byte) uint32 {
	const mask1, mask2 = 1463735687, 1653893711
	var h uint32
	for _, c := range b {
		n := uint32(c)
		h = ((h^n^mask2)<<8 + h) ^ mask1
		h += n
	}
	return h
}

// zipAdler is the checksum "innodb" of a page with ROW_FORMAT=COMPRESSED: Adler-32, but it begins with 0.
func zipAdler(page []byte) uint32 {
	const mod = 65521
	var s1, s2 uint32
	for _, part := range [...][]byte{page[offNumber:offLSN], page[offType:offUnused], page[offSpace:]} {
		for _, c := range part {
			s1 = (s1 + uint32(c)) % mod
			s2 = (s2 + s1) % mod
		}
	}
	return s2<<16 | s1
}

// firstPage reads what page 0 of a tablespace says of it.
func firstPage(page []byte) (space uint32, flags Flags) {
	const offFlags = 54
	return binary.BigEndian.Uint32(page[offBody:]), Flags(binary.BigEndian.Uint32(page[offFlags:]))
}
