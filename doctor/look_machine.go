package doctor

import (
	"bufio"
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where this process runs.
type machine struct {
	hostname  string
	uid, gid  int
	addresses []netip.Prefix
	hosts     hostsFile
	files     uint64 // descriptors that this process may have
	memory    uint64 // bytes that this process's control group may have; 0: no limit, or not known
	total     uint64 // bytes of memory that the machine has; 0: not known
	now       time.Time
}

func lookAtMachine(s Surroundings) (machine, error) {
	m := machine{uid: os.Geteuid(), gid: os.Getegid(), now: time.Now()}
	var err error
	if m.hostname, err = os.Hostname(); err != nil {
		return m, err
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return m, err
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			m.addresses = append(m.addresses, p)
		}
	}
	if m.hosts, err = readHosts(orElse(s.Hosts, "/etc/hosts")); err != nil && !os.IsNotExist(err) {
		return m, err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return m, err
	}
	m.files = limit.Cur // the runtime has raised it to the hard one
	m.memory, m.total = memoryLimit(), memoryTotal(orElse(s.Meminfo, "/proc/meminfo"))
	return m, nil
}

func orElse(value, standard string) string {
	if value == "" {
		return standard
	}
	return value
}

// has reports whether an address is this machine's own.
func (m machine) has(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, p := range m.addresses {
		if own := p.Addr().Unmap(); own == ip || own.IsLoopback() && p.Contains(ip) {
			return true
		}
	}
	return false
}

// hostsFile is what the file of host names says of this machine.
type hostsFile struct {
	kubelet bool     // a kubelet has written it, for a pod with a network of its own
	names   []string // all names in it
}

// readHosts reads the file. A kubelet begins it with a comment of its own, and gives a pod with a governing Service a line with its full name and its
// short one; a pod without has the short one alone.
func readHosts(path string) (h hostsFile, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return h, err
	}
	for line := range bytes.Lines(text) {
		words, comment, _ := strings.Cut(string(line), "#")
		if strings.HasPrefix(strings.TrimSpace(comment), "Kubernetes-managed hosts file") && !strings.Contains(comment, "host network") {
			h.kubelet = true
		}
		if fields := strings.Fields(words); len(fields) > 1 {
			h.names = append(h.names, fields[1:]...)
		}
	}
	return h, nil
}

// service returns the governing Service by which the kubelet calls a pod, with what follows it, like "mysql.shop.svc.cluster.local"; "" if the pod has none.
func (h hostsFile) service(pod string) string {
	for _, name := range h.names {
		if rest, ok := strings.CutPrefix(name, pod+"."); ok {
			return rest
		}
	}
	return ""
}

// has reports whether the file answers for a name, so that no name server is asked.
func (h hostsFile) has(name string) bool {
	name = strings.TrimSuffix(name, ".")
	for _, n := range h.names {
		if strings.EqualFold(strings.TrimSuffix(n, "."), name) {
			return true
		}
	}
	return false
}

// memoryLimit is the least that this process's control group and those above it may have. In a container the process sees its own group at the root.
func memoryLimit() (least uint64) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) != 3 {
			continue
		}
		var roots []string
		file := "memory.max"
		switch {
		case parts[1] == "": // version 2, perhaps beside version 1
			roots = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}
		case parts[1] == "memory" || strings.Contains(","+parts[1]+",", ",memory,"):
			roots, file = []string{"/sys/fs/cgroup/memory"}, "memory.limit_in_bytes"
		}
		for _, root := range roots {
			for dir := filepath.Join("/", parts[2]); ; dir = filepath.Dir(dir) {
				if n := readNumber(filepath.Join(root, dir, file)); n > 0 && n < 1<<60 && (least == 0 || n < least) {
					least = n
				}
				if dir == "/" {
					break
				}
			}
		}
	}
	return least
}

func readNumber(path string) uint64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64) // "max" is no number
	return n
}

// memoryTotal is the machine's memory in bytes. See proc_meminfo(5).
func memoryTotal(path string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}
