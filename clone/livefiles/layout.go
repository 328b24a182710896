package livefiles

import "fmt"

// How the server cuts a file in FILE_COPY: in pages of innodb_page_size, whatever the size of the pages in the file is.
const (
	chunkPages = 4096
	blockPages = 64
)

// A layout holds the sizes of the parts a file is cut into, in bytes. Both are multiples of directAlign.
type layout struct{ chunk, block uint64 }

func newLayout(pageSize uint32) (layout, error) {
	if pageSize < 4<<10 || pageSize > 64<<10 || pageSize&(pageSize-1) != 0 {
		return layout{}, fmt.Errorf("innodb_page_size of %d bytes: want a power of two from 4 KiB to 64 KiB", pageSize)
	}
	return layout{chunk: chunkPages * uint64(pageSize), block: blockPages * uint64(pageSize)}, nil
}

// chunks is the number of chunks of a file of that many bytes.
func (l layout) chunks(size uint64) uint64 { return (size + l.chunk - 1) / l.chunk }
