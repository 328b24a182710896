package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	maxWarnings = 20
	maxWarning  = 400 // runes of each
)

// warnings are what was logged as such, for the result of a job. They may be added and listed concurrently.
type warnings struct {
	mu   sync.Mutex
	all  []string
	more int
}

// listenTo returns a logger that does what log does and keeps the warnings, whatever the level that log has.
func (w *warnings) listenTo(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return zapcore.NewTee(core, &warningCore{to: w}) }))
}

func (w *warnings) add(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case slices.Contains(w.all, text):
	case len(w.all) == maxWarnings:
		w.more++
	default:
		w.all = append(w.all, text)
	}
}

// list returns the warnings, each once, and never nil.
func (w *warnings) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append([]string{}, w.all...)
	if w.more > 0 {
		all = append(all, fmt.Sprintf("and %d more: see the log", w.more))
	}
	return all
}

// A warningCore is a zapcore.Core that keeps warnings.
type warningCore struct {
	to   *warnings
	with []zapcore.Field
}

func (*warningCore) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }
func (*warningCore) Sync() error                      { return nil }

func (c *warningCore) With(fields []zapcore.Field) zapcore.Core {
	return &warningCore{c.to, append(slices.Clip(c.with), fields...)}
}

func (c *warningCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) {
		return checked
	}
	return checked.AddCore(e, c)
}

func (c *warningCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range append(slices.Clip(c.with), fields...) {
		f.AddTo(values)
	}
	text := e.Message
	for i, key := range slices.Sorted(maps.Keys(values.Fields)) {
		separator := ", "
		if i == 0 {
			separator = ": "
		}
		text += fmt.Sprintf("%s%s=%v", separator, key, values.Fields[key])
	}
	c.to.add(clean(strings.TrimSpace(text), maxWarning))
	return nil
}
