package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ordinal/agent"
	"ordinal/backup"
	"ordinal/backup/catalog"
	"ordinal/internal/progress"
)

func newBackups(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backups",
		Short: "List, show, mark or prune the backups in a store",
		Long: `backups is about what a store has. It asks no pod, and works when all are lost.

  list    what there is, whether it is complete and what checks have come to
  show    all that is known of one backup
  mark    keep a backup whatever agent backups prune is told, or note something
  prune   remove what is not to be kept

A backup is named by its id, as @latest, or as @TIME, which is the newest that was finished by then.`,
		Args: cobra.ArbitraryArgs,
		RunE: helpOrUnknown,
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(newBackupsList(sur), newBackupsShow(sur), newBackupsMark(sur), newBackupsPrune(sur))
	return cmd
}

// backupList is what `agent backups list --json` prints. Fields are only ever added.
type backupList struct {
	Store     string        `json:"store"` // its URL
	ClusterID string        `json:"cluster_id"`
	Set       string        `json:"set"`
	Backups   []backupEntry `json:"backups"` // the oldest first
}

// A backupEntry is what `agent backups show --json` prints of a backup.
type backupEntry struct {
	catalog.Entry
	Verdict catalog.Verdict `json:"verdict"` // of the last checks
}

// newBackupEntry leaves out the key that a passphrase opens: what is printed goes to more places than the store, and a passphrase can be guessed at.
func newBackupEntry(e catalog.Entry) backupEntry {
	if m := e.Manifest; m != nil && m.Encryption != nil {
		shown, encryption := *m, *m.Encryption
		encryption.Key = ""
		shown.Encryption, e.Manifest = &encryption, &shown
	}
	return backupEntry{e, e.Verdict()}
}

func newBackupsList(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the backups in a store",
		Example: `  agent backups list --store file:///backups --secret-file ./secret`,
		Args:    noArgs,
	}
	s := addOptions(cmd, cmdBackups)
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	ignoreSeal := addIgnoreSeal(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := s.complete(cmd.Flags(), sur.getenv)
		if err != nil {
			return err
		}
		d, err := s.openDepot(cmd.Context(), from, sur, shortPatience, *ignoreSeal)
		if err != nil {
			return err
		}
		all, err := d.place().List(cmd.Context())
		if err != nil {
			return err
		}
		if !*asJSON {
			return printBackups(sur.stdout, all)
		}
		list := backupList{Store: d.url, ClusterID: d.marker.Cluster, Set: d.marker.Set, Backups: []backupEntry{}}
		for _, e := range all {
			list.Backups = append(list.Backups, newBackupEntry(e))
		}
		return json.NewEncoder(sur.stdout).Encode(list)
	}
	return cmd
}

// printBackups shows backups to a person. All of it is from a store.
func printBackups(w io.Writer, all []catalog.Entry) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "there are no backups")
		return err
	}
	rows := [][]string{{"BACKUP", "STATE", "FROM", "DATA", "STORED", "ENCRYPTED", "VERIFIED", "KEPT"}}
	var notes []string
	for _, e := range all {
		donor, data, encrypted, kept := "-", "-", "-", "-"
		if m := e.Manifest; m != nil {
			donor, data, encrypted = clean(m.Donor.Pod, 60), progress.Bytes(int64(m.Bytes)), yesOrNo(m.Encryption != nil)
		}
		if e.Mark != nil {
			kept = yesOrNo(e.Kept())
			if e.Mark.Note != "" {
				notes = append(notes, fmt.Sprintf("%s: note: %s", e.ID, clean(e.Mark.Note, 300)))
			}
		}
		if e.Problem != "" {
			notes = append(notes, fmt.Sprintf("%s: %s", e.ID, clean(oneLine(e.Problem), 300)))
		}
		rows = append(rows, []string{e.ID, string(e.State), donor, data, progress.Bytes(e.Stored()), encrypted, verdictText(&e), kept})
	}
	return printRows(w, rows, notes, nil)
}

func yesOrNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// verdictText says what the last checks have come to, and when.
func verdictText(e *catalog.Entry) string {
	switch e.Verdict() {
	case catalog.Verified:
		text := e.Verification.Last().UTC().Format("2006-01-02")
		if e.Verification.Boot != nil {
			text += " started"
		}
		return text
	case catalog.Failed:
		return "FAILED"
	}
	return "no"
}

func newBackupsShow(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [BACKUP]",
		Short: "Show all that is known of a backup",
		Long: `show prints what a backup's manifest, marks and checks say of it. Without BACKUP it is the latest one that can be restored. What is wrong with the backup
decides about the exit code.`,
		Example: `  agent backups show
  agent backups show 20261121T120000Z-0f9c2d7e --json`,
		Args: oneBackup,
	}
	s := addOptions(cmd, cmdBackups)
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	ignoreSeal := addIgnoreSeal(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := s.complete(cmd.Flags(), sur.getenv)
		if err != nil {
			return err
		}
		selector, err := selectorOf(args)
		if err != nil {
			return err
		}
		d, err := s.openDepot(cmd.Context(), from, sur, shortPatience, *ignoreSeal)
		if err != nil {
			return err
		}
		e, err := d.entry(cmd.Context(), selector)
		if err != nil {
			return err
		}
		if *asJSON {
			err = json.NewEncoder(sur.stdout).Encode(newBackupEntry(e))
		} else {
			err = printPairs(sur.stdout, describe(&e))
		}
		if err != nil {
			return err
		}
		return e.Err
	}
	return cmd
}

// entry returns what the catalog knows of a backup, whatever its state is if it is named by its id.
func (d *depot) entry(ctx context.Context, selector catalog.Selector) (catalog.Entry, error) {
	if _, err := backup.ParseID(selector.String()); err == nil {
		return d.place().Get(ctx, selector.String())
	}
	all, err := d.place().List(ctx)
	if err != nil {
		return catalog.Entry{}, err
	}
	e, _, err := catalog.Find(all, selector)
	return e, orWrongKey(all, err)
}

// describe tells what is known of a backup.
func describe(e *catalog.Entry) [][2]string {
	lines := [][2]string{{"backup", e.ID}, {"state", string(e.State)}}
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, [2]string{name, value})
		}
	}
	add("problem", e.Problem)
	if m := e.Manifest; m != nil {
		add("set", fmt.Sprintf("%s of cluster %s", m.Set, m.Cluster))
		add("made", fmt.Sprintf("%s to %s", m.Created.Format(time.RFC3339), m.Finished.Format(time.RFC3339)))
		add("from", fmt.Sprintf("%s (%s, MySQL %s)", m.Donor.Pod, m.Donor.Role, m.ServerVersion))
		add("executed", m.GTIDExecuted)
		if m.GTIDExecuted == "" {
			add("executed at least", m.GTIDAtLeast)
			add("executed at most", m.GTIDAtMost)
		}
		add("data", fmt.Sprintf("%s in %d files", progress.Bytes(int64(m.Bytes)), m.Files))
		add("stored", fmt.Sprintf("%s in %d segments", progress.Bytes(int64(m.StoredBytes)), e.Segments))
		add("encrypted", encryptionText(m.Encryption))
	} else {
		add("stored", fmt.Sprintf("%s in %d objects", progress.Bytes(e.Bytes), e.Objects))
		add("last written", e.Newest.UTC().Format(time.RFC3339))
	}
	if e.Mark != nil {
		add("kept", yesOrNo(e.Kept()))
		add("note", e.Mark.Note)
	}
	if v := e.Verification; v != nil {
		if c := v.Segments; c != nil {
			add("segments read", checkText(c.OK, c.Finished, c.Problem))
		}
		if b := v.Boot; b != nil {
			problem := ""
			if err := b.Err(); err != nil {
				problem = err.Error()
			}
			add("started", checkText(b.OK, b.Finished, problem))
			add("executed when started", b.GTIDExecuted)
		}
	} else {
		add("verified", "never")
	}
	return lines
}

func checkText(ok bool, at time.Time, problem string) string {
	if ok {
		return "well on " + at.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("FAILED on %s: %s", at.UTC().Format(time.RFC3339), problem)
}

func encryptionText(e *backup.Encryption) string {
	switch {
	case e == nil:
		return "no"
	case e.Passphrase:
		return e.Scheme + ", with a passphrase"
	}
	return e.Scheme + ", to " + strings.Join(e.Recipients, ", ")
}

func newBackupsMark(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mark BACKUP",
		Short: "Keep a backup for ever, or note something about it",
		Long:  `mark keeps a backup: no prune removes it. With --keep=false it only notes something. A mark takes the place of the one before; --remove removes it.`,
		Example: `  agent backups mark 20261121T120000Z-0f9c2d7e --note "before the migration"
  agent backups mark 20261121T120000Z-0f9c2d7e --remove`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return &usageError{text: "the id of one backup is needed", hint: "see agent backups list", command: cmd.CommandPath()}
		},
	}
	s := addOptions(cmd, cmdBackups)
	keep := cmd.Flags().Bool("keep", true, "no prune removes the backup")
	note := cmd.Flags().String("note", "", "what to note")
	remove := cmd.Flags().Bool("remove", false, "remove the mark")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	bound(cmd, "note", "one line of at most 1000 bytes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := s.complete(cmd.Flags(), sur.getenv)
		if err != nil {
			return err
		}
		if _, err := backup.ParseID(args[0]); err != nil {
			return &usageError{text: fmt.Sprintf("BACKUP=%q: must be the id of one backup", clean(args[0], 100)), hint: "see agent backups list"}
		}
		if *remove && (cmd.Flags().Changed("keep") || *note != "") {
			return &usageError{text: "--remove goes with neither --keep nor --note", command: cmd.CommandPath()}
		}
		if len(*note) > 1000 || clean(*note, 1000) != *note {
			return &agent.OptionError{Flag: "note", Value: *note, Allowed: allowedFor(cmd.Flags().Lookup("note"))}
		}
		ctx := cmd.Context()
		d, err := s.openDepot(ctx, from, sur, shortPatience, false)
		if err != nil {
			return err
		}
		if *remove {
			err = catalog.RemoveMark(ctx, d.Store, args[0])
		} else {
			err = catalog.SetMark(ctx, d.Store, args[0], catalog.Mark{Keep: *keep, Note: *note, At: time.Now()})
		}
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(sur.stdout).Encode(map[string]any{"id": args[0], "keep": *keep && !*remove, "note": *note, "removed": *remove})
		}
		switch {
		case *remove:
			_, err = fmt.Fprintln(sur.stdout, "the mark is removed")
		case *keep:
			_, err = fmt.Fprintln(sur.stdout, "the backup is kept until: agent backups mark "+args[0]+" --remove")
		default:
			_, err = fmt.Fprintln(sur.stdout, "noted")
		}
		return err
	}
	return cmd
}
