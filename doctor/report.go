package doctor

// State is what came of a check.
type State string

// The states.
const (
	OK         State = "ok"
	Warning    State = "warning"     // it works, at a risk
	Fault      State = "fault"       // it does not work, or will not
	NotChecked State = "not checked" // it cannot be told; What says why
)

// A Result is what came of one check. Fields are only ever added. None holds a secret.
type Result struct {
	ID    string `json:"id"`
	State State  `json:"state"`
	Title string `json:"title"` // what holds if all is well
	What  string `json:"what"`  // what is wrong, with the values seen, or why the check was not made; "" if all is well
	Why   string `json:"why"`   // why it matters; "" unless something is wrong
	Fix   string `json:"fix"`   // what to do: commands or lines of a manifest, perhaps several; "" unless something is wrong
}

// A Report is what came of all checks, in order of cause and effect.
type Report struct {
	Pod     string   `json:"pod"`    // "" if its name is not one
	Role    string   `json:"role"`   // "" likewise
	Says    string   `json:"agent"`  // what the pod's agent says of itself; "" if none answers
	Results []Result `json:"checks"` // one for each check
}

// Count returns how many checks ended in a state.
func (r Report) Count(s State) (n int) {
	for _, result := range r.Results {
		if result.State == s {
			n++
		}
	}
	return n
}

// A finding is what a check concludes.
type finding struct {
	state     State
	what, fix string
}

func ok() finding                    { return finding{state: OK} }
func fault(what, fix string) finding { return finding{Fault, what, fix} }
func risk(what, fix string) finding  { return finding{Warning, what, fix} }
func unseen(why string) finding      { return finding{state: NotChecked, what: why} }
