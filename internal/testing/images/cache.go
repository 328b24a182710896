package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ordinal/internal/testing/filelock"
)

// lock takes the lock of an image between processes and waits until ctx ends.
func lock(ctx context.Context, ref string) (unlock func(), err error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return filelock.Lock(ctx, filepath.Join(dir, strings.NewReplacer("/", "-", ":", "-").Replace(ref)+".lock"))
}

// cacheDir is where locks lie, and packages while they are unpacked.
func cacheDir() (string, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder for images: %w", err)
	}
	dir := filepath.Join(user, "ordinal-images")
	return dir, os.MkdirAll(dir, 0o755)
}
