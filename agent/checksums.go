package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"ordinal/backup/bootcheck"
	"ordinal/mysqlx"
)

// Bounds of what is asked for and answered about checksums of tables.
const (
	maxChecksumBytes  = 64 << 20 // of JSON: some hundred thousand tables
	maxChecksumBudget = time.Hour
	checksumGrace     = 30 * time.Second // beyond the budget: the statement under way is broken off, the answer travels
)

// A checksumRequest is the body of POST /v1/checksums.
type checksumRequest struct {
	BudgetSeconds float64                `json:"budget_seconds"`
	Before        *mysqlx.TableChecksums `json:"before,omitempty"` // only tables that have not changed since
}

// checksums answers POST /v1/checksums: what the tables of this pod's server hold, for a backup that wants to be compared with them later. One at a time. It
// takes an account that reads every table: root's.
func (r *runner) checksums() http.Handler {
	var busy sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.root == nil {
			http.Error(w, "root's password is needed to read tables", http.StatusNotImplemented)
			return
		}
		if !busy.TryLock() {
			w.Header().Set("Retry-After", "10")
			http.Error(w, "checksums are being read for somebody else", http.StatusTooManyRequests)
			return
		}
		defer busy.Unlock()
		var q checksumRequest
		if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxChecksumBytes)).Decode(&q); err != nil {
			http.Error(w, "the request cannot be read", http.StatusBadRequest)
			return
		}
		budget := time.Duration(min(max(q.BudgetSeconds, 0), maxChecksumBudget.Seconds()) * float64(time.Second))
		if budget <= 0 {
			http.Error(w, "budget_seconds has to be more than 0", http.StatusBadRequest)
			return
		}
		sums, err := r.root.ChecksumTables(req.Context(), mysqlx.ChecksumOptions{Budget: budget, Before: q.Before})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(sums) // a peer that is gone notices by itself
	})
}

// errNoChecksums says that a pod gives no checksums: nothing is wrong with it, only less is known of the backup.
var errNoChecksums = errors.New("no checksums of tables")

// Checksums asks the pod with an ordinal what its tables hold. before limits it to those that have not changed since; nil: all.
func (c *PeerClient) Checksums(ctx context.Context, ordinal int, budget time.Duration, before *mysqlx.TableChecksums) (sums mysqlx.TableChecksums, err error) {
	ctx, cancel := context.WithTimeout(ctx, budget+checksumGrace)
	defer cancel()
	pod := c.Peers.PodName(ordinal)
	body, err := json.Marshal(checksumRequest{BudgetSeconds: budget.Seconds(), Before: before})
	if err != nil {
		return sums, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.Peers.DataAddress(ordinal)+"/v1/checksums", bytes.NewReader(body))
	if err != nil {
		return sums, err
	}
	transport := &http.Transport{TLSClientConfig: c.TLS.ClientTLS(c.self(), pod), DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return sums, fmt.Errorf("%w: ask %s: %w", errNoChecksums, pod, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(res.Body, 300)) // it is only for people
		return sums, fmt.Errorf("%w: %s says %q (%d)", errNoChecksums, pod, bytes.TrimSpace(why), res.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxChecksumBytes)).Decode(&sums); err != nil {
		return sums, fmt.Errorf("%w: the answer of %s: %w", errNoChecksums, pod, err)
	}
	return sums, nil
}

// recordChecksums makes the attachment that says what the tables of a copy must hold: what they held before it began and still held after it had ended.
func recordChecksums(before, after mysqlx.TableChecksums, budget time.Duration) ([]byte, error) {
	recorded, err := bootcheck.Match(before, after, budget)
	if err != nil {
		return nil, err
	}
	return recorded.Encode()
}
