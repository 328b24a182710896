package clone

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ordinal/internal/testing/mysqltest"
	"ordinal/internal/volume"
	"ordinal/stream"
)

// One bit of a page that nobody reads changes on the donor's disk. The server's own clone passes it on without a word.
func TestRottenPage(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	s.Exec(t, "CREATE DATABASE shop")
	s.Exec(t, "CREATE TABLE shop.cold (id INT PRIMARY KEY, a VARCHAR(1000))")
	s.Exec(t, "INSERT INTO shop.cold SELECT n, REPEAT('x', 900) FROM "+thousand)
	d := newRealDonor(t, "mysql-0", s, 1)
	s.Stop(t)
	const rotten = 40
	f, err := os.OpenFile(filepath.Join(s.DataDir, "shop/cold.ibd"), os.O_RDWR, 0)
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, rotten*pageSize+8000)
	must(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b, rotten*pageSize+8000)
	must(t, errors.Join(err, f.Close()))
	s.Restart(t)

	_, _, err = receiveFrom(t, recipient("mysql-1"), d.Peer)
	var bad *BadPagesError
	if !errors.As(err, &bad) {
		t.Fatalf("Receive() = %v, want a BadPagesError", err)
	}
	if bad.Donor != "mysql-0" || bad.File != "shop/cold.ibd" || !slices.Equal(bad.Pages, []uint64{rotten}) || bad.ExitCode() != 65 {
		t.Errorf("Receive() = %+v, want page %d of shop/cold.ibd on mysql-0", bad, rotten)
	}
}

// What a clone cannot carry is refused by name before the first byte.
func TestUnsupportedContent(t *testing.T) {
	t.Parallel()
	elsewhere := scratch(t)
	s := mysqltest.Start(t, mysqltest.Options{
		Distribution: mysqltest.WithKeyring(t), Config: map[string]string{"innodb_directories": elsewhere},
	})
	s.Exec(t, "CREATE DATABASE shop")
	d := newRealDonor(t, "mysql-0", s, 0)
	refused := func(what, name string) {
		t.Helper()
		_, err := recipient("mysql-1").Ask(t.Context(), d.Peer, Wants{})
		var unsupported *UnsupportedError
		if !errors.As(err, &unsupported) || unsupported.What != what || !slices.Equal(unsupported.Names, []string{name}) || unsupported.ExitCode() != 80 {
			t.Errorf("Ask() = %v, want %s refused with the name %s", err, what, name)
		}
	}
	s.Exec(t, "CREATE TABLE shop.secret (id INT PRIMARY KEY) ENCRYPTION='Y'")
	refused("encrypted tablespaces", "shop.secret")
	s.Exec(t, "ALTER TABLE shop.secret ENCRYPTION='N'")
	s.Exec(t, "CREATE TABLE shop.far (id INT PRIMARY KEY) DATA DIRECTORY='"+elsewhere+"'")
	refused("tables with DATA DIRECTORY", "shop.far")
	s.Exec(t, "DROP TABLE shop.far")
	// Somebody makes one while the copy is under way.
	d.set(func(d *realDonor) {
		d.onConfirm = func(stage stream.Stage) {
			if stage == fileCopy {
				_ = s.DB().Exec(t.Context(), "CREATE TABLE shop.secret2 (id INT PRIMARY KEY) ENCRYPTION='Y'")
			}
		}
	})
	_, _, err := receiveFrom(t, recipient("mysql-1"), d.Peer)
	if err == nil || !strings.Contains(err.Error(), ReasonUnsupported) && !errors.As(err, new(*UnsupportedError)) {
		t.Errorf("Receive() = %v, want %s", err, ReasonUnsupported)
	}
}

// A copy that would not fit the recipient's server is refused before the first byte, and the donor is free again.
func TestMismatch(t *testing.T) {
	t.Parallel()
	donor := newFakeDonor(t, "mysql-0")
	for name, c := range map[string]struct {
		wants Wants
		what  string
	}{
		"page size": {Wants{PageSize: 8192}, "innodb_page_size"},
		"older":     {Wants{ServerVersion: "8.4.6"}, "server version"},
		"newer":     {Wants{ServerVersion: "10.0.0"}, "server version"},
		"cluster":   {Wants{ClusterID: "decaf"}, "cluster"},
	} {
		donor.sends(nil)
		_, err := recipient("mysql-1").Ask(t.Context(), donor.Peer, c.wants)
		var mismatch *MismatchError
		if !errors.As(err, &mismatch) || mismatch.What != c.what {
			t.Errorf("%s: Ask() = %v, want a mismatch of %s", name, err, c.what)
		}
		if _, abandoned := donor.heard(); abandoned != 1 {
			t.Errorf("%s: the donor was told %d times, want once", name, abandoned)
		}
	}
	offer, err := recipient("mysql-1").Ask(t.Context(), donor.Peer, Wants{PageSize: pageSize, ServerVersion: "9.7.9", ClusterID: "c0ffee"})
	must(t, err)
	offer.Abandon(t.Context())
}

// A volume without the room is told before the first byte is written; what was begun is removed, and nothing is left.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	disk := scratch(t)
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("needs to mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	v, err := volume.Open(disk)
	must(t, err)
	defer v.Close()
	free := func() uint64 {
		var st unix.Statfs_t
		must(t, unix.Statfs(disk, &st))
		return st.Bavail * uint64(st.Bsize)
	}
	before := free()
	donor := newFakeDonor(t, "mysql-0")
	receive := func() error {
		t.Helper()
		offer, err := recipient("mysql-1").Ask(t.Context(), donor.Peer, Wants{})
		must(t, err)
		g, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone})
		must(t, err)
		defer g.Close()
		_, err = offer.Receive(t.Context(), g.Root(), &quiet{})
		must(t, v.Discard(t.Context(), g.Number()))
		if c, err := v.Inspect(); err != nil || c.Kind != volume.Empty {
			t.Errorf("Inspect() = %+v, %v, want an empty volume", c, err)
		}
		if now := free(); now+64<<10 < before {
			t.Errorf("%d bytes are free, before it was %d", now, before)
		}
		return err
	}
	const need = 1 << 30
	donor.sends(func(w http.ResponseWriter, _ *http.Request) {
		out := stream.NewWriter(w)
		_ = out.Hello(donor.hello)
		_ = out.StageStart(stream.StageStart{Stage: fileCopy, Files: 1, Bytes: need, DiskBytes: need})
		_ = file(fileCopy, 0, "ibdata1", bytesLong(need))(streamTarget{out})
		_ = whole(fileCopy, 0)(streamTarget{out})
	})
	err = receive()
	var noSpace *NoSpaceError
	if !errors.As(err, &noSpace) || noSpace.Need != need || noSpace.Have == 0 || noSpace.Have > before {
		t.Errorf("Receive() = %v, want a NoSpaceError that needs %d and has at most %d", err, need, before)
	}

	// The donor's estimate was too small: the disk fills in mid-copy.
	donor.sends(func(w http.ResponseWriter, _ *http.Request) {
		out := streamTarget{stream.NewWriter(w)}
		_ = out.Hello(donor.hello)
		_ = begin(fileCopy)(out)
		_ = file(fileCopy, 0, "ibdata1", pagesLong(64*64))(out)
		for i := range uint64(64) {
			if out.Data(stream.DataHeader{Stage: fileCopy, Chunk: 1, Block: 1, Offset: i << 20}, pagesFrom(uint32(i*64), 64)) != nil {
				return
			}
		}
		_ = end(fileCopy)(out)
	})
	err = receive()
	var exit interface{ ExitCode() int }
	if !errors.Is(err, unix.ENOSPC) || !errors.As(err, &exit) || exit.ExitCode() != 75 || !strings.Contains(err.Error(), "ibdata1") {
		t.Errorf("Receive() = %v, want ENOSPC with the file's name and exit code 75", err)
	}
}

// pagesFrom are n sound pages of the file with index 0.
func pagesFrom(no, n uint32) []byte {
	var b []byte
	for i := range n {
		b = append(b, page(spaceOf(0), no+i, 'p')...)
	}
	return b
}

// A pod that is not ready to be a donor at all answers every request with its reason.
func TestRefuseAll(t *testing.T) {
	t.Parallel()
	address := serve(t, "mysql-0", RefuseAll(func() Unfit { return Unfit{Code: "cloning", Message: "it has no data yet"} }))
	_, err := recipient("mysql-1").Ask(t.Context(), Peer{Pod: "mysql-0", Address: address}, Wants{})
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != "cloning" || refused.Donor != "mysql-0" || refused.Permanent || refused.RetryAfter <= 0 {
		t.Errorf("Ask() = %+v, want it refused because the pod is cloning", err)
	}
}

// A server without the clone plugin cannot be a donor until somebody changes it.
func TestNoClonePlugin(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"plugin_load_add": "-"}})
	d := newRealDonor(t, "mysql-0", s, 0)
	_, err := recipient("mysql-1").Ask(t.Context(), d.Peer, Wants{})
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != ReasonNoClonePlugin || !refused.Permanent || refused.ExitCode() != 80 {
		t.Errorf("Ask() = %v, want %s for good", err, ReasonNoClonePlugin)
	}
}
