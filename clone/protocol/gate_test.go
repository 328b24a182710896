package protocol

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		g := newGate()
		if !g.attach(1) || !g.attach(2) {
			t.Fatal("attach = false before finish")
		}
		var entered, drained bool
		go func() {
			if at, err := g.await(ctx, StateFileCopy); at != StateFileCopy || err != nil {
				t.Errorf("await = %v, %v", at, err)
			}
			entered = true
		}()
		synctest.Wait()
		if entered {
			t.Error("a worker entered FILE_COPY before main")
		}
		g.enter(StateFileCopy)
		synctest.Wait()
		if !entered {
			t.Error("a worker waits for FILE_COPY although main has entered it")
		}

		go func() {
			if err := g.drain(ctx, StateFileCopy); err != nil {
				t.Errorf("drain: %v", err)
			}
			drained = true
		}()
		g.end(1, StateFileCopy)
		g.attach(3) // late: it counts, too
		g.end(2, StateFileCopy)
		synctest.Wait()
		if drained {
			t.Error("main left FILE_COPY before worker 3")
		}
		g.end(3, StateFileCopy)
		synctest.Wait()
		if !drained {
			t.Error("main waits although every worker ended FILE_COPY")
		}

		g.finish()
		if g.attach(4) {
			t.Error("attach = true after finish")
		}
	})
}

func TestGateEndsWithItsContext(t *testing.T) {
	g := newGate()
	g.attach(1)
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := g.await(ctx, StateFileCopy); err != why {
		t.Errorf("await = %v, want the cause", err)
	}
	if err := g.drain(ctx, StateFileCopy); err != why {
		t.Errorf("drain = %v, want the cause", err)
	}
	g.leave(1)
	if err := g.drain(ctx, StateFileCopy); err != nil {
		t.Errorf("drain without workers = %v", err)
	}
}

func TestFiles(t *testing.T) {
	data := func(i uint32, s State, flags FileFlags) FileMeta {
		return FileMeta{State: s, Index: i, Flags: flags, Name: "a.ibd"}
	}
	redo := func(i uint32, size uint64) FileMeta {
		return FileMeta{State: StateRedoCopy, Index: i, SpaceID: SpaceRedo, Size: size}
	}
	var f files
	for i, step := range []struct {
		file  FileMeta
		batch bool
		news  bool
		bad   bool
	}{
		{file: data(1, StateFileCopy, 0), bad: true}, // not dense
		{file: data(0, StateFileCopy, 0), news: true},
		{file: data(0, StateFileCopy, 0), bad: true}, // again
		{file: data(0, StateFileCopy, FileDeleted), news: true},
		{file: data(1, StatePageCopy, 0), bad: true}, // new outside of a batch
		{file: data(1, StatePageCopy, 0), batch: true, news: true},
		{file: data(2, StatePageCopy, FileDeleted), batch: true, news: true},
		{file: data(1, StatePageCopy, FileRenamed), batch: true, news: true},
		{file: data(1, StatePageCopy, FileDeleted), news: true},
		{file: data(2, StateRedoCopy, FileRenamed), batch: true, news: true},
		{file: redo(0, 1), batch: true, bad: true},
		{file: redo(1, 1), bad: true},
		{file: redo(0, 1), news: true},
		{file: redo(0, 1)},
		{file: redo(0, 2), news: true},
		{file: redo(0, 1)},
		{file: data(1, StateRedoCopy, 0), bad: true},
	} {
		news, err := f.note(step.file, step.batch)
		if news != step.news || errors.Is(err, ErrProtocol) != step.bad {
			t.Errorf("step %d: note = %v, %v, want %v, error %v", i, news, err, step.news, step.bad)
		}
	}
	for _, d := range []Data{{State: StateFileCopy, File: 2}, {State: StateRedoCopy, File: 0}} {
		if err := f.check(d); err != nil {
			t.Errorf("check(%+v) = %v", d, err)
		}
	}
	for _, d := range []Data{{State: StateFileCopy, File: 3}, {State: StateRedoCopy, File: 1}} {
		if err := f.check(d); !errors.Is(err, ErrProtocol) {
			t.Errorf("check(%+v) = %v, want ErrProtocol", d, err)
		}
	}
}

// A receiver that knows three files, or not all of them, hears of those it lacks.
func TestFilesResumed(t *testing.T) {
	file := func(i uint32, flags FileFlags) FileMeta {
		return FileMeta{State: StateFileCopy, Index: i, Flags: flags, Name: "a.ibd"}
	}
	type step struct {
		file FileMeta
		news bool
		bad  bool
	}
	for name, tt := range map[string]struct {
		held  Progress
		steps []step
	}{
		"all known": {
			held: Progress{State: StateFileCopy, Files: 3, AllFiles: true},
			steps: []step{
				{file: file(0, 0), bad: true},
				{file: file(2, FileDeleted), news: true},
				{file: file(3, 0), news: true}, // the donor's own count is not checked here
			},
		},
		"announced again": {
			held: Progress{State: StateFileCopy, Files: 3},
			steps: []step{
				{file: file(1, 0), bad: true},
				{file: file(0, 0)},
				{file: file(0, 0), bad: true},
				{file: file(1, FileDeleted), news: true},
				{file: file(1, 0)},
				{file: file(2, 0)},
				{file: file(2, 0), bad: true},
				{file: file(4, 0), bad: true},
				{file: file(3, 0), news: true},
				{file: file(3, 0), bad: true},
			},
		},
		"a stage further": {
			held: Progress{State: StatePageCopy, Files: 3, AllFiles: true},
			steps: []step{
				{file: FileMeta{State: StatePageCopy, Index: 3, Name: "b.ibd"}, bad: true},
				{file: FileMeta{State: StatePageCopy, Index: 2, Flags: FileDeleted}, news: true},
			},
		},
		"redo": {
			held: Progress{State: StateRedoCopy, Files: 3, AllFiles: true, RedoFiles: 2},
			steps: []step{
				{file: FileMeta{State: StateRedoCopy, Index: 1, SpaceID: SpaceRedo, Size: 1}, news: true}, // its size is
				{file: FileMeta{State: StateRedoCopy, Index: 1, SpaceID: SpaceRedo, Size: 1}},
				{file: FileMeta{State: StateRedoCopy, Index: 3, SpaceID: SpaceRedo, Size: 1}, bad: true},
				{file: FileMeta{State: StateRedoCopy, Index: 2, SpaceID: SpaceRedo, Size: 1}, news: true},
			},
		},
	} {
		var f files
		f.resume(tt.held)
		for i, s := range tt.steps {
			news, err := f.note(s.file, false)
			if news != s.news || errors.Is(err, ErrProtocol) != s.bad {
				t.Errorf("%s: step %d: note = %v, %v, want %v, error %v", name, i, news, err, s.news, s.bad)
			}
		}
	}
}
