package agent

import (
	"errors"
	"fmt"
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
		{"switch of a rebuild waits for agent run", volume.Content{Kind: volume.Switching, Record: &volume.Record{Replaces: &volume.Replacement{}}}, false, stepServe, stepServe, false},
		{"change interrupted", volume.Content{Kind: volume.ChangeUnderWay}, false, stepResume, stepResume, false},
		{"clone under way", volume.Content{Kind: volume.UnderWay}, false, stepAsk, stepClone, false},
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
				got, err := decideVolume(role, &test.content, test.adopt, nil, false)
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
	if _, err := decideVolume(RoleSource, &volume.Content{Kind: volume.Foreign + 1}, false, nil, false); err == nil {
		t.Error("an unknown kind of content was decided upon")
	}
}

func TestDecideEmptySource(t *testing.T) {
	const u = "00000000-0000-0000-0000-00000000000a"
	says := func(has HasData) PeerAnswer {
		return PeerAnswer{Pod: "mysql-1", Ordinal: 1, Kind: PeerAnswered, Status: Status{HasData: has, Phase: PhaseRun, ClusterID: clusterA, GTIDExecuted: u + ":1-5"}}
	}
	holds := func(n int, cluster, executed, waiting string) PeerAnswer {
		return PeerAnswer{
			Pod: fmt.Sprintf("mysql-%d", n), Ordinal: n, Kind: PeerAnswered,
			Status: Status{HasData: DataYes, Phase: PhaseRun, ClusterID: cluster, GTIDExecuted: executed, GTIDWaiting: waiting},
		}
	}
	nobody := func(kind PeerKind) PeerAnswer {
		return PeerAnswer{Pod: "mysql-2", Ordinal: 2, Kind: kind, Why: "mysql-2 did not answer"}
	}
	set := func(siblings ...PeerAnswer) emptySource {
		return emptySource{Listed: true, WindowOver: true, Siblings: siblings}
	}
	tests := []struct {
		name     string
		in       emptySource
		want     initStep
		donor    int // with stepReverseClone
		refusing bool
		says     string // in a reason or the error
	}{
		{"alone by --replicas", emptySource{Listed: true}, stepEmpty, 0, false, ""},
		{"alone in DNS so far", emptySource{}, stepWait, 0, false, "DNS may not name"},
		{"alone in DNS for long enough", emptySource{WindowOver: true}, stepEmpty, 0, false, ""},
		{"all are empty", set(says(DataNo), says(DataNo)), stepEmpty, 0, false, ""},
		{"one is silent", set(says(DataNo), nobody(PeerSilent)), stepWait, 0, false, "mysql-2"},
		{"one is silent, override", emptySource{Listed: true, AllowEmpty: true, Siblings: []PeerAnswer{nobody(PeerSilent)}}, stepEmpty, 0, false, "mysql-2"},
		{"one is a stranger", set(nobody(PeerStranger)), stepWait, 0, false, "mysql-2"},
		{"one does not know", set(says(DataUnknown)), stepWait, 0, false, "cannot tell"},
		{"one is being built", set(says(DataBuilding)), stepWait, 0, false, "cannot tell"},
		{"one is not in DNS yet", emptySource{Listed: true, Siblings: []PeerAnswer{nobody(PeerAbsent)}}, stepWait, 0, false, "mysql-2"},
		{"one does not exist", set(nobody(PeerAbsent)), stepEmpty, 0, false, ""},
		{"DNS does not answer", emptySource{WindowOver: true, DiscoveryErr: errors.New("name server is down")}, stepWait, 0, false, "name server is down"},
		{"an answer that says nothing", set(says("")), stepWait, 0, false, "cannot tell"},

		{"one has data", set(says(DataNo), holds(1, clusterA, u+":1-5", "")), stepReverseClone, 1, false, "mysql-1 has everything"},
		{"one has data, another is silent", set(nobody(PeerSilent), says(DataYes)), stepWait, 0, false, "mysql-2"},
		{"one has data, another is silent, override", emptySource{Listed: true, AllowEmpty: true, Siblings: []PeerAnswer{nobody(PeerSilent), says(DataYes)}}, stepReverseClone, 1, false, ""},
		{"one has data, override", emptySource{Listed: true, AllowEmpty: true, Siblings: []PeerAnswer{says(DataYes)}}, stepReverseClone, 1, false, ""},
		{"the second has more", set(holds(1, clusterA, u+":1-5", ""), holds(2, clusterA, u+":1-7", "")), stepReverseClone, 2, false, "mysql-1 lacks 2 transactions"},
		{"both have the same", set(holds(1, clusterA, u+":1-7", ""), holds(2, clusterA, u+":1-7", "")), stepReverseClone, 1, false, ""},
		{"the second has received more", set(holds(1, clusterA, u+":1-7", ""), holds(2, clusterA, u+":1-5", u+":6-9")), stepWait, 0, false, "mysql-2 has received 4 transactions"},
		{"the second is still executing what the first has", set(holds(1, clusterA, u+":1-7", ""), holds(2, clusterA, u+":1-5", u+":6-7")), stepReverseClone, 1, false, ""},
		{"none has everything", set(holds(1, clusterA, u+":1-5", ""), holds(2, clusterA, u+":1-4:6", "")), 0, 0, true,
			"mysql-1 has 1 transactions that not all have (" + u + ":5); mysql-2 has 1 transactions that not all have (" + u + ":6)"},
		{"none has everything of what was received", set(holds(1, clusterA, u+":1-5", u+":7"), holds(2, clusterA, u+":1-6", "")), 0, 0, true, "none has everything"},
		{"two clusters", set(holds(1, clusterA, u+":1-5", ""), holds(2, clusterB, u+":1-6", "")), 0, 0, true, "different clusters"},
		{"its server does not run yet", set(holds(1, clusterA, "", "")), stepWait, 0, false, "cannot tell yet how much"},
		{"words that make no sense", set(holds(1, clusterA, "what", "")), stepWait, 0, false, "cannot be read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := decideEmptySource(test.in)
			var refused *RefusedError
			if errors.As(err, &refused) != test.refusing {
				t.Fatalf("error %v, refusing should be %t", err, test.refusing)
			}
			text := ""
			for _, r := range got.Reasons {
				text += r.String() + "\n"
			}
			switch {
			case err != nil:
				text = err.Error()
			case got.Step != test.want:
				t.Errorf("step %d, want %d (%s)", got.Step, test.want, text)
			case got.Step == stepReverseClone && got.Donors[0].Ordinal != test.donor:
				t.Errorf("donors %v, want mysql-%d first", got.Donors, test.donor)
			}
			if !strings.Contains(text, test.says) {
				t.Errorf("%q does not say %q", text, test.says)
			}
			if got.Step == stepWait && len(got.Reasons) == 0 {
				t.Error("waits without saying for whom")
			}
		})
	}
}
