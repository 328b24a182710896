package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"ordinal/internal/volume"
)

func TestDecideVolume(t *testing.T) {
	foreign := func(adoptable bool) volume.Content {
		return volume.Content{Kind: volume.Foreign, Foreign: []string{"ibdata1", "mysql"}, Adoptable: adoptable}
	}
	tests := []struct {
		name     string
		content  volume.Content
		adopt    bool
		source   initStep
		replica  initStep
		refusing bool
	}{
		{"complete", volume.Content{Kind: volume.Complete}, false, stepServe, stepServe, false},
		{"complete, adopt is no reason to touch it", volume.Content{Kind: volume.Complete}, true, stepServe, stepServe, false},
		{"switch interrupted", volume.Content{Kind: volume.Switching}, false, stepResume, stepResume, false},
		{"change interrupted", volume.Content{Kind: volume.ChangeUnderWay}, false, stepResume, stepResume, false},
		{"clone under way", volume.Content{Kind: volume.UnderWay}, false, stepDiscard, stepClone, false},
		{"first initialisation interrupted", volume.Content{Kind: volume.NeverCompleted}, false, stepStartOver, stepStartOver, false},
		{"first initialisation interrupted again and again", volume.Content{Kind: volume.NeverCompleted, Quarantined: slices.Repeat([]string{"20261121T000000Z-interrupted_first_start"}, maxStartsOver)}, false, 0, 0, true},
		{"first initialisation prepared", volume.Content{Kind: volume.Prepared}, false, stepAsk, stepDiscard, false},
		{"empty", volume.Content{Kind: volume.Empty}, false, stepAsk, stepClone, false},
		{"empty, nothing to adopt", volume.Content{Kind: volume.Empty}, true, stepAsk, stepClone, false},
		{"data directory in the root", foreign(true), false, 0, 0, true},
		{"data directory in the root, adopt", foreign(true), true, stepAdopt, stepAdopt, false},
		{"other files in the root", foreign(false), false, 0, 0, true},
		{"other files in the root, adopt", foreign(false), true, 0, 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for role, want := range map[Role]initStep{RoleSource: test.source, RoleReplica: test.replica} {
				got, err := decideVolume(role, &test.content, test.adopt)
				var refused *RefusedError
				if errors.As(err, &refused) != test.refusing || (err != nil) != test.refusing {
					t.Fatalf("%s: error %v, refusing should be %t", role, err, test.refusing)
				}
				if !test.refusing && got != want {
					t.Errorf("%s: step %d, want %d", role, got, want)
				}
				if test.refusing && (refused.Hint() == "" || refused.ExitCode() != ExitRefused) {
					t.Errorf("%s: %v has hint %q and exit code %d", role, err, refused.Hint(), refused.ExitCode())
				}
			}
		})
	}
}

// TestDecideVolumeKnowsEveryKind: a kind of content that is added later must not fall through to something that starts empty.
func TestDecideVolumeKnowsEveryKind(t *testing.T) {
	if _, err := decideVolume(RoleSource, &volume.Content{Kind: volume.Foreign + 1}, false); err == nil {
		t.Error("an unknown kind of content was decided upon")
	}
}

func TestDecideEmptySource(t *testing.T) {
	says := func(has HasData) PeerAnswer {
		return PeerAnswer{Pod: "mysql-1", Ordinal: 1, Kind: PeerAnswered, Status: Status{HasData: has, GTIDExecuted: "u:1-5"}}
	}
	nobody := func(kind PeerKind) PeerAnswer {
		return PeerAnswer{Pod: "mysql-2", Ordinal: 2, Kind: kind, Why: "mysql-2 did not answer"}
	}
	tests := []struct {
		name     string
		in       emptySource
		want     initStep
		refusing bool
		says     string // in a reason or the error
	}{
		{"alone by --replicas", emptySource{Listed: true}, stepEmpty, false, ""},
		{"alone in DNS so far", emptySource{}, stepWait, false, "DNS may not name"},
		{"alone in DNS for long enough", emptySource{WindowOver: true}, stepEmpty, false, ""},
		{"all are empty", emptySource{Listed: true, Siblings: []PeerAnswer{says(DataNo), says(DataNo)}}, stepEmpty, false, ""},
		{"one has data", emptySource{Listed: true, Siblings: []PeerAnswer{says(DataNo), says(DataYes)}}, 0, true, "mysql-1 has data (gtid_executed u:1-5)"},
		{"one has data, another is silent", emptySource{Listed: true, Siblings: []PeerAnswer{nobody(PeerSilent), says(DataYes)}}, 0, true, "has data"},
		{"one has data, override", emptySource{Listed: true, AllowEmpty: true, Siblings: []PeerAnswer{says(DataYes)}}, 0, true, "has data"},
		{"one is silent", emptySource{Listed: true, WindowOver: true, Siblings: []PeerAnswer{says(DataNo), nobody(PeerSilent)}}, stepWait, false, "mysql-2"},
		{"one is silent, override", emptySource{Listed: true, AllowEmpty: true, Siblings: []PeerAnswer{nobody(PeerSilent)}}, stepEmpty, false, "mysql-2"},
		{"one is a stranger", emptySource{Listed: true, WindowOver: true, Siblings: []PeerAnswer{nobody(PeerStranger)}}, stepWait, false, "mysql-2"},
		{"one does not know", emptySource{Listed: true, Siblings: []PeerAnswer{says(DataUnknown)}}, stepWait, false, "cannot tell"},
		{"one is being built", emptySource{Listed: true, Siblings: []PeerAnswer{says(DataBuilding)}}, stepWait, false, "cannot tell"},
		{"one is not in DNS yet", emptySource{Listed: true, Siblings: []PeerAnswer{nobody(PeerAbsent)}}, stepWait, false, "mysql-2"},
		{"one does not exist", emptySource{Listed: true, WindowOver: true, Siblings: []PeerAnswer{nobody(PeerAbsent)}}, stepEmpty, false, ""},
		{"DNS does not answer", emptySource{WindowOver: true, DiscoveryErr: errors.New("name server is down")}, stepWait, false, "name server is down"},
		{"an answer that says nothing", emptySource{Listed: true, Siblings: []PeerAnswer{says("")}}, stepWait, false, "cannot tell"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, reasons, err := decideEmptySource(test.in)
			var refused *RefusedError
			if errors.As(err, &refused) != test.refusing {
				t.Fatalf("error %v, refusing should be %t", err, test.refusing)
			}
			text := ""
			for _, r := range reasons {
				text += r.String() + "\n"
			}
			if err != nil {
				text = err.Error()
			} else if got != test.want {
				t.Errorf("step %d, want %d (%s)", got, test.want, text)
			}
			if !strings.Contains(text, test.says) {
				t.Errorf("%q does not say %q", text, test.says)
			}
			if got == stepWait && len(reasons) == 0 {
				t.Error("waits without saying for whom")
			}
		})
	}
}
