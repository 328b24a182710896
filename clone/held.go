package clone

import "ordinal/stream"

// Whole reports whether everything has arrived: REDO_COPY, the last stage with data, is over.
func (d *Directory) Whole() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stage.Stage >= stream.StageRedoCopy && d.ended
}

// KnowsAllFiles reports whether FILE_COPY is open, or over, and each of its files has been announced.
func (d *Directory) KnowsAllFiles() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stage.Stage > stream.StageFileCopy || d.stage.Stage == stream.StageFileCopy && len(d.files) >= int(d.stage.Files)
}

// Held returns the stage that the copy is in, the donor's estimate of it in bytes, and how many bytes have arrived in all.
func (d *Directory) Held() (stage stream.Stage, total, done uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stage.Stage, d.stage.Bytes, d.bytes
}
