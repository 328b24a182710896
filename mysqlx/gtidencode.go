package mysqlx

import "encoding/binary"

// gtidTagged in the highest and the lowest byte of the number of sources says that each source's UUID is followed by a tag.
const gtidTagged = 1

// HasTags says whether the set holds a transaction whose GTID has a tag. Servers before 8.3 cannot have it.
func (s GTIDSet) HasTags() bool {
	for _, g := range s.groups {
		if g.tag != "" {
			return true
		}
	}
	return false
}

// AppendEncoded appends the form in which servers exchange GTID sets: that of COM_BINLOG_DUMP_GTID and of a previous GTIDs event. A set without
// tags takes the form that all versions know; one with tags that of servers from 8.3 on, in which each source has a tag, perhaps an empty one. All
// integers are little-endian:
//
//	set    = count[8] source*
//	source = uuid[16] (tag_length[1] tag) intervals[8] (first[8] last+1 [8])*
//
// With tags count is shifted by 8 bits, its highest and its lowest byte are 1, and tag_length is twice the length. See the server's source
// documentation of Gtid_set::encode.
func (s GTIDSet) AppendEncoded(b []byte) []byte {
	tagged := s.HasTags()
	count := uint64(len(s.groups))
	if tagged {
		count = gtidTagged<<56 | count<<8 | gtidTagged
	}
	b = binary.LittleEndian.AppendUint64(b, count)
	for _, g := range s.groups {
		b = append(b, g.uuid[:]...)
		if tagged {
			b = append(append(b, byte(len(g.tag))<<1), g.tag...)
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(len(g.intervals)))
		for _, iv := range g.intervals {
			b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, iv.first), iv.last+1)
		}
	}
	return b
}

// Intersect returns the transactions that are in s and in o.
func (s GTIDSet) Intersect(o GTIDSet) GTIDSet { return s.Subtract(s.Subtract(o)) }

// HasSource says whether the set holds a transaction of the server with this server_uuid, with whatever tag.
func (s GTIDSet) HasSource(serverUUID string) bool {
	id, err := parseUUID(serverUUID)
	if err != nil {
		return false
	}
	for _, g := range s.groups {
		if g.uuid == id {
			return true
		}
	}
	return false
}
