package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ordinal/backup"
	"ordinal/backup/archive"
	"ordinal/backup/store"
	"ordinal/backup/store/dirstore"
	"ordinal/internal/binlog"
	"ordinal/internal/trust"
	"ordinal/mysqlx"
)

// binlogs are some that a real server has written.
const binlogs = "../../internal/binlog/testdata/9.7.4"

// archives puts the binlogs of a directory into the archive of the set db, sealed under the secret in the file secret: `archives store $BINLOGS`.
func archives(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: archives store directory")
	}
	ring, err := trust.LoadRing(ts.MkAbs("secret"))
	ts.Check(err)
	to, err := dirstore.New(ts.MkAbs(args[0]))
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(store.Claim(ctx, to, "c0ffee", "db", time.Now()))
	p, err := newPlayer(ts.MkAbs(args[1]))
	ts.Check(err)
	a, err := archive.New(archive.Options{
		Server: p, Store: to, Keys: backup.Keys{Seal: ring.BackupKeys()}, Cluster: "c0ffee", Set: "db", SegmentAge: 50 * time.Millisecond,
		WatermarkEvery: 50 * time.Millisecond, CompactEvery: -1,
	})
	ts.Check(err)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(running) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s := a.Status(); !s.Archived.Contains(p.executed) || s.ArchivedTo.IsZero(); s = a.Status() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("archived %v of %v: %s", s.Archived, p.executed, s.Error)
		}
	}
	stop()
	ts.Check(<-ended)
}

// A player is a server that has written some binlogs, and sends them as often as anybody wants.
type player struct {
	events   []playedEvent
	executed mysqlx.GTIDSet
}

type playedEvent struct {
	gtid mysqlx.GTIDSet // of the transaction that it is part of; empty for a format description
	raw  []byte
}

// newPlayer reads the binlogs of a directory.
func newPlayer(path string) (*player, error) {
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := binlog.Files(dir, "binlog")
	if err != nil {
		return nil, err
	}
	p := &player{}
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(path, name))
		if err == nil {
			err = p.read(name, raw)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *player) read(name string, raw []byte) error {
	r, err := binlog.NewReader(name, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	p.events = append(p.events, playedEvent{raw: r.Description().At(4)})
	var gtid mysqlx.GTIDSet
	for {
		e, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case e.Begins():
			b, err := r.Beginning(e)
			if err != nil {
				return err
			}
			if gtid, err = mysqlx.ParseGTIDSet(b.GTID()); err != nil {
				return err
			}
			p.executed = p.executed.Union(gtid)
		case e.StandsAlone():
			continue
		}
		p.events = append(p.events, playedEvent{gtid, raw[e.Position : e.Position+e.Size]})
	}
}

// BinlogState implements archive.Server.
func (p *player) BinlogState(ctx context.Context) (mysqlx.BinlogState, error) {
	return mysqlx.BinlogState{
		At: time.Now().UTC(), Seen: time.Now(), ServerUUID: "5b2a1c3e-e5b2-11f1-927f-02fc00000001", Version: "9.7.4", Executed: p.executed, Writable: true,
	}, ctx.Err()
}

// Dump implements archive.Server.
func (p *player) Dump(ctx context.Context, have mysqlx.GTIDSet) (archive.Dump, error) {
	d := &played{ctx: ctx}
	for _, e := range p.events {
		if e.gtid.IsEmpty() || !have.Contains(e.gtid) {
			d.left = append(d.left, e.raw)
		}
	}
	return d, ctx.Err()
}

// played is a binary log on its way.
type played struct {
	ctx   context.Context
	left  [][]byte
	event []byte
}

func (d *played) Next() (mysqlx.DumpEvent, error) {
	if len(d.left) == 0 { // an idle server
		select {
		case <-time.After(5 * time.Millisecond):
			return mysqlx.DumpEvent{Type: byte(binlog.TypeHeartbeat), Size: 40}, nil
		case <-d.ctx.Done():
			return mysqlx.DumpEvent{}, errors.New("connection closed")
		}
	}
	d.event, d.left = d.left[0], d.left[1:]
	return mysqlx.DumpEvent{
		Type: d.event[4], Timestamp: binary.LittleEndian.Uint32(d.event), Size: int64(len(d.event)), Flags: binary.LittleEndian.Uint16(d.event[17:]),
	}, nil
}

func (d *played) Read(b []byte) (int, error) {
	if len(d.event) == 0 {
		return 0, io.EOF
	}
	n := copy(b, d.event)
	d.event = d.event[n:]
	return n, nil
}

func (d *played) Close() error { return nil }
