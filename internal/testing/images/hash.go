package images

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// tag names an image after what it is made of.
func tag(name string, inputs ...any) string {
	h := sha256.New()
	for _, input := range inputs {
		fmt.Fprintf(h, "%q\n", fmt.Sprint(input))
	}
	return repository + "/" + name + ":" + hex.EncodeToString(h.Sum(nil))[:16]
}
