// Package validate reads the Compose file beside it with Docker Compose's own code, as strictly as that does, and checks what it promises: images by
// variables only, the stock image untouched, no secret in clear, least privilege. It is a module of its own: the product does not depend on
// Compose. internal/testing/compose brings the file up.
//
//	go test -count=1 ./...     # the file lies outside of this module: the test cache does not notice a change
package validate
