package doctor

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ordinal/agent"
	"ordinal/internal/volume"
)

// on mounts something at the volume for the time of a test.
func on(t *testing.T, cfg agent.Config, kind string, flags uintptr, data string) {
	t.Helper()
	needsRoot(t)
	must(t, syscall.Mount(kind, cfg.Volume, kind, flags, data))
	t.Cleanup(func() { _ = syscall.Unmount(cfg.Volume, syscall.MNT_DETACH) })
}

func TestVolume(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		make func(t *testing.T, cfg *agent.Config)
		want []string
		id   string
		says []string
	}{
		"not there": {
			make: func(t *testing.T, cfg *agent.Config) { must(t, os.Remove(cfg.Volume)) },
			want: []string{"volume"}, id: "volume", says: []string{"no directory", "volumeClaimTemplates"},
		},
		"a file": {
			make: func(t *testing.T, cfg *agent.Config) {
				must(t, os.Remove(cfg.Volume), os.WriteFile(cfg.Volume, nil, 0o644))
			},
			want: []string{"volume"},
		},
		"in memory": {
			make: func(t *testing.T, cfg *agent.Config) { on(t, *cfg, "tmpfs", 0, "size=1g,mode=755") },
			want: []string{"volume"}, id: "volume", says: []string{"in memory", "medium: Memory"},
		},
		"the container's own layer": {
			make: func(t *testing.T, cfg *agent.Config) {
				needsRoot(t)
				dir := t.TempDir() // overlayfs on overlayfs is refused by some kernels
				for _, sub := range []string{"lower", "upper", "work"} {
					must(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
				}
				on(t, *cfg, "overlay", 0, "lowerdir="+dir+"/lower,upperdir="+dir+"/upper,workdir="+dir+"/work")
			},
			want: []string{"volume"}, id: "volume", says: []string{"own layer", "mountPath: /var/lib/mysql"},
		},
		"read-only": {
			make: func(t *testing.T, cfg *agent.Config) {
				needsRoot(t)
				must(t, syscall.Mount(cfg.Volume, cfg.Volume, "", syscall.MS_BIND, ""))
				t.Cleanup(func() { _ = syscall.Unmount(cfg.Volume, syscall.MNT_DETACH) })
				must(t, syscall.Mount("", cfg.Volume, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
			},
			want: []string{"volume-writable"}, id: "volume-writable", says: []string{"mounted read-only", "readOnly: true"},
		},
		"full": { // in memory as well: a disk of its own size is not to be had
			make: func(t *testing.T, cfg *agent.Config) { on(t, *cfg, "tmpfs", 0, "size=100m,mode=755") },
			want: []string{"volume", "volume-space"}, id: "volume-space", says: []string{"105 MB", "256 MiB", "kubectl patch pvc data-mysql-0"},
		},
		"no inodes": {
			make: func(t *testing.T, cfg *agent.Config) { on(t, *cfg, "tmpfs", 0, "size=1g,nr_inodes=200,mode=755") },
			want: []string{"volume", "volume-inodes"}, id: "volume-inodes", says: []string{"of 200 inodes"},
		},
		"somebody's files": {
			make: func(t *testing.T, cfg *agent.Config) {
				must(t, os.WriteFile(filepath.Join(cfg.Volume, "report.xlsx"), nil, 0o644))
			},
			want: []string{"volume-content"}, id: "volume-content", says: []string{"report.xlsx"},
		},
		"lost+found": {
			make: func(t *testing.T, cfg *agent.Config) {
				must(t, os.Mkdir(filepath.Join(cfg.Volume, "lost+found"), 0o700))
			},
		},
		"data of before": {
			make: oldData,
			want: []string{"volume-content"}, id: "volume-content", says: []string{"ibdata1", "AGENT_ADOPT"},
		},
		"data of before, to be adopted": {
			make: func(t *testing.T, cfg *agent.Config) { oldData(t, cfg); cfg.Adopt = true },
		},
		"a layout that nobody makes": {
			make: func(t *testing.T, cfg *agent.Config) {
				must(t, os.Symlink("gen/000009", filepath.Join(cfg.Volume, "current")))
			},
			want: []string{"volume-content"}, id: "volume-content", says: []string{"what-if.md#volume_damaged"},
		},
		"no directory for the configuration": {
			make: func(t *testing.T, cfg *agent.Config) { must(t, os.Remove(cfg.MySQLConfigDir)) },
			want: []string{"config-dir"}, id: "config-dir", says: []string{"emptyDir", "no such file"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := lone(t)
			test.make(t, &cfg)
			before := listing(t, filepath.Dir(cfg.Volume))
			r := examine(t, cfg)
			wants(t, r, test.want...)
			if test.id != "" {
				says(t, r, test.id, test.says...)
			}
			if after := listing(t, filepath.Dir(cfg.Volume)); after != before {
				t.Errorf("the examination has changed something:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// oldData looks like a data directory in the volume's root.
func oldData(t *testing.T, cfg *agent.Config) {
	for _, name := range []string{"ibdata1", "mysql.ibd", "auto.cnf"} {
		must(t, os.WriteFile(filepath.Join(cfg.Volume, name), nil, 0o640))
	}
	must(t, os.Mkdir(filepath.Join(cfg.Volume, "mysql"), 0o750))
}

// listing names all that is there, with times of change.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			out.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String() + "\n")
		}
		return err
	}))
	return out.String()
}

// The program as another user than the volume's owner: what a forgotten fsGroup looks like.
func TestUsers(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	const mysql = 999
	t.Run("as it should be", func(t *testing.T) {
		t.Parallel()
		wants(t, as(t, mysql, owned(t, mysql)))
	})
	t.Run("the volume is root's", func(t *testing.T) {
		t.Parallel()
		cfg := owned(t, mysql)
		must(t, os.Chown(cfg.Volume, 0, 0))
		r := as(t, mysql, cfg)
		wants(t, r, "volume-writable")
		says(t, r, "volume-writable", "belongs to 0:0", "uid 999", "fsGroup: 999")
	})
	t.Run("the configuration is root's", func(t *testing.T) {
		t.Parallel()
		cfg := owned(t, mysql)
		must(t, os.Chown(cfg.MySQLConfigDir, 0, 0))
		r := as(t, mysql, cfg)
		wants(t, r, "config-dir")
		says(t, r, "config-dir", "uid 999", "permission denied", "emptyDir")
	})
	t.Run("the secret is root's", func(t *testing.T) {
		t.Parallel()
		cfg := owned(t, mysql)
		must(t, os.Chown(cfg.SecretFile, 0, 0))
		r := as(t, mysql, cfg)
		wants(t, r, "secret")
		says(t, r, "secret", "permission denied", "let uid 999 read it")
	})
	t.Run("root's data", func(t *testing.T) { // mysqld ran as another user than the agent
		t.Parallel()
		cfg := owned(t, mysql)
		v, err := volume.Open(cfg.Volume)
		must(t, err)
		_, err = v.PrepareEmpty()
		must(t, err, v.Close(), chown(cfg.Volume, mysql))
		gen, err := filepath.EvalSymlinks(filepath.Join(cfg.Volume, "current"))
		must(t, err, os.Chmod(gen, 0o755), os.Chown(gen, 27, 27)) // Oracle's own images
		r := as(t, mysql, cfg)
		wants(t, r, "user")
		says(t, r, "user", "uid 27", "runAsUser: 27", "fsGroup: 27")
	})
}

// owned is a pod whose files are of one user.
func owned(t *testing.T, uid int) agent.Config {
	t.Helper()
	cfg := lone(t)
	must(t, chown(filepath.Dir(cfg.Volume), uid))
	return cfg
}

func chown(dir string, uid int) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
}
