package clone

import (
	"container/list"
	"errors"
	"fmt"
	"sync"
)

// maxIdleFiles bounds the descriptors held for files nobody is writing at the moment; a copy may have 20 000 of them.
const maxIdleFiles = 128

// openFiles keeps recently written files open, so that neither a large table is reopened for every block nor a large schema
// exhausts the process's descriptors. Safe for concurrent use.
type openFiles struct {
	disk disk

	mu       sync.Mutex
	byID     map[fileID]*openFile
	idle     *list.List // of *openFile, the longest unused first
	noDirect bool       // the file system cannot be written to past the page cache
}

type openFile struct {
	diskFile
	bypass diskFile // the same file for writes past the page cache; nil until one is made
	id     fileID
	users  int
	place  *list.Element // in idle while users is 0
}

// Close closes both descriptors.
func (f *openFile) Close() error {
	err := f.diskFile.Close()
	if f.bypass != nil {
		err = errors.Join(err, f.bypass.Close())
	}
	return err
}

func newOpenFiles(on disk) *openFiles {
	return &openFiles{disk: on, byID: make(map[fileID]*openFile), idle: list.New()}
}

// acquire returns the open file of id, opening path for writing if need be. The caller releases it.
func (o *openFiles) acquire(id fileID, path string) (*openFile, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f, ok := o.byID[id]; ok {
		if f.users == 0 {
			o.idle.Remove(f.place)
		}
		f.users++
		return f, nil
	}
	file, err := o.disk.open(path, false)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f := &openFile{diskFile: file, id: id, users: 1}
	o.byID[id] = f
	return f, nil
}

// release gives f back. It may be closed by a later call; an error of that close is the caller's to report.
func (o *openFiles) release(f *openFile) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	f.users--
	if f.users > 0 {
		return nil
	}
	f.place = o.idle.PushBack(f)
	if o.idle.Len() <= maxIdleFiles {
		return nil
	}
	oldest := o.idle.Remove(o.idle.Front()).(*openFile)
	delete(o.byID, oldest.id)
	return oldest.Close()
}

// forget closes the idle file of id, if it is open: its path is about to change or to go.
func (o *openFiles) forget(id fileID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, ok := o.byID[id]
	if !ok {
		return nil
	}
	o.idle.Remove(f.place)
	delete(o.byID, id)
	return f.Close()
}

// closeAll closes every file. No file may be in use.
func (o *openFiles) closeAll() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for id, f := range o.byID {
		errs = append(errs, f.Close())
		delete(o.byID, id)
	}
	o.idle.Init()
	return errors.Join(errs...)
}
