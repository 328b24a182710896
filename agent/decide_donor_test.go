package agent

import (
	"strings"
	"testing"
	"time"
)

// TestDecideDonor: pod 4 of five, donors 3, 2, 1 and 0, patience two minutes.
func TestDecideDonor(t *testing.T) {
	const long, short = 2 * time.Minute, 2*time.Minute - 1
	unfit := func(d time.Duration) donorCandidate { return donorCandidate{Fate: donorUnfit, UnfitFor: d} }
	fate := func(f donorFate) donorCandidate { return donorCandidate{Fate: f} }
	var (
		open     = fate(donorNotAsked)
		building = fate(donorBuilding)
		later    = fate(donorLater)
		corrupt  = fate(donorCorrupt)
	)
	type candidates = [4]donorCandidate
	tests := []struct {
		name string
		in   candidates // 3, 2, 1, 0
		held int
		want donorStep
		ask  int
		says string // ordinals of the pods whose reasons are given
	}{
		{"the first round begins with the previous pod", candidates{open, open, open, open}, noDonor, donorAsk, 3, ""},
		{"it is being built", candidates{building, open, open, open}, noDonor, donorWait, 0, "3"},
		{"it is busy", candidates{later, open, open, open}, noDonor, donorWait, 0, "3"},
		{"it has just become unfit", candidates{unfit(0), open, open, open}, noDonor, donorWait, 0, "3"},
		{"it is not unfit for long", candidates{unfit(short), open, open, open}, noDonor, donorWait, 0, "3"},
		{"it stays unfit", candidates{unfit(long), open, open, open}, noDonor, donorAsk, 2, "3"},
		{"it stays unfit, and the one before it is being built", candidates{unfit(long), building, open, open}, noDonor, donorWait, 0, "32"},
		{"it stays unfit, and the one before it is busy", candidates{unfit(long), later, open, open}, noDonor, donorWait, 0, "32"},
		{"it stays unfit, and the one before it is unfit, too", candidates{unfit(long), unfit(0), open, open}, noDonor, donorAsk, 1, "32"},
		{"only the source is left", candidates{unfit(long), unfit(0), unfit(short), open}, noDonor, donorAsk, 0, "321"},
		{"nobody is fit", candidates{unfit(long), unfit(0), unfit(0), unfit(0)}, noDonor, donorWait, 0, "3210"},
		{"the next round begins with the previous pod", candidates{open, open, open, open}, noDonor, donorAsk, 3, ""},

		{"the previous pod is corrupt", candidates{corrupt, open, open, open}, noDonor, donorAsk, 2, ""},
		{"then the one before it has the patience", candidates{corrupt, unfit(short), open, open}, noDonor, donorWait, 0, "2"},
		{"but not for ever", candidates{corrupt, unfit(long), open, open}, noDonor, donorAsk, 1, "2"},
		{"one in the middle is corrupt", candidates{unfit(long), corrupt, open, open}, noDonor, donorAsk, 1, "3"},
		{"one is corrupt, the others unfit", candidates{unfit(long), corrupt, unfit(long), unfit(0)}, noDonor, donorWait, 0, "310"},
		{"all are corrupt", candidates{corrupt, corrupt, corrupt, corrupt}, noDonor, donorNone, 0, ""},

		{"a copy is under way", candidates{open, open, open, open}, 3, donorAsk, 3, ""},
		{"a copy from elsewhere is under way", candidates{open, open, open, open}, 1, donorAsk, 1, ""},
		{"its donor serves another attempt", candidates{later, open, open, open}, 3, donorWait, 0, "3"},
		{"its donor is unfit, the previous pod not asked", candidates{open, unfit(short), open, open}, 2, donorWait, 0, "2"},
		{"its donor is waited for longer", candidates{unfit(long), open, open, open}, 3, donorWait, 0, "3"},
		{"but not for ever", candidates{unfit(long * 5 / 2), open, open, open}, 3, donorAsk, 2, "3"},
		{"a lost donor from elsewhere: back to the order", candidates{open, unfit(long * 5 / 2), open, open}, 2, donorAsk, 3, ""},
		{"a lost donor, nobody else is fit", candidates{unfit(long), unfit(long * 5 / 2), unfit(0), unfit(0)}, 2, donorDrop, 0, "3210"},
		{"its donor is being built anew", candidates{building, open, open, open}, 3, donorDrop, 0, "3"},
		{"its donor turned out corrupt", candidates{corrupt, open, open, open}, 3, donorAsk, 2, ""},
		{"a copy from a pod that is no candidate", candidates{open, open, open, open}, 7, donorAsk, 3, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := donorView{Patience: long, Held: test.held}
			for i, c := range test.in {
				c.Ordinal = 3 - i
				c.Reason = NewReason(CodePeerSilent, "%d", c.Ordinal)
				v.Candidates = append(v.Candidates, c)
			}
			got := decideDonor(v)
			var says strings.Builder
			for _, r := range got.Reasons {
				says.WriteString(r.Message)
			}
			if got.Step != test.want || got.Ordinal != test.ask || says.String() != test.says {
				t.Errorf("decideDonor() = step %d, ordinal %d, because of %q, want %d, %d, %q", got.Step, got.Ordinal, says.String(), test.want, test.ask, test.says)
			}
		})
	}
}

// TestDecideDonorWithoutPatience: the operator may want no waiting at all.
func TestDecideDonorWithoutPatience(t *testing.T) {
	v := donorView{Held: 1, Candidates: []donorCandidate{{Ordinal: 1, Fate: donorUnfit}, {Ordinal: 0}}}
	if got := decideDonor(v); got.Step != donorAsk || got.Ordinal != 0 {
		t.Errorf("decideDonor() = %+v, want to ask 0", got)
	}
}
