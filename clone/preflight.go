package clone

import (
	"context"
	"fmt"
)

// donorRoom is what the donor's own volume must have free, in bytes: its server keeps the redo that is written during PAGE_COPY there,
// and a donor whose disk is full stops taking writes.
const donorRoom = 256 << 20

// maxGTIDText is the longest GTID set, in bytes, that a recipient is told of before the copy.
const maxGTIDText = 256 << 10

// preflight refuses by name what a clone cannot carry, and returns by name what it will carry without its rows. executed is what the copy
// will have at least, "" if that takes too long to tell.
func (d *Donor) preflight(ctx context.Context) (executed string, warnings []string, err error) {
	facts, err := d.cfg.Server.Facts(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("ask the donor's server: %w", err)
	}
	if executed = facts.GTIDExecuted.String(); len(executed) > maxGTIDText {
		executed = ""
	}
	if !facts.ClonePluginActive {
		return "", nil, &RefusedError{
			Donor: d.cfg.Pod, Code: ReasonNoClonePlugin, Permanent: true,
			Message: "the clone plugin is not active; start mysqld with plugin-load-add=mysql_clone.so",
		}
	}
	if d.cfg.FreeBytes != nil {
		if free, err := d.cfg.FreeBytes(); err == nil && free < donorRoom {
			return "", nil, &RefusedError{
				Donor: d.cfg.Pod, Code: ReasonDonorNoSpace, RetryAfter: busyRetryAfter,
				Message: fmt.Sprintf("its volume has %d bytes free, the server needs %d while it is copied: %d are missing", free, uint64(donorRoom), donorRoom-free),
			}
		}
	}
	for _, check := range []struct {
		what string
		list func(context.Context) ([]string, error)
	}{
		{"encrypted tablespaces", d.cfg.Server.EncryptedTablespaces},
		{"tables with DATA DIRECTORY", d.cfg.Server.ExternalTablespaces},
	} {
		names, err := check.list(ctx)
		if err != nil {
			return "", nil, fmt.Errorf("look for %s: %w", check.what, err)
		}
		if len(names) > 0 {
			return "", nil, &UnsupportedError{What: check.what, Names: names}
		}
	}
	names, err := d.cfg.Server.NonInnoDBTables(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("look for tables that are not InnoDB: %w", err)
	}
	for _, name := range names {
		warnings = append(warnings, fmt.Sprintf("%s is not an InnoDB table: it arrives without its rows", name))
	}
	return executed, warnings, nil
}
