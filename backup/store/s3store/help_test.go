package s3store_test

import (
	"encoding/pem"
	"os"
	"testing"
)

func writePEM(t *testing.T, path string, certificate []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600); err != nil {
		t.Fatal(err)
	}
}
