package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"ordinal/agent"
	"ordinal/internal/progress"
	"ordinal/internal/volume"
)

const (
	// donorRoom is what a donor has to have free, in bytes: see docs/requirements.md.
	donorRoom = 256 << 20
	fewInodes = 1000
)

const security = "securityContext: # of the pod\n  runAsUser: 999\n  runAsGroup: 999\n  fsGroup: 999\n  fsGroupChangePolicy: OnRootMismatch"

// claim is how a pod gets a volume.
const claim = "volumeMounts: # of init, agent and mysql\n- {name: data, mountPath: /var/lib/mysql}\nvolumeClaimTemplates: # of the StatefulSet\n- metadata: {name: data}\n  spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Gi}}}"

// notFit are file systems that lack what the layout of the volume needs, or do not do it across machines.
var notFit = map[string]string{
	"nfs": "has no reliable locks", "nfs4": "has no reliable locks", "cifs": "has no symbolic links and locks as they are needed", "smb3": "has no symbolic links and locks as they are needed",
	"vfat": "has no symbolic links", "exfat": "has no symbolic links", "msdos": "has no symbolic links", "9p": "does not write to disk when it says so", "iso9660": "cannot be written to", "squashfs": "cannot be written to",
}

// volumeChecks are about what lies at --volume.
func volumeChecks() []Check {
	return []Check{
		{
			ID: "volume", Title: "a volume of the right kind is mounted",
			Why:    "data in a container's own layer, or in memory, is gone with the container; some file systems cannot keep it safe",
			Remedy: "Mount a volume claim at `--volume` in all containers of the pod: ext4 or XFS on block storage.",
			judge:  judgeVolume,
		},
		{
			ID: "volume-writable", Title: "the agent may write to the volume",
			Why:    "nothing can be prepared, cloned or repaired",
			Remedy: "Run everything as uid and gid 999 and set `fsGroup: 999`; mount the volume without `readOnly`.",
			after:  []string{"volume"},
			judge:  judgeWritable,
		},
		{
			ID: "user", Title: "agent and mysqld are the same user",
			Why:    "one cannot read or replace what the other has written",
			Remedy: "Give all containers the same `runAsUser`: the one of the image's mysqld, 999 in the official one.",
			after:  []string{"volume", "volume-writable"},
			judge:  judgeUser,
		},
		{
			ID: "volume-space", Title: "there is room on the volume",
			Why:    "a full volume stops mysqld; a new copy of the data is made beside the old one",
			Remedy: "Enlarge the volume to twice the size of the data and a bit more, or drop what is in quarantine: `agent quarantine list`.",
			after:  []string{"volume"},
			judge:  judgeSpace,
		},
		{
			ID: "volume-inodes", Title: "there are inodes left on the volume",
			Why:    "no file can be made although there is room",
			Remedy: "Remove what made so many files, or make the file system anew with more inodes (`mkfs.ext4 -i`).",
			after:  []string{"volume"},
			judge:  judgeInodes,
		},
		{
			ID: "volume-content", Title: "the volume holds what the agent made, or nothing",
			Why:    "agent init does not touch what is not its own, and so does not start",
			Remedy: "`--adopt` takes a data directory over; other files have to be moved away. Do not mount the volume with a subPath that others write to.",
			after:  []string{"volume", "volume-writable"},
			judge:  judgeContent,
		},
		{
			ID: "config-dir", Title: "mysqld's configuration can be written",
			Why:    "without its file mysqld starts with another data directory and another identity",
			Remedy: "Mount an `emptyDir` at `/etc/mysql/conf.d` in init, agent and mysql.",
			judge:  judgeConfigDir,
		},
	}
}

func judgeVolume(e *exam) finding {
	if !e.volume.known() {
		return e.volume.unseen()
	}
	v := e.volume.it
	if v.statErr != nil {
		if errors.Is(v.statErr, fs.ErrPermission) {
			return fault(v.statErr.Error(), security)
		}
		return fault(fmt.Sprintf("there is no directory at %s: %v", e.cfg.Volume, rootCause(v.statErr)), claim)
	}
	m := v.mount
	switch why := notFit[m.kind]; {
	case why != "":
		return fault(fmt.Sprintf("%s is on %s, which %s", e.cfg.Volume, m.kind, why), "take a storage class that gives block storage with ext4 or XFS")
	case m.kind == "overlay":
		return fault(fmt.Sprintf("nothing is mounted at %s: it is in the container's own layer (overlay at %s)", e.cfg.Volume, m.point), claim)
	case m.kind == "tmpfs" || m.kind == "ramfs":
		return risk(fmt.Sprintf("%s is in memory (%s at %s)", e.cfg.Volume, m.kind, m.point), "leave out `medium: Memory` of the emptyDir, or take a claim:\n"+claim)
	}
	return ok()
}

// rootCause is an error of a file without the path, which is said already.
func rootCause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func judgeWritable(e *exam) finding {
	if !e.volume.known() {
		return e.volume.unseen()
	}
	v := e.volume.it
	switch {
	case v.mount.readOnly:
		return fault(fmt.Sprintf("%s is mounted read-only (%s at %s)", e.cfg.Volume, v.mount.kind, v.mount.point), "leave out readOnly: true of its volumeMount. If nobody asked for it, the kernel has found errors on the disk: dmesg")
	case v.accessErr != nil:
		return fault(fmt.Sprintf("%s belongs to %d:%d, and uid %d may not write there", e.cfg.Volume, v.uid, v.gid, e.uid()), security)
	case errors.Is(v.contentErr, fs.ErrPermission), errors.Is(v.contentErr, volume.ErrNotWritable):
		return fault(v.contentErr.Error(), security)
	}
	return ok()
}

func judgeUser(e *exam) finding {
	if !e.volume.known() || !e.machine.known() {
		return unseen("volume or user are not known")
	}
	v, uid := e.volume.it, e.machine.it.uid
	same := func(who int) string {
		return fmt.Sprintf("securityContext: # of the pod\n  runAsUser: %d\n  runAsGroup: %d\n  fsGroup: %d", who, who, who)
	}
	switch {
	case v.socketUID >= 0 && v.socketUID != uid:
		return fault(fmt.Sprintf("mysqld runs as uid %d, the agent as %d", v.socketUID, uid), same(v.socketUID))
	case v.hasData && int(v.dataUID) != uid:
		return fault(fmt.Sprintf("mysqld's data belongs to uid %d, and the agent runs as %d", v.dataUID, uid), same(int(v.dataUID)))
	case v.socketUID < 0 && !v.hasData:
		return unseen("there is neither data nor a mysqld to compare with")
	}
	return ok()
}

func judgeSpace(e *exam) finding {
	if !e.volume.known() {
		return e.volume.unseen()
	}
	v := e.volume.it
	room := fmt.Sprintf("%s free of %s", bytesOf(v.free), bytesOf(v.size))
	larger := func(size uint64) string {
		return fmt.Sprintf("agent quarantine list # what is there may be dropped\nkubectl patch pvc data-%s -p '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%dGi\"}}}}'", orElse(e.id.Pod, "mysql-0"), size>>30+1)
	}
	data, of := v.data, "its data takes"
	if e.server.known() && e.server.it.up && e.server.it.data.known() {
		data = max(data, e.server.it.data.it.bytes)
	}
	if data == 0 && e.others.known() { // nothing here yet: what will be copied?
		for _, p := range e.others.it {
			if n := p.status.Status.DataBytes; p.status.Kind == agent.PeerAnswered && n != nil && *n > data {
				data, of = *n, "a copy of "+p.pod+" takes"
			}
		}
		if data > v.free {
			return fault(fmt.Sprintf("%s, %s %s", room, of, bytesOf(data)), larger(2*data+donorRoom))
		}
	}
	switch {
	case v.free < donorRoom:
		return fault(fmt.Sprintf("%s: below 256 MiB a donor gives no copies, and mysqld stops soon", room), larger(2*data+4*donorRoom))
	case data > 0 && v.free < data && e.hasData():
		return risk(fmt.Sprintf("%s, %s %s: there is no room for a second copy, should this one have to be replaced", room, of, bytesOf(data)), larger(2*data+v.size-v.free))
	case v.free < v.size/20:
		return risk(room+": less than 5 %", larger(v.size+v.size/2))
	}
	return ok()
}

// hasData reports whether a data directory is in service.
func (e *exam) hasData() bool { return e.volume.known() && e.volume.it.hasData }

// running reports whether the agent that answers here is agent run.
func (e *exam) running() bool {
	return e.own.known() && e.own.it.agent && e.own.it.status.Phase == agent.PhaseRun
}

func bytesOf(n uint64) string { return progress.Bytes(int64(min(n, 1<<62))) }

func judgeInodes(e *exam) finding {
	if !e.volume.known() {
		return e.volume.unseen()
	}
	v := e.volume.it
	switch {
	case v.allInodes == 0:
		return unseen("this file system (" + v.mount.kind + ") does not count them")
	case v.inodes >= fewInodes:
		return ok()
	}
	return fault(fmt.Sprintf("%d of %d inodes are free", v.inodes, v.allInodes), "du --inodes -x "+e.cfg.Volume+" | sort -n | tail # what made so many files?\nor move to a volume with more inodes")
}

func judgeContent(e *exam) finding {
	if !e.volume.known() {
		return e.volume.unseen()
	}
	v := e.volume.it
	if errors.Is(v.contentErr, volume.ErrDamaged) {
		return fault(v.contentErr.Error(), "keep the volume as it is, and read docs/what-if.md#volume_damaged")
	}
	if v.contentErr != nil {
		return unseen(v.contentErr.Error())
	}
	c := v.content
	if c.Kind != volume.Foreign {
		return ok()
	}
	names := strings.Join(c.Foreign[:min(len(c.Foreign), 6)], ", ")
	if len(c.Foreign) > 6 {
		names += ", …"
	}
	switch {
	case c.Adoptable && e.cfg.Adopt:
		return ok()
	case c.Adoptable:
		return fault("the volume's root is a data directory that this agent did not make: "+names,
			"to take it over as it is, stop its server in order and start init with: {name: AGENT_ADOPT, value: \"true\"}")
	}
	return fault("the volume holds files that are not the agent's: "+names, "mount a volume of its own for this pod, or move these files away")
}

func judgeConfigDir(e *exam) finding {
	if !e.volume.known() {
		return e.volume.unseen()
	}
	v, dir := e.volume.it, e.cfg.MySQLConfigDir
	mounts := fmt.Sprintf("volumes: [{name: config, emptyDir: {}}]\nvolumeMounts: # of init, agent and mysql\n- {name: config, mountPath: %s}", dir)
	switch {
	case v.configErr != nil:
		return fault(v.configErr.Error(), security)
	case v.config != nil && e.complete():
		return ok() // it is written; run does not need more
	case v.dirErr != nil:
		return fault(fmt.Sprintf("uid %d cannot write to %s: %v", e.uid(), dir, rootCause(v.dirErr)), mounts)
	case e.complete() && !e.server.it.up && !e.running():
		return unseen(configName + " is not there yet: agent init writes it at every start of the pod")
	case e.complete():
		return fault(fmt.Sprintf("there is data, and no %s in %s: init writes it at every start of the pod, into the directory that it sees there", configName, filepath.Clean(dir)), mounts)
	}
	return ok()
}
