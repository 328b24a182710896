package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ordinal/internal/plan"
)

// Kind says what a volume holds, so what the agent has to do next.
type Kind int

const (
	// Empty: no data, nothing foreign. Quarantined data may be there.
	Empty Kind = iota
	// Complete: current points to the newest complete generation.
	Complete
	// Switching: a complete generation is newer than what current points to, on which a mysqld may still work. Call FinishSwitch.
	Switching
	// UnderWay: a clone or restore was begun and not completed, and there is no complete generation.
	UnderWay
	// Prepared: a directory was prepared for the image's first initialisation, which has not begun: it is still empty.
	// PrepareEmpty may be called again, or Discard.
	Prepared
	// NeverCompleted: the first initialisation has begun and was never marked complete. If no mysqld works on it
	// (InUse), it must not be started: quarantine it.
	NeverCompleted
	// ChangeUnderWay: a change of several steps was interrupted: an adoption, a quarantine, an undo. Call Resume.
	ChangeUnderWay
	// Foreign: the root has entries that are not ours, and there is no generation of ours that is complete.
	Foreign
)

var kindNames = [...]string{"empty", "complete", "switching", "under_way", "prepared", "never_completed", "change_under_way", "foreign"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// Content is what a volume holds.
type Content struct {
	Kind Kind
	// Generation is the number of the generation that Kind is about; 0 for Empty, ChangeUnderWay and Foreign.
	Generation int
	// Record is that of Generation, else nil.
	Record *Record
	// Current is the number that the link current points to, 0 if there is none.
	Current int
	// Records are those of all generations, by number.
	Records []Record
	// Unrecorded are numbers in gen/ without a record. They are left alone; beside no complete generation they are damage.
	Unrecorded []int
	// Foreign are the entries of the root that are not ours, sorted. They matter only for Kind Foreign.
	Foreign []string
	// Adoptable says, with Kind Foreign, that the entries are a data directory that Adopt can move.
	Adoptable bool
	// Quarantined are the names in quarantine/, oldest first. See ListQuarantine.
	Quarantined []string
	// Dropping are those whose removal was begun and not finished. Call Drop again.
	Dropping []string
	// Change describes what is under way, with Kind ChangeUnderWay.
	Change string
}

// Building returns the record of the generation under construction by a clone or restore, also beside a complete one.
func (c *Content) Building() (Record, bool) {
	for _, r := range slices.Backward(c.Records) {
		if r.State == StateBuilding && r.Origin != OriginInitialised {
			return r, true
		}
	}
	return Record{}, false
}

// record returns that of generation n, or nil.
func (c *Content) record(n int) *Record {
	for i := range c.Records {
		if c.Records[i].Number == n {
			return &c.Records[i]
		}
	}
	return nil
}

// next returns the number for a new generation.
func (c *Content) next() (int, error) {
	n := 0
	for _, r := range c.Records {
		n = max(n, r.Number)
	}
	n = slices.Max(append(c.Unrecorded, n)) + 1
	if _, ok := parseGenName(genName(n)); !ok {
		return 0, state("generation %d is taken, there is no higher number", n-1)
	}
	return n, nil
}

// Inspect tells what the volume at path holds. It changes nothing and takes no lock, so while another process changes the
// volume it may see a state between two. The error is [ErrDamaged] if the layout is not one of ours; the data is then
// not to be touched.
func Inspect(path string) (*Content, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("inspect volume: %w", err)
	}
	root, err := openRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return inspect(root)
}

// Inspect is the function [Inspect] for this volume.
func (v *Volume) Inspect() (*Content, error) { return inspect(v.root) }

func inspect(root *os.Root) (*Content, error) {
	c, err := look(root)
	if err == nil {
		err = c.judge(root)
	}
	if err != nil {
		return nil, fmt.Errorf("inspect volume %s: %w", root.Name(), err)
	}
	return c, nil
}

// look collects what is there.
func look(root *os.Root) (*Content, error) {
	c := new(Content)
	names, err := readNames(root, ".")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		switch name {
		case agentDir:
			err = c.lookAgent(root)
		case genDir: // after agent, by the order of names
			err = c.lookGen(root)
		case quarantineDir:
			err = c.lookQuarantine(root)
		case currentLink:
			c.Current, err = readCurrent(root)
		default:
			if !ignored(name) && !isSocket(name) {
				c.Foreign = append(c.Foreign, name)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	c.Adoptable = adoptable(root)
	return c, nil
}

// ignored reports whether an entry of the root is neither ours nor data. mysqld too skips dot entries and lost+found.
func ignored(name string) bool { return name == "lost+found" || strings.HasPrefix(name, ".") }

// isSocket reports whether an entry of the root is named like the server's socket or its lock file: the official image's entry point
// makes a link mysql.sock in the volume's root at every start. It is not looked into, and no data has such a name, in which
// mysqld would write the dot as @002e.
func isSocket(name string) bool {
	name = strings.TrimSuffix(name, ".lock")
	return name == "mysql.sock" || name == "mysqlx.sock"
}

func (c *Content) lookAgent(root *os.Root) error {
	if err := checkLayoutDir(root, agentDir); err != nil {
		return err
	}
	names, err := readNames(root, agentDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		m := recordName.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		n, ok := parseGenName(m[1])
		if !ok {
			return damagedFile(root, path.Join(agentDir, name), errors.New("there is no such generation"))
		}
		r, err := readRecord(root, n)
		if err != nil {
			return err
		}
		c.Records = append(c.Records, r)
	}
	return nil
}

func (c *Content) lookGen(root *os.Root) error {
	if err := checkLayoutDir(root, genDir); err != nil {
		return err
	}
	names, err := readNames(root, genDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		n, ok := parseGenName(name)
		if !ok {
			if ignored(name) {
				continue
			}
			c.Foreign = append(c.Foreign, path.Join(genDir, name))
			continue
		}
		if err := checkLayoutDir(root, genPath(n)); err != nil {
			return err
		}
		if c.record(n) == nil {
			c.Unrecorded = append(c.Unrecorded, n)
		}
	}
	return nil
}

func (c *Content) lookQuarantine(root *os.Root) error {
	if err := checkLayoutDir(root, quarantineDir); err != nil {
		return err
	}
	names, err := readNames(root, quarantineDir)
	for _, name := range names {
		if dropped, ok := strings.CutPrefix(name, droppingPrefix); ok {
			c.Dropping = append(c.Dropping, dropped)
		} else if !ignored(name) {
			c.Quarantined = append(c.Quarantined, name)
		}
	}
	return err
}

func readCurrent(root *os.Root) (int, error) {
	const hint = "the agent makes it a relative symbolic link to gen/NNNNNN: remove what is there if you know that it holds no data, else move it away"
	full := filepath.Join(root.Name(), currentLink)
	st, err := root.Lstat(currentLink)
	if err != nil {
		return 0, fmt.Errorf("read link %s: %w", full, err)
	}
	if st.Mode().Type() != fs.ModeSymlink {
		return 0, damaged(hint, "%s is not a symbolic link", full)
	}
	target, err := root.Readlink(currentLink)
	if err != nil {
		return 0, fmt.Errorf("read link %s: %w", full, err)
	}
	n, ok := parseGenName(path.Base(target))
	if !ok || target != genPath(n) {
		return 0, damaged(hint, "%s points to %q, not to a generation", full, target)
	}
	return n, nil
}

// judge sets Kind and what goes with it, or finds the layout damaged.
func (c *Content) judge(root *os.Root) error {
	switch p, err := plan.Load(root, planFile); {
	case err == nil:
		c.Kind, c.Change = ChangeUnderWay, p.Description
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return damaged("keep the volume as it is and look at the file", "%v", err)
	}
	newest, building := 0, 0
	for _, r := range c.Records {
		if r.State == StateComplete {
			newest = r.Number
		} else {
			building = r.Number
		}
	}
	switch {
	case newest > 0:
		return c.judgeComplete(root, newest)
	case c.Current > 0 && c.record(c.Current) == nil:
		return damaged("keep the data: move the directory out of the volume before anything else",
			"%s points to generation %d, of which there is no record", currentLink, c.Current)
	case len(c.Foreign) > 0 && (c.Adoptable || building == 0):
		c.Kind = Foreign
		return nil
	case len(c.Unrecorded) > 0:
		return damaged("keep the data: move the directory out of the volume before anything else",
			"%s has no record in %s/", genPath(c.Unrecorded[0]), agentDir)
	case building > 0:
		return c.judgeBuilding(root, max(c.Current, building))
	}
	c.Kind = Empty
	return nil
}

func (c *Content) judgeComplete(root *os.Root, newest int) error {
	c.about(newest)
	if _, err := root.Lstat(genPath(newest)); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look at %s: %w", genPath(newest), err)
		}
		return damaged(fmt.Sprintf("bring the directory back, or remove %s if its data is given up", recordPath(newest)),
			"generation %d is recorded as complete, but %s is missing", newest, genPath(newest))
	}
	if c.Current != newest {
		if c.Current > newest || c.Current > 0 && c.record(c.Current) == nil {
			return damaged("keep the data and point current by hand", "%s points to generation %d; the newest complete one is %d", currentLink, c.Current, newest)
		}
		c.Kind = Switching
		return nil
	}
	marked, err := hasMarker(root, newest)
	if err != nil {
		return err
	}
	if marked {
		return damaged("something cloned into the data directory behind the agent's back: let it finish, or move the directory out of the volume",
			"%s is complete but holds %s; no mysqld starts on it", genPath(newest), markerFile)
	}
	c.Kind = Complete
	return nil
}

func (c *Content) judgeBuilding(root *os.Root, n int) error {
	c.about(n)
	if c.Record.Origin != OriginInitialised {
		if c.Current > 0 {
			return damaged("remove the link current", "%s points to generation %d, which is not complete", currentLink, c.Current)
		}
		c.Kind = UnderWay
		return nil
	}
	names, err := readNames(root, genPath(n))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.Kind = Prepared
	if slices.ContainsFunc(names, func(name string) bool { return !ignored(name) }) {
		c.Kind = NeverCompleted
	}
	return nil
}

func (c *Content) about(n int) { c.Generation, c.Record = n, c.record(n) }

// hasMarker reports whether generation n holds the file that keeps mysqld from starting.
func hasMarker(root *os.Root, n int) (bool, error) {
	name := path.Join(genPath(n), markerFile)
	switch _, err := root.Lstat(name); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look at %s: %w", filepath.Join(root.Name(), name), err)
	}
}

// adoptable reports whether the root is itself a data directory.
func adoptable(root *os.Root) bool {
	dir, err := root.Lstat("mysql")
	file, err2 := root.Lstat("ibdata1")
	return err == nil && err2 == nil && dir.IsDir() && file.Mode().IsRegular()
}

func sortEntries(entries []fs.DirEntry) {
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
}
