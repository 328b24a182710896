package binlog

import "io"

// A Writer writes transactions of other binlogs as one binlog that servers take, also as relay log. See docs/formats/errant-transactions.md. What it
// is given is written as it is; nothing is buffered. It is for one goroutine.
type Writer struct {
	out         io.Writer
	size        int64
	description Description // the last one written
	ended       bool
}

// NewWriter returns a Writer to out. Nothing is written before the first Describe: a file without transactions has no byte.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Size returns how many bytes were written.
func (w *Writer) Size() int64 { return w.size }

// Describe says what form the next transactions have, and that they come from another binlog than those before: the numbers by which a server executes
// transactions in parallel begin anew in each binlog, and at this event it waits for all transactions before.
func (w *Writer) Describe(d Description) error {
	first := w.size == 0
	if first {
		if err := w.write([]byte(magic)); err != nil {
			return err
		}
	}
	w.description = d
	if err := w.write(d.at(w.size)); err != nil || !first {
		return err
	}
	return w.write(d.noneBefore(w.size))
}

// DescribeOnce is Describe, unless d is of the very event that was described last.
func (w *Writer) DescribeOnce(d Description) error {
	if len(w.description.event) > 0 && len(d.event) > 0 && &w.description.event[0] == &d.event[0] {
		return nil
	}
	return w.Describe(d)
}

// Write takes bytes of transactions of the form that Describe has said, whole ones in the end.
func (w *Writer) Write(b []byte) (int, error) {
	n, err := w.out.Write(b)
	w.size += int64(n)
	return n, err
}

func (w *Writer) write(b []byte) error {
	_, err := w.Write(b)
	return err
}

// End writes the mark that shows that a file is complete, if anything was written.
func (w *Writer) End() error {
	if w.size == 0 || w.ended {
		return nil
	}
	w.ended = true
	return w.write(w.description.stop(w.size))
}
