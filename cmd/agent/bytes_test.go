package main

import (
	"testing"

	"ordinal/agent"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "5000000": 5e6, "50MB": 50e6, "50mb": 50e6, "50 MB": 50e6, "64MiB": 64 << 20, "64mib": 64 << 20, "1.5GB": 1.5e9, "2K": 2000, "1kB": 1000,
		"1TB": 1e12, "1TiB": 1 << 40, "7B": 7, "0.0015kB": 1, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := parseBytes(text); got != want || err != nil {
			t.Errorf("parseBytes(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MB", "-1", "+1", "1e6", "1/2", "0x10", "1.2.3", ".", "50XB", "50MBit", "9223372036854775808", "99999999TB", "1_000", "inf", "NaN"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("parseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func TestRate(t *testing.T) {
	pod := map[string]string{"POD_NAME": "m-1"}
	s, err := parse(t, map[string]string{"POD_NAME": "m-1", "AGENT_MAX_RATE": "50MB/s"}, "--secret-file=/s")
	if err != nil || s.MaxRate != 50e6 {
		t.Errorf("rate from the environment = %d, %v", s.MaxRate, err)
	}
	if s, err := parse(t, pod, "--secret-file=/s", "--max-rate=0"); err != nil || s.MaxRate != 0 {
		t.Errorf("no limit: %v", err)
	}
	_, err = parse(t, pod, "--secret-file=/s", "--max-rate=999kB")
	if exitCode(err) != agent.ExitUsage || err.Error() != `--max-rate="999000": must be 0 for no limit, or at least 1MB a second` {
		t.Errorf("a rate that is too low: %v", err)
	}
}
