package replay

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"ordinal/mysqlx"
)

// stagedPrefix is what the names of files begin with that are written while others are executed. The server looks at none of them.
const stagedPrefix = "ordinal_replay.staged."

func stagedName(number int) string { return fmt.Sprintf("%s%06d", stagedPrefix, number) }

// A place is where a server looks for the relay logs of the replay's channel.
type place struct {
	dir   *os.Root
	base  string // their name up to the dot
	index string
	owner owner
}

// firstRelayLog is the number of the only relay log that is ours; the server makes the next one behind it.
const firstRelayLog = ".000001"

// put makes a staged file the channel's relay log. The channel must not exist.
func (p *place) put(staged string) (name string, err error) {
	name = p.base + firstRelayLog
	if err := p.dir.Rename(staged, name); err != nil {
		return "", writeError(err)
	}
	f, err := p.dir.OpenFile(p.index, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return "", writeError(err)
	}
	err = p.owner.give(f)
	if err == nil {
		_, err = f.WriteString("./" + name + "\n")
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", writeError(err)
	}
	return name, nil
}

// clean removes what an earlier replay has left. The channel must not exist.
func (p *place) clean() error {
	return p.remove(func(name string) bool { return strings.HasPrefix(name, stagedPrefix) || p.isRelayLog(name) })
}

// cleanRelayLogs removes what the server leaves of a channel that it forgot: normally nothing.
func (p *place) cleanRelayLogs() error { return p.remove(p.isRelayLog) }

func (p *place) remove(which func(name string) bool) error {
	entries, err := fs.ReadDir(p.dir.FS(), ".")
	if err != nil {
		return writeError(err)
	}
	for _, e := range entries {
		if name := e.Name(); e.Type().IsRegular() && which(name) {
			if err := p.dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return writeError(err)
			}
		}
	}
	return nil
}

// isRelayLog says whether a file is a relay log of the channel, or lists them.
func (p *place) isRelayLog(name string) bool {
	if strings.HasPrefix(name, p.index) { // perhaps with _crash_safe behind it
		return true
	}
	number, ok := strings.CutPrefix(name, p.base+".")
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// findPlace proves that dir is the data directory of the server and that its relay logs lie in it.
func findPlace(dir *os.Root, facts mysqlx.Facts, relay mysqlx.ReplayFacts) (*place, error) {
	uuid, err := serverUUID(dir)
	if err != nil {
		return nil, &RefusedError{
			Why: fmt.Sprintf("read auto.cnf in %s: %v", dir.Name(), err), Help: "give the data directory of the server, as this process sees it", Code: exitConfig,
		}
	}
	if !strings.EqualFold(uuid, facts.ServerUUID) {
		return nil, &RefusedError{
			Why:  fmt.Sprintf("%s is the data directory of server %s, and the server that answers is %s", dir.Name(), uuid, facts.ServerUUID),
			Help: "give the data directory of the server, as this process sees it", Code: exitConfig,
		}
	}
	if path.Clean(relay.Dir) != path.Clean(facts.DataDir) {
		return nil, &RefusedError{
			Why:  fmt.Sprintf("the server keeps its relay logs in %s, not in its data directory", relay.Dir),
			Help: "set relay_log and relay_log_index to names without a directory", Code: exitConfig,
		}
	}
	if strings.Contains(relay.Base, ".") {
		return nil, &RefusedError{
			Why: fmt.Sprintf("relay_log has a dot in its name: %s", relay.Base), Help: "set relay_log to a name without a dot", Code: exitConfig,
		}
	}
	return &place{dir: dir, base: relay.Base, index: relay.Index, owner: ownerOf(dir)}, nil
}

// serverUUID reads the file in which a server keeps it.
func serverUUID(dir *os.Root) (string, error) {
	f, err := dir.Open("auto.cnf")
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok && strings.ReplaceAll(strings.TrimSpace(key), "_", "-") == "server-uuid" {
			return strings.TrimSpace(value), nil
		}
	}
	return "", errors.Join(errors.New("it has no server-uuid"), lines.Err())
}
