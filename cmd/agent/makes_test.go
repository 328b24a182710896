package main

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"ordinal/backup"
	"ordinal/backup/store"
	"ordinal/backup/store/dirstore"
	"ordinal/internal/trust"
	"ordinal/stream"
)

// makes puts a small backup of the set db into a store in a directory, sealed under the secret in the file secret: `makes store 20261121T120000Z-00000001`.
// Behind it an age recipient or the path of a file with a passphrase may be given.
func makes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: makes directory id [recipient|passphrase-file]")
	}
	created, err := backup.ParseID(args[1])
	ts.Check(err)
	ring, err := trust.LoadRing(ts.MkAbs("secret"))
	ts.Check(err)
	keys := backup.Keys{Seal: ring.BackupKeys()}
	if len(args) == 3 {
		if r, err := age.ParseX25519Recipient(args[2]); err == nil {
			keys.Recipients = []backup.Recipient{{Recipient: r, Name: args[2]}}
		} else {
			keys.Passphrase, err = readPassphrase("passphrase", ts.MkAbs(args[2]))
			ts.Check(err)
		}
	}
	to, err := dirstore.New(ts.MkAbs(args[0]))
	ts.Check(err)
	ctx := context.Background()
	ts.Check(store.Claim(ctx, to, "c0ffee", "db", created))
	_, err = backup.Create(ctx, to, backup.Job{
		ID: args[1], Cluster: "c0ffee", Set: "db", Created: created, Donor: backup.Donor{Pod: "db-1", Role: "replica"}, Keys: keys,
		Hello:        stream.Hello{SessionID: "s", DonorPod: "db-1", ServerVersion: "9.7.4", PageSize: pageSize, GTIDExecuted: "5b2a1c3e-e5b2-11f1-927f-02fc00000001:1-5"},
		SegmentBytes: 8 * pageSize, Workers: 1, Uploads: 1, Lag: 1500 * time.Millisecond,
	}, smallCopy)
	ts.Check(err)
}

const pageSize = 16 << 10

// smallCopy is a copy of ibdata1 and of one table, with a redo log.
func smallCopy(_ context.Context, to backup.Taker) (backup.Copied, error) {
	var err error
	do := func(e error) {
		if err == nil {
			err = e
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	file := func(s stream.Stage, index, space uint32, name string, pages uint64) {
		do(to.File(stream.File{Stage: s, Index: index, SpaceID: space, BlockSize: 4096, Size: pages * pageSize, Alloc: pages * pageSize, Name: name}))
	}
	put := func(s stream.Stage, index, space uint32, pages uint32) {
		for first := uint32(0); first < pages; first += 4 {
			var data []byte
			for no := first; no < first+4; no++ {
				data = append(data, soundPage(r, space, no)...)
			}
			do(to.Data(stream.DataHeader{
				Stage: s, Task: uint16(index), File: index, Chunk: 1 + index, Block: 1 + first/4, Offset: uint64(first) * pageSize, FileSize: uint64(pages) * pageSize,
			}, data))
		}
	}
	stage := func(s stream.Stage, content func()) {
		do(to.StageStart(stream.StageStart{Stage: s, Chunks: 10, Bytes: 1 << 20}))
		content()
		do(to.StageEnd(s))
	}
	stage(stream.StageFileCopy, func() {
		file(stream.StageFileCopy, 0, 0, "ibdata1", 12)
		file(stream.StageFileCopy, 1, 101, "./shop/orders.ibd", 16)
		put(stream.StageFileCopy, 0, 0, 12)
		put(stream.StageFileCopy, 1, 101, 16)
	})
	stage(stream.StagePageCopy, func() {})
	stage(stream.StageRedoCopy, func() {
		file(stream.StageRedoCopy, 0, 0xFFFFFFF0, "", 4)
		put(stream.StageRedoCopy, 0, 0xFFFFFFF0, 4)
	})
	return backup.Copied{Files: 3, Bytes: 32 * pageSize, Pages: 28, GTIDAtMost: "5b2a1c3e-e5b2-11f1-927f-02fc00000001:1-9"}, err
}

// soundPage returns a page that passes every check, with content by chance.
func soundPage(r *rand.Rand, space, no uint32) []byte {
	p := make([]byte, pageSize)
	for i := 0; i < pageSize/2; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], r.Uint64())
	}
	be := binary.BigEndian
	be.PutUint32(p[4:], no)
	be.PutUint64(p[16:], 0x1_0000_0007)
	be.PutUint16(p[24:], 17855) // an index page
	be.PutUint64(p[26:], 0)
	be.PutUint32(p[34:], space)
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Checksum(p[4:26], table) ^ crc32.Checksum(p[38:pageSize-8], table)
	be.PutUint32(p, crc)
	be.PutUint32(p[pageSize-8:], crc)
	be.PutUint32(p[pageSize-4:], 7)
	return p
}
