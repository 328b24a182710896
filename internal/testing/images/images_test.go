package images

import (
	"context"
	"testing"
	"time"
)

// TestImages makes both images, and says what they are called for who wants to try something by hand.
func TestImages(t *testing.T) {
	Need(t)
	t.Logf("MYSQL_IMAGE=%s AGENT_IMAGE=%s", mysqlImage(t), agentImage(t))
}

func mysqlImage(t *testing.T) string { return made(t, MySQL) }
func agentImage(t *testing.T) string { return made(t, Agent) }

func made(t *testing.T, image func(context.Context) (string, error)) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	ref, err := image(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}
