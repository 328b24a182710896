package clone

import "ordinal/stream"

// Reached returns the stage that the copy is in, 0 before the first one, and whether that stage has ended. Of a Directory from LoadDirectory it says what
// whoever builds it from a kept sequence of events need not give it again.
func (d *Directory) Reached() (stage stream.Stage, ended bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stage.Stage, d.ended
}
