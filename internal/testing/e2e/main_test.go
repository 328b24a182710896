package e2e

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"
)

// These tests wait for servers and for time to pass more than they compute: twice as many at once as there are processors keeps those busy.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
